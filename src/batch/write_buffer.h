// WriteBuffer: pending writes and their limits. A plain container: no lock, no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "rawcache/disk.h"

namespace rawcache {

/// When a flush is due.
struct BatchLimits {
  std::uint32_t max_operations = 32;
  std::uint64_t max_bytes = std::uint64_t{4} << 20;
};

/// Bytes that wait to be written at an offset. Later ones of a list win where they overlap earlier
/// ones.
struct PendingWrite {
  std::uint64_t offset = 0;
  std::span<std::byte> bytes;
  std::uint64_t end() const { return offset + bytes.size(); }
};

class WriteBuffer {
 public:
  /// Memory beyond limits.max_bytes: room for headers, padding and alignment, so that operations
  /// whose sizes add up to the limit fit.
  static constexpr std::size_t kReserveBytes = std::size_t{256} << 10;
  /// Of it, what only headers and padding (no operations) may take, so that a batch can be closed.
  static constexpr std::size_t kClosingBytes = std::size_t{128} << 10;

  /// Memory is allocated once: limits.max_bytes, kReserveBytes and `more_bytes`. ok() tells whether
  /// it was.
  explicit WriteBuffer(const BatchLimits& limits, std::uint64_t more_bytes = 0);
  bool ok() const { return !main_.memory.empty(); }

  /// Room for a write of `size` bytes (not 0) at `offset`, counted as `operations` operations (0
  /// for headers and padding); the caller fills it. Where `operations` is 0
  /// the bytes handed out are zero, else they are anything and all must be filled. A write that
  /// follows the last reserved one on the disk follows it in memory too, or does not fit; the two
  /// make one PendingWrite. Any other starts at an address congruent to `offset` modulo 4096, so
  /// that whole blocks can go to the device as they are. An empty buffer takes a write of any size
  /// (memory for it is allocated); else an empty span says that this one does not fit: flush first.
  std::span<std::byte> reserve(std::uint64_t offset, std::size_t size,
                               std::uint32_t operations = 1);

  /// Adds bytes in memory of their own (not empty). They count as bytes, not as operations. What
  /// follows them on the disk does not follow them in memory.
  void adopt(std::uint64_t offset, AlignedBuffer memory);

  /// A limit has been reached.
  bool flush_due() const {
    return operations_ >= limits_.max_operations || bytes_ >= limits_.max_bytes;
  }
  bool empty() const { return writes_.empty(); }
  std::uint32_t operations() const { return operations_; }
  /// Bytes reserved and adopted; those written twice count twice.
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t memory_bytes() const;
  /// In the order of the calls.
  std::span<const PendingWrite> writes() const { return writes_; }

  /// Reads find zeros in `extent`, and do not touch its memory, until it is revealed: somebody is
  /// still filling it.
  void hide(const Extent& extent) { hidden_.push_back(extent); }
  /// Undoes a hide() of the same extent.
  void reveal(const Extent& extent);
  void reveal_all() { hidden_.clear(); }

  /// Copies what it holds of [offset, offset + into.size()) over `into`, later writes last. Returns
  /// how many bytes of the range are covered (each byte counted once).
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const;
  /// The same, but appends the covered ranges to `covered`, in any order, overlaps possible.
  void read(std::uint64_t offset, std::span<std::byte> into, std::vector<Extent>& covered) const;
  /// From the lowest to the highest byte pending; size 0 if none is.
  Extent bounds() const { return bounds_; }
  /// Any pending write touches the extent.
  bool overlaps(const Extent& extent) const;

  /// Forgets everything; the memory is kept.
  void clear();

 private:
  /// Memory that is handed out from the front.
  struct Region {
    AlignedBuffer memory;
    std::size_t used = 0;
    std::size_t free_bytes() const { return memory.size() - used; }
  };

  static bool fits_before_closing(const Region& region, std::size_t size, std::uint32_t operations);
  Region* region_behind_last(std::uint64_t offset);
  std::byte* extend_last(Region& region, std::size_t size);
  std::byte* place(Region& region, std::uint64_t offset, std::size_t size);
  std::byte* place_oversize(std::uint64_t offset, std::size_t size);
  void add(std::uint64_t offset, std::span<std::byte> bytes);
  void copy_visible(const PendingWrite& from, const Extent& range, std::size_t first_hidden,
                    std::byte* into) const;

  BatchLimits limits_;
  Region main_;
  Region oversize_;  ///< for one write larger than main_
  std::vector<AlignedBuffer> adopted_;
  std::vector<PendingWrite> writes_;
  std::vector<Extent> hidden_;
  Extent bounds_;  ///< from the lowest to the highest byte pending; rules most extents out at once
  std::uint32_t operations_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace rawcache
