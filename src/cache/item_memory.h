// ItemMemory: where the memory tier's items lie. Internal.
#pragma once

#include <array>
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
/// Memory: the range is only reserved until it is needed. What large items have left in it is kept
/// for others, unless it and the items on the heap come to an eighth more than `bytes_max`: then it
/// goes back to the system. Large items for which no run is free, because of what lies between
/// others, come from the heap. Threads: any.
class ItemMemory {
 public:
  /// Items of this size or more are large, bytes.
  static constexpr std::size_t kLargeBytes = std::size_t{2} << 10;

  /// For items of `bytes_max` together. If that is little, or if there are no addresses for a
  /// range, all come from the heap. Throws std::bad_alloc.
  explicit ItemMemory(std::uint64_t bytes_max);
  ItemMemory(const ItemMemory&) = delete;
  ItemMemory& operator=(const ItemMemory&) = delete;
  ~ItemMemory();

  /// What an item takes, bytes.
  std::uint64_t charge_of(std::uint64_t bytes) const;
  /// What keeping account of the range takes, bytes.
  std::uint64_t own_bytes() const;

  /// Throws std::bad_alloc.
  void* allocate(std::size_t bytes);
  /// What allocate(bytes) returned.
  void deallocate(void* memory, std::size_t bytes);

  /// The range; for tests.
  std::span<const std::byte> range() const { return {range_.data(), range_.bytes()}; }

 private:
  static constexpr std::size_t kSmallPages = 512;  ///< in a huge page

  /// Address space, in huge pages.
  class Range {
   public:
    explicit Range(std::uint64_t bytes);
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;
    ~Range();
    std::size_t bytes() const { return bytes_; }  ///< 0: there is none
    std::byte* data() const { return data_; }
    void advise_huge(bool huge) const;  ///< only advice

   private:
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
  };
  /// Which small pages of a huge one have memory, as far as is known: the system may join them
  /// again (khugepaged), slowly.
  struct HugePage {
    std::array<std::uint64_t, kSmallPages / 64> resident{};
    std::uint32_t residents = 0;
  };

  bool is_large(std::size_t bytes) const { return bytes >= kLargeBytes && range_.bytes() > 0; }
  bool in_range(const void* memory) const;
  void* take_of_range(std::size_t bytes);
  std::uint64_t bytes_in_use() const;
  bool is_too_much() const;
  bool note_resident(std::size_t first, std::size_t units) REQUIRES(mutex_);
  void use_huge(bool huge) REQUIRES(mutex_);
  void give_back_some() REQUIRES(mutex_);
  void give_back(std::size_t huge_page) REQUIRES(mutex_);

  const std::uint64_t bytes_max_;
  const Range range_;
  std::atomic<std::uint64_t> heap_bytes_{0};      ///< of items
  std::atomic<std::uint64_t> resident_bytes_{0};  ///< of the range; changed under mutex_
  Mutex mutex_;
  RunMap taken_ GUARDED_BY(mutex_);
  std::vector<HugePage> pages_ GUARDED_BY(mutex_);
  bool huge_ GUARDED_BY(mutex_) = true;           ///< what the system has been advised
  std::size_t looked_at_ GUARDED_BY(mutex_) = 0;  ///< the huge page that has been given back last
};

}  // namespace rawcache
