#include "batch/write_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "batch/merge.h"

namespace rawcache {

namespace {

constexpr std::size_t kWritesExpected = 64;

/// The bytes that both have; size 0 if none.
Extent intersection(const Extent& a, const Extent& b) {
  const std::uint64_t begin = std::max(a.offset, b.offset);
  const std::uint64_t end = std::min(a.end(), b.end());
  return {begin, end > begin ? end - begin : 0};
}

}  // namespace

WriteBuffer::WriteBuffer(const BatchLimits& limits, std::uint64_t more_bytes) : limits_(limits) {
  main_.memory = AlignedBuffer::allocate(limits.max_bytes + kReserveBytes + more_bytes);
  writes_.reserve(kWritesExpected);
}

std::span<std::byte> WriteBuffer::reserve(std::uint64_t offset, std::size_t size,
                                          std::uint32_t operations) {
  RAWCACHE_ASSERT(size > 0);
  std::byte* at = nullptr;
  if (Region* const region = region_behind_last(offset)) {
    if (fits_before_closing(*region, size, operations)) at = extend_last(*region, size);
  } else {
    if (fits_before_closing(main_, size, operations)) at = place(main_, offset, size);
    if (at == nullptr && empty()) at = place_oversize(offset, size);
  }
  if (at == nullptr) return {};
  // Padding must not carry old bytes to another place of the disk. Entries fill what they take:
  // zeroing that too would cost as much as copying them.
  if (operations == 0) std::memset(at, 0, size);
  operations_ += std::min(operations, ~operations_);  // saturates
  bytes_ += size;
  return {at, size};
}

bool WriteBuffer::fits_before_closing(const Region& region, std::size_t size,
                                      std::uint32_t operations) {
  return operations == 0 ||
         (size <= region.free_bytes() && region.free_bytes() - size >= kClosingBytes);
}

/// The region that can go on where the last write ends; null if that is not at `offset`.
WriteBuffer::Region* WriteBuffer::region_behind_last(std::uint64_t offset) {
  if (writes_.empty() || writes_.back().end() != offset) return nullptr;
  const std::span<std::byte> last = writes_.back().bytes;
  for (Region* region : {&main_, &oversize_}) {
    if (region->used != 0 && last.data() + last.size() == region->memory.data() + region->used) {
      return region;
    }
  }
  return nullptr;
}

std::byte* WriteBuffer::extend_last(Region& region, std::size_t size) {
  if (size > region.free_bytes()) return nullptr;
  PendingWrite& last = writes_.back();
  std::byte* const at = last.bytes.data() + last.bytes.size();
  last.bytes = {last.bytes.data(), last.bytes.size() + size};
  region.used += size;
  bounds_.size = std::max(bounds_.end(), last.end()) - bounds_.offset;
  return at;
}

std::byte* WriteBuffer::place(Region& region, std::uint64_t offset, std::size_t size) {
  const std::size_t gap = (offset - region.used) % kIoMemoryAlignment;
  if (gap > region.free_bytes() || size > region.free_bytes() - gap) return nullptr;
  std::byte* const at = region.memory.data() + region.used + gap;
  region.used += gap + size;
  add(offset, {at, size});
  return at;
}

std::byte* WriteBuffer::place_oversize(std::uint64_t offset, std::size_t size) {
  const std::size_t lead = offset % kIoMemoryAlignment;
  oversize_.memory = AlignedBuffer::allocate(lead + size + kReserveBytes);
  return oversize_.memory.empty() ? nullptr : place(oversize_, offset, size);
}

void WriteBuffer::add(std::uint64_t offset, std::span<std::byte> bytes) {
  const std::uint64_t end = offset + bytes.size();
  const std::uint64_t low = writes_.empty() ? offset : std::min(bounds_.offset, offset);
  const std::uint64_t high = writes_.empty() ? end : std::max(bounds_.end(), end);
  bounds_ = {low, high - low};
  writes_.push_back({offset, bytes});
}

void WriteBuffer::adopt(std::uint64_t offset, AlignedBuffer memory) {
  RAWCACHE_ASSERT(memory.size() > 0);
  bytes_ += memory.size();
  add(offset, memory.bytes());
  adopted_.push_back(std::move(memory));
}

std::uint64_t WriteBuffer::memory_bytes() const {
  std::uint64_t total = main_.memory.size() + oversize_.memory.size();
  for (const AlignedBuffer& memory : adopted_) total += memory.size();
  return total;
}

void WriteBuffer::reveal(const Extent& extent) {
  const auto found = std::find(hidden_.rbegin(), hidden_.rend(), extent);
  if (found != hidden_.rend()) hidden_.erase(std::next(found).base());
}

std::size_t WriteBuffer::read(std::uint64_t offset, std::span<std::byte> into) const {
  std::vector<Extent> covered;
  read(offset, into, covered);
  std::size_t missing = 0;
  for (const Extent& hole : uncovered({offset, into.size()}, covered)) missing += hole.size;
  return into.size() - missing;
}

void WriteBuffer::read(std::uint64_t offset, std::span<std::byte> into,
                       std::vector<Extent>& covered) const {
  const Extent wanted{offset, into.size()};
  if (writes_.empty() || intersection(wanted, bounds_).size == 0) return;
  for (const PendingWrite& write : writes_) {
    const Extent common = intersection(wanted, {write.offset, write.bytes.size()});
    if (common.size == 0) continue;
    copy_visible(write, common, 0, into.data() + (common.offset - offset));
    covered.push_back(common);
  }
}

/// Copies `range` of the write, with zeros where one of hidden_[first_hidden...] hides it.
void WriteBuffer::copy_visible(const PendingWrite& from, const Extent& range,
                               std::size_t first_hidden, std::byte* into) const {
  if (range.size == 0) return;
  for (std::size_t i = first_hidden; i < hidden_.size(); ++i) {
    const Extent dark = intersection(range, hidden_[i]);
    if (dark.size == 0) continue;
    copy_visible(from, {range.offset, dark.offset - range.offset}, i + 1, into);
    std::memset(into + (dark.offset - range.offset), 0, dark.size);
    copy_visible(from, {dark.end(), range.end() - dark.end()}, i + 1,
                 into + (dark.end() - range.offset));
    return;
  }
  std::memcpy(into, from.bytes.data() + (range.offset - from.offset), range.size);
}

bool WriteBuffer::overlaps(const Extent& extent) const {
  if (writes_.empty() || intersection(extent, bounds_).size == 0) return false;
  return std::any_of(writes_.begin(), writes_.end(), [&](const PendingWrite& write) {
    return intersection(extent, {write.offset, write.bytes.size()}).size != 0;
  });
}

void WriteBuffer::clear() {
  main_.used = 0;
  oversize_ = {};
  adopted_.clear();
  writes_.clear();
  hidden_.clear();
  bounds_ = {};
  operations_ = 0;
  bytes_ = 0;
}

}  // namespace rawcache
