// Direct I/O: whether a file takes it, and the alignment that it wants.
#pragma once

#include <cstdint>
#include <string>

namespace rawcache {

struct DirectIoMode {
  bool direct = false;
  std::uint32_t io_alignment = 512;
  std::uint32_t memory_alignment = 512;
  std::string refusal;  ///< why it is not direct
  int os_error = 0;
};

/// Switches O_DIRECT on, if the file and its file system take it.
DirectIoMode enable_direct_io(int fd);

/// Bytes of a logical block of a block device; 512 if it does not say.
std::uint32_t logical_block_bytes(int fd);

}  // namespace rawcache
