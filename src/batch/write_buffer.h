// WriteBuffer: pending writes and their limits. A container: no lock, no I/O.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/published.h"
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

/// Threads: as a standard container's, but for prepare_behind() and commit_behind(), which whoever
/// writes may call while others read.
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
  /// Throws std::bad_alloc if there is no memory to note it, then nothing has changed; one hide()
  /// after it finds the memory that it needs.
  std::span<std::byte> reserve(std::uint64_t offset, std::size_t size,
                               std::uint32_t operations = 1);
  /// The same in two steps, for one operation: only commit() buffers what prepare() has handed out,
  /// when the caller has filled it. Nothing else may be reserved in between; what is never
  /// committed was never taken.
  std::span<std::byte> prepare(std::uint64_t offset, std::size_t size);
  void commit();
  /// The same if the write follows the last one on the disk and in memory; else an empty span, or
  /// false, says that it is for the others.
  std::span<std::byte> prepare_behind(std::uint64_t offset, std::size_t size) {
    if (behind_ == nullptr || offset != behind_offset_) return {};
    Region& region = this->*behind_;
    if (!fits(region, 0, size, 1)) return {};
    prepared_ = {behind_, region.used, size, offset, true};
    return region.memory.bytes().subspan(region.used, size);
  }
  bool commit_behind() {
    if (!prepared_.extends_last) return false;
    (this->*behind_).used += prepared_.size;
    behind_offset_ += prepared_.size;
    tail_.set(tail_.get() + prepared_.size);
    count(prepared_.size, 1);
    return true;
  }

  /// Adds bytes in memory of their own (not empty). They count as bytes, not as operations. What
  /// follows them on the disk does not follow them in memory. Throws as reserve.
  void adopt(std::uint64_t offset, AlignedBuffer memory);

  /// A limit has been reached.
  bool flush_due() const {
    return operations() >= limits_.max_operations || bytes() >= limits_.max_bytes;
  }
  bool empty() const { return writes_.empty(); }
  std::uint32_t operations() const { return operations_.get(); }
  /// Bytes reserved and adopted; those written twice count twice.
  std::uint64_t bytes() const { return bytes_.get(); }
  std::uint64_t memory_bytes() const;
  /// In the order of the calls, after close().
  std::span<const PendingWrite> writes() const { return writes_; }

  /// Nothing more is to come: everything is revealed and in writes().
  void close();

  /// Reads find zeros in `extent`, and do not touch its memory, until all is revealed: somebody is
  /// still filling it.
  void hide(const Extent& extent) { hidden_.push_back(extent); }

  /// Copies what it holds of [offset, offset + into.size()) over `into`, later writes last. Returns
  /// how many bytes of the range are covered (each byte counted once).
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const;
  /// The same, but appends the covered ranges to `covered`, in any order, overlaps possible.
  void read(std::uint64_t offset, std::span<std::byte> into, std::vector<Extent>& covered) const;
  /// The bytes from the start of `extent` on, up to its end or that of the write they are in. Empty
  /// where it is not that simple: the newest write that touches `extent` does not have its start,
  /// or something there is hidden.
  std::span<const std::byte> view(const Extent& extent) const;
  /// From the lowest to the highest byte pending; size 0 if none is.
  Extent bounds() const;
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

  /// Where a write goes.
  struct Spot {
    Region WriteBuffer::* region = nullptr;  ///< null: nowhere
    std::size_t at = 0;                      ///< in the region's memory
    std::size_t size = 0;
    std::uint64_t offset = 0;   ///< on the disk
    bool extends_last = false;  ///< the last write, which it follows
  };
  std::span<std::byte> bytes_of(const Spot& spot) {
    return (this->*spot.region).memory.bytes().subspan(spot.at, spot.size);
  }
  static bool fits(const Region& region, std::size_t gap, std::size_t size,
                   std::uint32_t operations) {
    const std::size_t closing = operations == 0 ? 0 : kClosingBytes;
    const std::size_t free = region.free_bytes();
    return gap <= free && size <= free - gap && free - gap - size >= closing;
  }
  Spot find_spot(std::uint64_t offset, std::size_t size, std::uint32_t operations);
  void make_room_to_note();
  void take(const Spot& spot, std::uint32_t operations);
  void count(std::size_t size, std::uint32_t operations) {
    const std::uint32_t before = this->operations();
    operations_.set(before + std::min(operations, ~before));  // saturates
    bytes_.set(bytes() + size);
  }
  void add_tail();
  PendingWrite write_at(std::size_t index) const;
  void add(std::uint64_t offset, std::span<std::byte> bytes);
  void copy_visible(const PendingWrite& from, const Extent& range, std::size_t first_hidden,
                    std::byte* into) const;

  BatchLimits limits_;
  Region main_;
  Region oversize_;  ///< for one write larger than main_
  // Whoever writes alone looks at these.
  Spot prepared_;
  /// Where a write at `behind_offset_` goes on in memory behind the last one; null: nowhere.
  Region WriteBuffer::* behind_ = nullptr;
  std::uint64_t behind_offset_ = 0;
  Published<std::size_t> tail_;  ///< bytes that commit_behind() has added to the last of writes_
  std::vector<AlignedBuffer> adopted_;
  std::vector<PendingWrite> writes_;
  std::vector<Extent> hidden_;
  Extent bounds_;  ///< of writes_, without the tail; rules most extents out at once
  Published<std::uint32_t> operations_;
  Published<std::uint64_t> bytes_;
};

}  // namespace rawcache
