#include "cache/segment_log.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"

namespace rawcache {
namespace {

constexpr auto kFree = static_cast<std::uint8_t>(SegmentState::free);
constexpr auto kOpen = static_cast<std::uint8_t>(SegmentState::open);
constexpr auto kSealed = static_cast<std::uint8_t>(SegmentState::sealed);
/// Hits on a segment count from when this share of the capacity has been written after it was
/// opened: what is asked for twice at once is not worth keeping for that.
constexpr std::uint64_t kYoungShare = 50;
constexpr std::uint64_t kYoungWhileOpen = ~std::uint64_t{0};

/// Free, and the durable checkpoint knows it.
bool is_forgotten(const SegmentRecord& record, std::uint64_t replay_from) {
  return record.state == kFree &&
         (record.last_batch < replay_from || mutated(Mutant::kReusedBeforeCheckpoint));
}

}  // namespace

SegmentLog::SegmentLog(const Superblock& superblock)
    : segments_offset_(superblock.segments_offset),
      segment_bytes_(superblock.segment_bytes),
      block_bytes_(superblock.block_bytes),
      table_(superblock.segments),
      generations_(std::make_unique<std::atomic<std::uint32_t>[]>(superblock.segments)),
      opened_at_(superblock.segments, 0),
      young_until_(std::make_unique<std::atomic<std::uint64_t>[]>(superblock.segments)),
      previous_of_(superblock.segments, kNoSegment),
      copies_through_(superblock.segments, 0),
      heads_{Head{.records = FooterRecords(superblock.entry_alignment)},
             Head{.records = FooterRecords(superblock.entry_alignment)}},
      free_count_(superblock.segments) {}

void SegmentLog::set_generation(std::uint32_t segment, std::uint32_t generation) {
  table_[segment].generation = generation;
  generations_[segment].store(generation, std::memory_order_release);
}

bool SegmentLog::fits(std::uint64_t bytes) const {
  return round_up(at().position + bytes, block_bytes_) +
             footer_bytes(at().records.bytes().size() + kFooterRecordBytesMax, block_bytes_) <=
         segment_bytes_;
}

std::uint64_t SegmentLog::take(std::uint64_t bytes) {
  RAWCACHE_ASSERT(has_open() && at().position + bytes <= segment_bytes_);
  const std::uint64_t offset = head();
  at().position += bytes;
  appended_bytes_ += bytes;
  return offset;
}

std::uint64_t SegmentLog::bytes_to_block() const {
  return round_up(at().position, block_bytes_) - at().position;
}

void SegmentLog::make_room_for_record() { at().records.make_room_for_one(); }

void SegmentLog::withdraw_records(const std::function<bool(std::uint64_t)>& is_withdrawn) {
  for (Head& head : heads_) {
    if (head.segment == kNoSegment) continue;
    const std::uint64_t start = segment_offset(head.segment);
    head.records.withdraw([&](std::uint32_t offset) { return is_withdrawn(start + offset); });
  }
}

void SegmentLog::note_batch(std::uint64_t sequence) {
  RAWCACHE_ASSERT(has_open());
  table_[at().segment].last_batch = std::max(table_[at().segment].last_batch, sequence);
}

SealedSegment SegmentLog::seal(std::uint32_t next, std::uint64_t next_sequence) {
  RAWCACHE_ASSERT(has_open());
  SealedSegment sealed{.segment = at().segment,
                       .offset = segment_offset(at().segment),
                       .trailer = {},
                       .records = at().records.take()};
  SegmentRecord& record = table_[at().segment];
  record.state = kSealed;
  sealed.trailer.generation = record.generation;
  sealed.trailer.next_segment = next;
  sealed.trailer.previous_segment = at().previous;
  sealed.trailer.first_batch = record.first_batch;
  sealed.trailer.last_batch = record.last_batch;
  sealed.trailer.next_sequence = next_sequence;
  sealed.trailer.stream = static_cast<std::uint32_t>(stream_);
  appended_bytes_ += segment_bytes_ - at().position;
  close_open();
  at().previous = at().segment;
  at().segment = kNoSegment;
  return sealed;
}

void SegmentLog::open(std::uint32_t segment, std::uint64_t first_batch) {
  RAWCACHE_ASSERT(!has_open() && table_[segment].state == kFree);
  table_[segment].state = kOpen;
  table_[segment].first_batch = first_batch;
  table_[segment].last_batch = first_batch;
  table_[segment].stream = table_[segment].label = static_cast<std::uint8_t>(stream_);
  copies_through_[segment] = 0;
  opened_at_[segment] = appended_bytes_;
  young_until_[segment].store(kYoungWhileOpen, std::memory_order_relaxed);
  to_end_of_queue(segment);
  previous_of_[segment] = at().previous;
  set_generation(segment, next_generation_++);
  --free_count_;
  at().segment = segment;
  at().position = 0;
  at().records.clear();
}

void SegmentLog::resume(std::uint32_t segment, std::uint32_t previous, std::uint64_t position,
                        std::span<const FooterRecord> records) {
  RAWCACHE_ASSERT(table_[segment].state == kOpen && is_aligned(position, block_bytes_));
  young_until_[segment].store(kYoungWhileOpen, std::memory_order_relaxed);
  at().segment = segment;
  at().previous = previous_of_[segment] = previous;
  at().position = position;
  at().records.clear();
  for (const FooterRecord& record : records) {
    // Bytes from the device: what was made to overlap is left out.
    if (record.offset < at().records.end()) continue;
    at().records.make_room_for_one();
    at().records.add(record);
  }
}

bool SegmentLog::is_usable(std::uint32_t segment, std::uint64_t replay_from) const {
  const bool copied =
      copies_through_[segment] < first_volatile_ || mutated(Mutant::kReusedBeforeCopies);
  return is_forgotten(table_[segment], replay_from) && copied;
}

std::optional<std::uint32_t> SegmentLog::usable_free(std::uint64_t replay_from) const {
  if (free_count_ == 0) return std::nullopt;
  // The one that has been free longest, so that the device is used evenly from the start.
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < segments(); ++i) {
    if (!is_usable(i, replay_from)) continue;
    if (!best || table_[i].generation < table_[*best].generation) best = i;
  }
  return best;
}

std::uint64_t SegmentLog::usable_free_count(std::uint64_t replay_from) const {
  std::uint64_t count = 0;
  for (std::uint32_t i = 0; i < segments(); ++i) count += is_usable(i, replay_from);
  return count;
}

std::uint64_t SegmentLog::usable_after_flush(std::uint64_t replay_from) const {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      table_, [&](const SegmentRecord& record) { return is_forgotten(record, replay_from); }));
}

void SegmentLog::copies_moved(std::uint64_t first_volatile, std::uint64_t batch) {
  for (std::uint64_t& through : copies_through_) {
    if (through >= first_volatile) through = batch;
  }
}

void SegmentLog::label(std::uint32_t segment, Stream label) {
  table_[segment].label = static_cast<std::uint8_t>(label);
  to_end_of_queue(segment);
}

void SegmentLog::to_end_of_queue(std::uint32_t segment) {
  table_[segment].queue_position = next_queue_position_++;
}

void SegmentLog::close_open() {
  const std::uint32_t segment = at().segment;
  const std::uint64_t young_bytes = std::uint64_t{segments()} * segment_bytes_ / kYoungShare;
  young_until_[segment].store(opened_at_[segment] + young_bytes, std::memory_order_relaxed);
}

void SegmentLog::release(std::uint32_t segment) {
  RAWCACHE_ASSERT(table_[segment].state == kSealed);
  table_[segment].state = kFree;
  ++free_count_;
}

void SegmentLog::clear() {
  for (SegmentRecord& record : table_) {
    record.state = kFree;
    record.first_batch = record.last_batch = 0;
  }
  std::ranges::fill(copies_through_, 0);
  for (Head& head : heads_) {
    head.segment = head.previous = kNoSegment;
    head.position = 0;
    head.records.clear();
  }
  free_count_ = table_.size();
}

void SegmentLog::abandon(std::uint64_t first_volatile_batch) {
  // Whoever follows the stream backwards must find a segment that has been written.
  std::uint32_t last = has_open() ? at().segment : at().previous;
  while (last != kNoSegment && table_[last].first_batch >= first_volatile_batch) {
    last = previous_of_[last];
  }
  at().previous = last;
  if (!has_open()) return;
  table_[at().segment].state = kSealed;
  close_open();
  appended_bytes_ += segment_bytes_ - at().position;
  at().records.clear();
  at().segment = kNoSegment;
}

void SegmentLog::restore(std::vector<SegmentRecord> table, std::uint32_t next_generation) {
  next_generation_ = next_generation;
  RAWCACHE_ASSERT(table.size() == table_.size());
  table_ = std::move(table);
  free_count_ = 0;
  for (std::uint32_t i = 0; i < segments(); ++i) {
    next_queue_position_ = std::max(next_queue_position_, table_[i].queue_position + 1);
    set_generation(i, table_[i].generation);
    free_count_ += table_[i].state == kFree;
  }
}

}  // namespace rawcache
