// ItemMemory: where the memory tier's items lie. Internal.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/run_map.h"

namespace rawcache {

/// What malloc takes for a block of so many bytes.
std::uint64_t heap_bytes(std::uint64_t bytes);

/// Small items come from the heap. Large ones share one range of huge pages, lowest first: with the
/// small pages of the heap a tier that fills spends more time on page faults than on its copies.
///
/// Memory: the range is only reserved until it is needed. Whole huge pages that items have left are
/// kept for others up to a thirty-second of it, the rest goes back to the system. Large items for
/// which no run is free, because of what lies between others, come from the heap; while there are
/// such, smaller pages that items have left go back too. Threads: any.
class ItemMemory {
 public:
  /// Items of this size or more are large, bytes.
  static constexpr std::size_t kLargeBytes = std::size_t{2} << 10;

  /// For large items of `bytes_max` together. Of little memory, or if there are no addresses for
  /// it, all come from the heap. Throws std::bad_alloc.
  explicit ItemMemory(std::uint64_t bytes_max);
  ItemMemory(const ItemMemory&) = delete;
  ItemMemory& operator=(const ItemMemory&) = delete;
  ~ItemMemory();

  /// What an item takes, bytes.
  static std::uint64_t charge_of(std::uint64_t bytes);

  /// Throws std::bad_alloc.
  void* allocate(std::size_t bytes);
  /// What allocate(bytes) returned.
  void deallocate(void* memory, std::size_t bytes);

  /// The range; for tests.
  std::span<const std::byte> range() const { return {range_.data(), range_.bytes()}; }

 private:
  /// Address space, in huge pages.
  class Range {
   public:
    explicit Range(std::uint64_t bytes);
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;
    ~Range();
    std::size_t bytes() const { return bytes_; }  ///< 0: there is none
    std::byte* data() const { return data_; }

   private:
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
  };

  struct HugePage {
    std::uint32_t taken = 0;  ///< units
    bool resident = false;
  };

  void* take_of_range(std::size_t bytes);
  bool in_range(const void* memory) const;
  void give_up_pages(std::size_t first, std::size_t units) REQUIRES(mutex_);
  void note_taken(std::size_t first, std::size_t units) REQUIRES(mutex_);
  void note_given_back(std::size_t first, std::size_t units) REQUIRES(mutex_);

  const Range range_;
  mutable Mutex mutex_;
  RunMap taken_ GUARDED_BY(mutex_);
  std::vector<HugePage> pages_ GUARDED_BY(mutex_);
  std::size_t idle_ GUARDED_BY(mutex_) = 0;    ///< resident, without an item
  std::atomic<std::size_t> large_in_heap_{0};  ///< items
};

}  // namespace rawcache
