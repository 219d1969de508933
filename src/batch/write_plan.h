// WritePlan: what a flush sends to the device. A pure function on values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "batch/write_buffer.h"
#include "rawcache/disk.h"

namespace rawcache {

/// A write is cut into pieces of at most this many bytes, so that it does not starve reads.
inline constexpr std::uint64_t kWritePieceBytes = std::uint64_t{512} << 10;
/// Aligned memory of at least this many bytes goes out as it is even where the bytes beside it have
/// to be gathered; below, a copy costs less than one more I/O.
inline constexpr std::uint64_t kDirectBytesMin = std::uint64_t{64} << 10;

/// The I/O that writes a list of pending writes, in whole blocks. Blocks of which only a part is
/// written are completed by reading them first. To be carried out in this order: edge_reads,
/// gather(), writes.
class WritePlan {
 public:
  /// Plans for a disk with these alignments, whose whole blocks contain the writes. Pending writes
  /// that share a block are written as one. False: memory for gathering is short.
  bool make(std::span<const PendingWrite> pending, std::uint32_t io_alignment,
            std::uint32_t memory_alignment);

  const std::vector<IoRequest>& edge_reads() const { return edge_reads_; }
  /// Lays the pending bytes over the blocks read.
  void gather();
  /// By offset; they do not overlap.
  const std::vector<IoRequest>& writes() const { return writes_; }

  /// Memory is kept for the next plan.
  void clear();
  std::uint64_t memory_bytes() const { return bounce_.size(); }

 private:
  /// Whole blocks: `direct` is the memory that already holds them, or null: they are gathered in
  /// bounce_.
  struct Part {
    Extent extent;
    const std::byte* direct = nullptr;
    std::size_t bounce_at = 0;
  };
  /// Pending bytes, or those of them that go into bounce_.
  struct Copy {
    std::uint64_t offset = 0;
    std::span<const std::byte> bytes;
  };

  void merge(std::span<const PendingWrite> pending);
  void split(const Extent& blocks, std::span<const Copy> pieces, std::uint32_t io_alignment,
             std::uint32_t memory_alignment);
  bool make_room(std::uint32_t memory_alignment);
  void plan_gather(const Part& part, std::span<const Copy> pieces, std::uint32_t io_alignment);
  void plan_write(const Part& part, std::uint32_t io_alignment);

  AlignedBuffer bounce_;
  std::vector<Copy> pieces_;
  std::vector<Part> parts_;
  std::vector<std::pair<std::byte*, std::span<const std::byte>>> copies_;
  std::vector<IoRequest> edge_reads_;
  std::vector<IoRequest> writes_;
};

}  // namespace rawcache
