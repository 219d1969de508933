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
constexpr std::size_t kHugePageBytes = kUnitBytes * RunMap::kBlockUnits;
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
    : range_(bytes_max), taken_(range_.bytes() / kUnitBytes), resident_(taken_.blocks()) {}

ItemMemory::~ItemMemory() = default;

std::uint64_t ItemMemory::charge_of(std::uint64_t bytes) {
  return bytes < kLargeBytes ? heap_bytes(bytes) : round_up(bytes, kUnitBytes);
}

void* ItemMemory::allocate(std::size_t bytes) {
  if (bytes >= kLargeBytes && range_.bytes() > 0) {
    void* const memory = take_of_range(bytes);
    if (memory != nullptr) return memory;
  }
  return ::operator new(bytes);
}

void* ItemMemory::take_of_range(std::size_t bytes) {
  const std::size_t units = divide_up(bytes, kUnitBytes);
  MutexLock lock(mutex_);
  const auto first = taken_.take(units);
  if (!first) return nullptr;  // nothing is free in a row
  note_resident(*first, units);
  return range_.data() + *first * kUnitBytes;
}

void ItemMemory::deallocate(void* memory, std::size_t bytes) {
  if (!in_range(memory)) {
    ::operator delete(memory);
    return;
  }
  const std::size_t units = divide_up(bytes, kUnitBytes);
  const auto first =
      static_cast<std::size_t>(static_cast<std::byte*>(memory) - range_.data()) / kUnitBytes;
  MutexLock lock(mutex_);
  taken_.give_back(first, units);
  give_up_idle(first, units);
}

bool ItemMemory::in_range(const void* memory) const {
  const auto* const at = static_cast<const std::byte*>(memory);
  return range_.bytes() > 0 && !std::less<>()(at, range_.data()) &&
         std::less<>()(at, range_.data() + range_.bytes());
}

std::uint64_t ItemMemory::resident_bytes() const {
  MutexLock lock(mutex_);
  return std::uint64_t{resident_count_} * kHugePageBytes;
}

// The units have just been taken.
void ItemMemory::note_resident(std::size_t first, std::size_t units) {
  for (std::size_t unit = first; unit < first + units;) {
    const std::size_t block = unit / RunMap::kBlockUnits;
    const std::size_t end = std::min(first + units, (block + 1) * RunMap::kBlockUnits);
    const bool only_these = taken_.taken_in(block) == end - unit;
    if (!resident_[block]) {
      resident_[block] = true;
      ++resident_count_;
    } else if (only_these) {
      --idle_count_;
    }
    unit = end;
  }
}

// The units have just been given back.
void ItemMemory::give_up_idle(std::size_t first, std::size_t units) {
  const std::size_t idle_max = std::max(kIdleMin, resident_.size() / kIdleShare);
  const std::size_t last = (first + units - 1) / RunMap::kBlockUnits;
  for (std::size_t block = first / RunMap::kBlockUnits; block <= last; ++block) {
    if (taken_.taken_in(block) > 0) continue;
    const bool given_up = idle_count_ >= idle_max && madvise(range_.data() + block * kHugePageBytes,
                                                             kHugePageBytes, MADV_DONTNEED) == 0;
    if (given_up) {
      resident_[block] = false;
      --resident_count_;
    } else {
      ++idle_count_;
    }
  }
}

}  // namespace rawcache
