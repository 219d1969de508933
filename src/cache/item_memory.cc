#include "cache/item_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <new>
#include <utility>

#include "base/math.h"

#if defined(__SANITIZE_ADDRESS__)
#define RAWCACHE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RAWCACHE_ASAN 1
#endif
#endif
#if defined(RAWCACHE_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace rawcache {

namespace {

constexpr std::uint64_t kHeapOverhead = 8;
constexpr std::uint64_t kHeapUnit = 16;
constexpr std::uint64_t kPagedFrom = std::uint64_t{128} << 10;
constexpr std::uint64_t kPageBytes = 4096;

/// Of the range: an item of kLargeBytes loses a thirty-second to it on average.
constexpr std::size_t kUnitBytes = 128;
constexpr std::size_t kPageUnits = kPageBytes / kUnitBytes;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kHugePageUnits = kHugePageBytes / kUnitBytes;
/// Of less memory huge pages would be too coarse.
constexpr std::uint64_t kRangeBytesMin = 8 * kHugePageBytes;
constexpr std::uint64_t kRangeBytesMax = std::uint64_t{1} << 41;
constexpr std::uint64_t kSlackShare = 8;     ///< of the memory, beside it
constexpr std::size_t kGivenBackAtOnce = 4;  ///< huge pages
constexpr std::size_t kWordBits = 64;

// The address sanitizer is told what nobody may look at, as the heap tells it.
void forbid([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(RAWCACHE_ASAN)
  __asan_poison_memory_region(memory, bytes);
#endif
}
void allow([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(RAWCACHE_ASAN)
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

}  // namespace

std::uint64_t heap_bytes(std::uint64_t bytes) {
  return bytes < kPagedFrom ? round_up(bytes + kHeapOverhead, kHeapUnit)
                            : round_up(bytes + 2 * kHeapOverhead, kPageBytes);
}

// --- Range ---

ItemMemory::Range::Range(std::uint64_t bytes) {
  if (bytes < kRangeBytesMin) return;
  const std::size_t rounded = round_up(std::min(bytes, kRangeBytesMax), kHugePageBytes);
  const std::size_t mapped_bytes = rounded + kHugePageBytes;
  void* const mapped = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return;
  mapped_ = mapped;
  mapped_bytes_ = mapped_bytes;
  bytes_ = rounded;
  data_ = static_cast<std::byte*>(mapped) +
          (-reinterpret_cast<std::uintptr_t>(mapped) & (kHugePageBytes - 1));
  advise_huge(true);
  forbid(data_, bytes_);
}

void ItemMemory::Range::advise_huge(bool huge) const {
  static_cast<void>(madvise(data_, bytes_, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
}

ItemMemory::Range::~Range() {
  if (mapped_ == nullptr) return;
  allow(data_, bytes_);
  munmap(mapped_, mapped_bytes_);
}

// --- Items ---

ItemMemory::ItemMemory(std::uint64_t bytes_max)
    : bytes_max_(bytes_max),
      range_(bytes_max),
      taken_(range_.bytes() / kUnitBytes),
      pages_(range_.bytes() / kHugePageBytes) {
  static_assert(kSmallPages * kPageBytes == kHugePageBytes);
}

ItemMemory::~ItemMemory() = default;

std::uint64_t ItemMemory::charge_of(std::uint64_t bytes) const {
  return is_large(bytes) ? round_up(bytes, kUnitBytes) : heap_bytes(bytes);
}

std::uint64_t ItemMemory::own_bytes() const NO_THREAD_SAFETY_ANALYSIS {
  return taken_.memory_bytes() + pages_.size() * sizeof(HugePage);  // neither changes
}

bool ItemMemory::in_range(const void* memory) const {
  const auto* const at = static_cast<const std::byte*>(memory);
  return range_.bytes() > 0 && !std::less<>()(at, range_.data()) &&
         std::less<>()(at, range_.data() + range_.bytes());
}

void* ItemMemory::allocate(std::size_t bytes) {
  if (is_large(bytes)) {
    void* const memory = take_of_range(bytes);
    if (memory != nullptr) return memory;
  }
  void* const memory = ::operator new(bytes);
  heap_bytes_.fetch_add(heap_bytes(bytes), std::memory_order_relaxed);
  if (is_too_much()) {
    MutexLock lock(mutex_);
    give_back_some();
  }
  return memory;
}

std::uint64_t ItemMemory::bytes_in_use() const {
  return resident_bytes_.load(std::memory_order_relaxed) +
         heap_bytes_.load(std::memory_order_relaxed);
}

bool ItemMemory::is_too_much() const {
  return bytes_in_use() > bytes_max_ + bytes_max_ / kSlackShare;
}

void* ItemMemory::take_of_range(std::size_t bytes) {
  const std::size_t units = divide_up(bytes, kUnitBytes);
  MutexLock lock(mutex_);
  const auto first = taken_.take(units);
  if (!first) return nullptr;  // nothing is free in a row
  const bool grown = note_resident(*first, units);
  if (grown && is_too_much()) give_back_some();
  std::byte* const memory = range_.data() + *first * kUnitBytes;
  allow(memory, bytes);
  return memory;
}

void ItemMemory::deallocate(void* memory, std::size_t bytes) {
  if (!in_range(memory)) {
    heap_bytes_.fetch_sub(heap_bytes(bytes), std::memory_order_relaxed);
    ::operator delete(memory);
    return;
  }
  forbid(memory, bytes);
  const auto offset = static_cast<std::size_t>(static_cast<std::byte*>(memory) - range_.data());
  MutexLock lock(mutex_);
  taken_.give_back(offset / kUnitBytes, divide_up(bytes, kUnitBytes));
}

// --- What the range has of the system's memory ---

// The units are about to be written. The first touch of a huge page brings all of it.
bool ItemMemory::note_resident(std::size_t first, std::size_t units) {
  const std::size_t end = divide_up(first + units, kPageUnits);
  std::uint64_t brought = 0;
  for (std::size_t small = first / kPageUnits; small < end; ++small) {
    HugePage& page = pages_[small / kSmallPages];
    if (page.residents == kSmallPages) continue;
    if (page.residents == 0 && !huge_ && bytes_in_use() <= bytes_max_) use_huge(true);
    if (page.residents == 0 && huge_) {
      page.resident.fill(~std::uint64_t{0});
      page.residents = kSmallPages;
      brought += kSmallPages;
      continue;
    }
    std::uint64_t& word = page.resident[small % kSmallPages / kWordBits];
    const std::uint64_t bit = std::uint64_t{1} << (small % kWordBits);
    if ((word & bit) != 0) continue;
    word |= bit;
    ++page.residents;
    ++brought;
  }
  if (brought == 0) return false;
  resident_bytes_.fetch_add(brought * kPageBytes, std::memory_order_relaxed);
  return true;
}

// While it is too much the system must not join pages of which some have been given back.
void ItemMemory::use_huge(bool huge) {
  if (std::exchange(huge_, huge) != huge) range_.advise_huge(huge);
}

// Of so many huge pages at most, those after the last one's turn: bounds the time under the lock.
void ItemMemory::give_back_some() {
  use_huge(false);
  std::size_t given_back = 0;
  for (std::size_t looks = 0; looks < pages_.size() && given_back < kGivenBackAtOnce; ++looks) {
    if (!is_too_much()) return;
    looked_at_ = looked_at_ + 1 < pages_.size() ? looked_at_ + 1 : 0;
    if (pages_[looked_at_].residents == 0) continue;
    give_back(looked_at_);
    ++given_back;
  }
}

// Its small pages in which nothing lies.
void ItemMemory::give_back(std::size_t huge_page) {
  HugePage& page = pages_[huge_page];
  const std::size_t end = (huge_page + 1) * kHugePageUnits;
  for (std::size_t at = huge_page * kHugePageUnits; at < end;) {
    const RunMap::Run free = taken_.free_run(at, end);
    at = free.end;
    const std::size_t first = divide_up(free.begin, kPageUnits);
    const std::size_t last = free.end / kPageUnits;
    if (first >= last) continue;
    std::byte* const memory = range_.data() + first * kPageBytes;
    if (madvise(memory, (last - first) * kPageBytes, MADV_DONTNEED) != 0) continue;
    for (std::size_t small = first; small < last; ++small) {
      std::uint64_t& word = page.resident[small % kSmallPages / kWordBits];
      const std::uint64_t bit = std::uint64_t{1} << (small % kWordBits);
      if ((word & bit) == 0) continue;
      word &= ~bit;
      --page.residents;
      resident_bytes_.fetch_sub(kPageBytes, std::memory_order_relaxed);
    }
  }
}

}  // namespace rawcache
