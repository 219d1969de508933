#include "disk/direct_io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/aligned_buffer.h"

namespace rawcache {

namespace {

constexpr std::uint32_t kSectorBytes = 512;
constexpr std::uint32_t kGuessedAlignment = 4096;  // no disk has larger sectors
constexpr std::uint32_t kAlignmentMax = 65536;

struct Alignment {
  std::uint32_t io = kGuessedAlignment;
  std::uint32_t memory = kGuessedAlignment;
};

/// False if the kernel says that the file cannot do direct I/O.
bool find_alignment(int fd, Alignment& alignment) {
#if defined(STATX_DIOALIGN)
  struct statx extended{};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
      (extended.stx_mask & STATX_DIOALIGN) != 0) {
    alignment.io = extended.stx_dio_offset_align;
    alignment.memory = extended.stx_dio_mem_align;
    return alignment.io != 0;
  }
#endif
  struct stat status{};
  if (::fstat(fd, &status) == 0 && S_ISBLK(status.st_mode)) {
    alignment.io = alignment.memory = logical_block_bytes(fd);
  }
  return true;
}

bool set_direct(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/// Some file systems accept the flag and then fail every read.
int probe_read(int fd, std::size_t size) {
  AlignedBuffer buffer = AlignedBuffer::allocate(size);
  if (buffer.empty()) return ENOMEM;
  while (::pread(fd, buffer.data(), size, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

DirectIoMode refused(const char* why, int os_error) {
  DirectIoMode mode;
  mode.refusal = why;
  mode.os_error = os_error;
  return mode;
}

}  // namespace

std::uint32_t logical_block_bytes(int fd) {
  int bytes = 0;
  if (::ioctl(fd, BLKSSZGET, &bytes) != 0 || bytes <= 0) return kSectorBytes;
  return std::max(static_cast<std::uint32_t>(bytes), kSectorBytes);
}

DirectIoMode enable_direct_io(int fd) {
  Alignment alignment;
  if (!find_alignment(fd, alignment)) return refused("O_DIRECT not supported for this file", 0);
  alignment.io = std::max(alignment.io, kSectorBytes);
  alignment.memory = std::max(alignment.memory, kSectorBytes);
  if (!std::has_single_bit(alignment.io) || alignment.io > kAlignmentMax ||
      !std::has_single_bit(alignment.memory) || alignment.memory > kIoMemoryAlignment) {
    return refused("O_DIRECT wants an unusual alignment", 0);
  }
  if (!set_direct(fd, true)) return refused("O_DIRECT refused by the file system", errno);
  // Only EINVAL speaks against direct I/O; a bad first sector is not for us to judge.
  if (probe_read(fd, alignment.io) == EINVAL) {
    set_direct(fd, false);
    return refused("O_DIRECT reads refused by the file system", EINVAL);
  }
  return {true, alignment.io, alignment.memory, {}, 0};
}

}  // namespace rawcache
