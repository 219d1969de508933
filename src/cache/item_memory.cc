#include "cache/item_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <new>

#include "base/math.h"

namespace rawcache {

namespace {

constexpr std::uint64_t kHeapOverhead = 8;
constexpr std::uint64_t kHeapUnit = 16;
constexpr std::uint64_t kPagedFrom = std::uint64_t{128} << 10;
constexpr std::uint64_t kPageBytes = 4096;

/// Of the range: an item of kLargeBytes loses a thirty-second to it.
constexpr std::size_t kUnitBytes = 128;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kPageUnits = kHugePageBytes / kUnitBytes;
/// Of less memory huge pages would be too coarse.
constexpr std::uint64_t kRangeBytesMin = 8 * kHugePageBytes;
constexpr std::uint64_t kRangeBytesMax = std::uint64_t{1} << 41;
constexpr std::size_t kIdleShare = 32;
constexpr std::size_t kIdleMin = 2;  ///< huge pages

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
  static_cast<void>(madvise(data_, bytes_, MADV_HUGEPAGE));  // only advice
}

ItemMemory::Range::~Range() {
  if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
}

// --- Items ---

ItemMemory::ItemMemory(std::uint64_t bytes_max)
    : range_(bytes_max),
      taken_(range_.bytes() / kUnitBytes),
      pages_(range_.bytes() / kHugePageBytes) {}

ItemMemory::~ItemMemory() = default;

std::uint64_t ItemMemory::charge_of(std::uint64_t bytes) {
  return bytes < kLargeBytes ? heap_bytes(bytes) : round_up(bytes, kUnitBytes);
}

void* ItemMemory::allocate(std::size_t bytes) {
  if (bytes < kLargeBytes || range_.bytes() == 0) return ::operator new(bytes);
  void* const memory = take_of_range(bytes);
  if (memory != nullptr) return memory;
  void* const of_heap = ::operator new(bytes);
  large_in_heap_.fetch_add(1, std::memory_order_relaxed);
  return of_heap;
}

void* ItemMemory::take_of_range(std::size_t bytes) {
  const std::size_t units = divide_up(bytes, kUnitBytes);
  MutexLock lock(mutex_);
  const auto first = taken_.take(units);
  if (!first) return nullptr;  // nothing is free in a row
  note_taken(*first, units);
  return range_.data() + *first * kUnitBytes;
}

void ItemMemory::deallocate(void* memory, std::size_t bytes) {
  if (!in_range(memory)) {
    const bool large = bytes >= kLargeBytes && range_.bytes() > 0;
    if (large) large_in_heap_.fetch_sub(1, std::memory_order_relaxed);
    ::operator delete(memory);
    return;
  }
  const std::size_t units = divide_up(bytes, kUnitBytes);
  const auto first =
      static_cast<std::size_t>(static_cast<std::byte*>(memory) - range_.data()) / kUnitBytes;
  MutexLock lock(mutex_);
  taken_.give_back(first, units);
  if (large_in_heap_.load(std::memory_order_relaxed) > 0) give_up_pages(first, units);
  note_given_back(first, units);
}

bool ItemMemory::in_range(const void* memory) const {
  const auto* const at = static_cast<const std::byte*>(memory);
  return range_.bytes() > 0 && !std::less<>()(at, range_.data()) &&
         std::less<>()(at, range_.data() + range_.bytes());
}

// Others have what lies in these units' place on the heap.
void ItemMemory::give_up_pages(std::size_t first, std::size_t units) {
  const RunMap::Run free = taken_.free_around(first, units, kPageBytes / kUnitBytes);
  const std::size_t begin = round_up(free.begin * kUnitBytes, kPageBytes);
  const std::size_t end = round_down(free.end * kUnitBytes, kPageBytes);
  if (begin < end) static_cast<void>(madvise(range_.data() + begin, end - begin, MADV_DONTNEED));
}

void ItemMemory::note_taken(std::size_t first, std::size_t units) {
  for (std::size_t at = first; at < first + units;) {
    const std::size_t number = at / kPageUnits;
    const std::size_t end = std::min(first + units, (number + 1) * kPageUnits);
    HugePage& page = pages_[number];
    if (!page.resident) {
      page.resident = true;
    } else if (page.taken == 0) {
      --idle_;
    }
    page.taken += static_cast<std::uint32_t>(end - at);
    at = end;
  }
}

void ItemMemory::note_given_back(std::size_t first, std::size_t units) {
  const std::size_t idle_max = std::max(kIdleMin, pages_.size() / kIdleShare);
  for (std::size_t at = first; at < first + units;) {
    const std::size_t number = at / kPageUnits;
    const std::size_t end = std::min(first + units, (number + 1) * kPageUnits);
    HugePage& page = pages_[number];
    page.taken -= static_cast<std::uint32_t>(end - at);
    at = end;
    if (page.taken > 0) continue;
    std::byte* const memory = range_.data() + number * kHugePageBytes;
    if (idle_ >= idle_max && madvise(memory, kHugePageBytes, MADV_DONTNEED) == 0) {
      page.resident = false;
    } else {
      ++idle_;
    }
  }
}

}  // namespace rawcache
