// Merging: many extents -> few. Pure functions on values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "batch/write_buffer.h"
#include "rawcache/disk.h"

namespace rawcache {

/// Largest gap that a merged read bridges, and the largest merged read, bytes.
inline constexpr std::uint64_t kReadGapBytesMax = std::uint64_t{64} << 10;
inline constexpr std::uint64_t kMergedReadBytesMax = std::uint64_t{512} << 10;

/// One read of the device that serves several requests.
struct MergedRead {
  Extent extent;                        ///< aligned
  std::vector<std::uint32_t> requests;  ///< indexes into the extents given, by offset
};

/// Widens every extent (none is empty) to `alignment`, sorts by offset, and merges those that
/// overlap or lie at most `gap_bytes` apart while the result stays within kMergedReadBytesMax (a
/// single request may be larger; then it takes in only what lies within it). Every index of
/// `extents` appears exactly once.
std::vector<MergedRead> merge_reads(std::span<const Extent> extents, std::uint64_t gap_bytes,
                                    std::uint32_t alignment);

/// A run of bytes that is contiguous on the disk, gathered from pieces of memory.
struct MergedWrite {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::vector<std::span<const std::byte>> pieces;  ///< in order, not overlapping
  std::uint64_t end() const { return offset + size; }
};

/// Sorts by offset, lets later writes win where they overlap earlier ones, and joins what is
/// exactly contiguous. Gaps are never filled.
std::vector<MergedWrite> merge_writes(std::span<const PendingWrite> writes);

/// The parts of `extent` that none of `covered` has, by offset. Sorts `covered`.
std::vector<Extent> uncovered(const Extent& extent, std::span<Extent> covered);

}  // namespace rawcache
