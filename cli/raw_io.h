// The device alone: how fast it writes and reads when nothing but Disk stands before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rawcache/disk.h"

namespace rawcache::cli {

using Nanoseconds = std::uint64_t;
Nanoseconds now_ns();

/// Memory for I/O: 2 MiB-aligned, on huge pages where there are any, filled with random bytes.
class IoMemory {
 public:
  explicit IoMemory(std::size_t bytes);
  ~IoMemory();
  IoMemory(const IoMemory&) = delete;
  IoMemory& operator=(const IoMemory&) = delete;
  /// Empty if memory is short.
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::span<std::byte> bytes_;
};

inline constexpr std::size_t kRawWriteBytes = std::size_t{1} << 20;
inline constexpr std::size_t kRawWritesInFlight = 4;

/// Time to write `where` once from front to back, kRawWriteBytes at a time, kRawWritesInFlight at
/// once, with one sync at the end.
Result<Nanoseconds> write_through(Disk& disk, const Extent& where, const IoMemory& memory);

/// Time to read all `batches`, one after another, each submitted at once.
Result<Nanoseconds> read_batches(Disk& disk, std::vector<IoBatch>& batches);

/// Batches of `reads` reads of `read_bytes` bytes each, at random places of `region`.
std::vector<IoBatch> random_batches(const DiskInfo& info, const Extent& region,
                                    std::uint64_t read_bytes, std::size_t reads,
                                    std::size_t batches, const IoMemory& memory);

/// Batches that each read one run of `run_bytes` bytes at a random place of `region`, in pieces.
std::vector<IoBatch> run_batches(const DiskInfo& info, const Extent& region,
                                 std::uint64_t run_bytes, std::uint64_t piece_bytes,
                                 std::size_t batches, const IoMemory& memory);

}  // namespace rawcache::cli
