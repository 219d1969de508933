#include "batch/write_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"
#include "batch/merge.h"

namespace rawcache {

namespace {

constexpr std::size_t kWritesExpected = 64;

/// Room for one more, so that the next push_back cannot fail.
template <typename T>
void make_room_for_one(std::vector<T>& list) {
  if (list.size() == list.capacity()) list.reserve(std::max(kWritesExpected, 2 * list.size()));
}

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
  make_room_to_note();
  add_tail();
  const Spot spot = find_spot(offset, size, operations);
  if (spot.region == nullptr) return {};
  take(spot, operations);
  // Padding must not carry old bytes to another place of the disk. Entries fill what they take:
  // zeroing that too would cost as much as copying them.
  const bool zero = operations == 0 && !mutated(Mutant::kPaddingNotZeroed);
  if (zero) std::ranges::fill(bytes_of(spot), std::byte{0});
  return bytes_of(spot);
}

void WriteBuffer::make_room_to_note() {
  make_room_for_one(writes_);
  make_room_for_one(hidden_);
}

std::span<std::byte> WriteBuffer::prepare(std::uint64_t offset, std::size_t size) {
  make_room_to_note();
  add_tail();
  prepared_ = find_spot(offset, size, 1);
  if (prepared_.region == nullptr) return {};
  return bytes_of(prepared_);
}

void WriteBuffer::commit() { take(prepared_, 1); }

void WriteBuffer::close() {
  add_tail();
  hidden_.clear();
}

/// Makes the tail what it would be without commit_behind().
void WriteBuffer::add_tail() {
  if (tail_.get() == 0) return;
  bounds_ = bounds();
  writes_.back() = write_at(writes_.size() - 1);
  tail_.set(0);
}

PendingWrite WriteBuffer::write_at(std::size_t index) const {
  PendingWrite write = writes_[index];
  if (index + 1 == writes_.size()) {
    write.bytes = {write.bytes.data(), write.bytes.size() + tail_.get()};
  }
  return write;
}

Extent WriteBuffer::bounds() const {
  if (writes_.empty()) return {};
  const std::uint64_t end = std::max(bounds_.end(), write_at(writes_.size() - 1).end());
  return {bounds_.offset, end - bounds_.offset};
}

WriteBuffer::Spot WriteBuffer::find_spot(std::uint64_t offset, std::size_t size,
                                         std::uint32_t operations) {
  RAWCACHE_ASSERT(size > 0);
  if (behind_ != nullptr && offset == behind_offset_) {
    const Region& region = this->*behind_;
    if (!fits(region, 0, size, operations)) return {};
    return {behind_, region.used, size, offset, true};
  }
  const std::size_t gap = (offset - main_.used) % kIoMemoryAlignment;
  if (fits(main_, gap, size, operations)) {
    return {&WriteBuffer::main_, main_.used + gap, size, offset, false};
  }
  if (!empty()) return {};
  const std::size_t lead = offset % kIoMemoryAlignment;
  oversize_.memory = AlignedBuffer::allocate(lead + size + kReserveBytes);
  if (oversize_.memory.empty()) return {};
  return {&WriteBuffer::oversize_, lead, size, offset, false};
}

void WriteBuffer::take(const Spot& spot, std::uint32_t operations) {
  if (spot.extends_last) {
    PendingWrite& last = writes_.back();
    last.bytes = {last.bytes.data(), last.bytes.size() + spot.size};
    bounds_.size = std::max(bounds_.end(), last.end()) - bounds_.offset;
  } else {
    add(spot.offset, bytes_of(spot));
  }
  (this->*spot.region).used = spot.at + spot.size;
  behind_ = spot.region;
  behind_offset_ = spot.offset + spot.size;
  count(spot.size, operations);
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
  make_room_for_one(writes_);
  make_room_for_one(adopted_);
  add_tail();
  count(memory.size(), 0);
  add(offset, memory.bytes());
  adopted_.push_back(std::move(memory));
  behind_ = nullptr;
}

std::uint64_t WriteBuffer::memory_bytes() const {
  std::uint64_t total = main_.memory.size() + oversize_.memory.size();
  for (const AlignedBuffer& memory : adopted_) total += memory.size();
  return total;
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
  if (intersection(wanted, bounds()).size == 0) return;
  for (std::size_t i = 0; i < writes_.size(); ++i) {
    const PendingWrite write = write_at(i);
    const Extent common = intersection(wanted, {write.offset, write.bytes.size()});
    if (common.size == 0) continue;
    copy_visible(write, common, 0, into.data() + (common.offset - offset));
    covered.push_back(common);
  }
}

std::span<const std::byte> WriteBuffer::view(const Extent& extent) const {
  if (intersection(extent, bounds()).size == 0) return {};
  for (std::size_t i = writes_.size(); i-- > 0;) {
    const PendingWrite write = write_at(i);
    const Extent found = intersection(extent, {write.offset, write.bytes.size()});
    if (found.size == 0) continue;
    const bool dark = std::ranges::any_of(
        hidden_, [&](const Extent& hidden) { return intersection(found, hidden).size != 0; });
    if (dark || found.offset != extent.offset) break;
    return write.bytes.subspan(found.offset - write.offset, found.size);
  }
  return {};
}

/// Copies `range` of the write, with zeros where one of hidden_[first_hidden...] hides it.
void WriteBuffer::copy_visible(const PendingWrite& from, const Extent& range,
                               std::size_t first_hidden, std::byte* into) const {
  if (range.size == 0) return;
  for (std::size_t i = first_hidden; i < hidden_.size(); ++i) {
    const Extent dark = intersection(range, hidden_[i]);
    if (dark.size == 0 || mutated(Mutant::kHiddenRangeRead)) continue;
    copy_visible(from, {range.offset, dark.offset - range.offset}, i + 1, into);
    std::memset(into + (dark.offset - range.offset), 0, dark.size);
    copy_visible(from, {dark.end(), range.end() - dark.end()}, i + 1,
                 into + (dark.end() - range.offset));
    return;
  }
  std::memcpy(into, from.bytes.data() + (range.offset - from.offset), range.size);
}

bool WriteBuffer::overlaps(const Extent& extent) const {
  if (intersection(extent, bounds()).size == 0) return false;
  for (std::size_t i = 0; i < writes_.size(); ++i) {
    const PendingWrite write = write_at(i);
    if (intersection(extent, {write.offset, write.bytes.size()}).size != 0) return true;
  }
  return false;
}

void WriteBuffer::clear() {
  behind_ = nullptr;
  main_.used = 0;
  oversize_ = {};
  prepared_ = {};
  adopted_.clear();
  writes_.clear();
  hidden_.clear();
  bounds_ = {};
  tail_.set(0);
  operations_.set(0);
  bytes_.set(0);
}

}  // namespace rawcache
