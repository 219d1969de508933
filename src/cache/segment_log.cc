#include "cache/segment_log.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/math.h"

namespace rawcache {
namespace {

constexpr auto kFree = static_cast<std::uint8_t>(SegmentState::free);
constexpr auto kOpen = static_cast<std::uint8_t>(SegmentState::open);
constexpr auto kSealed = static_cast<std::uint8_t>(SegmentState::sealed);

}  // namespace

SegmentLog::SegmentLog(const Superblock& superblock)
    : segments_offset_(superblock.segments_offset),
      segment_bytes_(superblock.segment_bytes),
      block_bytes_(superblock.block_bytes),
      entry_alignment_(superblock.entry_alignment),
      table_(superblock.segments),
      generations_(std::make_unique<std::atomic<std::uint32_t>[]>(superblock.segments)),
      previous_of_(superblock.segments, kNoSegment),
      free_count_(superblock.segments) {}

void SegmentLog::set_generation(std::uint32_t segment, std::uint32_t generation) {
  table_[segment].generation = generation;
  generations_[segment].store(generation, std::memory_order_release);
}

bool SegmentLog::fits(std::uint64_t bytes) const {
  return round_up(position_ + bytes, block_bytes_) +
             footer_bytes(records_.size() + 1, block_bytes_) <=
         segment_bytes_;
}

std::uint64_t SegmentLog::take(std::uint64_t bytes) {
  RAWCACHE_ASSERT(has_open() && position_ + bytes <= segment_bytes_);
  const std::uint64_t offset = head();
  position_ += bytes;
  appended_bytes_ += bytes;
  return offset;
}

std::uint64_t SegmentLog::bytes_to_block() const {
  return round_up(position_, block_bytes_) - position_;
}

void SegmentLog::record(std::uint64_t key_hash, std::uint64_t offset, std::uint8_t size_class,
                        EntryKind kind) {
  const std::uint64_t units = (offset - segment_offset(open_)) / entry_alignment_;
  records_.push_back({key_hash, static_cast<std::uint32_t>(units), size_class, kind});
}

FooterRecord* SegmentLog::find_record(std::uint64_t offset) {
  if (!has_open() || offset < segment_offset(open_) || offset >= head()) return nullptr;
  const auto units =
      static_cast<std::uint32_t>((offset - segment_offset(open_)) / entry_alignment_);
  // Records are in the order of their offsets.
  const auto found = std::lower_bound(records_.begin(), records_.end(), units,
                                      [](const FooterRecord& record, std::uint32_t wanted) {
                                        return record.offset_units < wanted;
                                      });
  return found != records_.end() && found->offset_units == units ? &*found : nullptr;
}

void SegmentLog::note_batch(std::uint64_t sequence) {
  RAWCACHE_ASSERT(has_open());
  table_[open_].last_batch = std::max(table_[open_].last_batch, sequence);
}

SealedSegment SegmentLog::seal(std::uint32_t next, std::uint64_t next_sequence) {
  RAWCACHE_ASSERT(has_open());
  SegmentRecord& record = table_[open_];
  record.state = kSealed;
  SealedSegment sealed{
      .segment = open_, .offset = segment_offset(open_), .trailer = {}, .records = {}};
  sealed.trailer.generation = record.generation;
  sealed.trailer.next_segment = next;
  sealed.trailer.previous_segment = previous_;
  sealed.trailer.first_batch = record.first_batch;
  sealed.trailer.last_batch = record.last_batch;
  sealed.trailer.next_sequence = next_sequence;
  sealed.records = std::exchange(records_, {});
  appended_bytes_ += segment_bytes_ - position_;
  previous_ = open_;
  open_ = kNoSegment;
  return sealed;
}

void SegmentLog::open(std::uint32_t segment, std::uint64_t first_batch) {
  RAWCACHE_ASSERT(!has_open() && table_[segment].state == kFree);
  table_[segment].state = kOpen;
  table_[segment].first_batch = first_batch;
  table_[segment].last_batch = first_batch;
  previous_of_[segment] = previous_;
  set_generation(segment, next_generation_++);
  --free_count_;
  open_ = segment;
  position_ = 0;
  records_.clear();
}

void SegmentLog::resume(std::uint32_t segment, std::uint32_t previous, std::uint64_t position,
                        std::vector<FooterRecord> records) {
  RAWCACHE_ASSERT(table_[segment].state == kOpen && is_aligned(position, block_bytes_));
  open_ = segment;
  previous_ = previous_of_[segment] = previous;
  position_ = position;
  records_ = std::move(records);
}

std::optional<std::uint32_t> SegmentLog::usable_free(std::uint64_t replay_from) const {
  if (free_count_ == 0) return std::nullopt;
  // The one that has been free longest, so that the device is used evenly from the start.
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < segments(); ++i) {
    if (table_[i].state != kFree || table_[i].last_batch >= replay_from) continue;
    if (!best || table_[i].generation < table_[*best].generation) best = i;
  }
  return best;
}

std::uint64_t SegmentLog::usable_free_count(std::uint64_t replay_from) const {
  return static_cast<std::uint64_t>(std::ranges::count_if(table_, [&](const SegmentRecord& record) {
    return record.state == kFree && record.last_batch < replay_from;
  }));
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
  open_ = previous_ = kNoSegment;
  position_ = 0;
  records_.clear();
  free_count_ = table_.size();
}

void SegmentLog::abandon(std::uint64_t first_volatile_batch) {
  RAWCACHE_ASSERT(has_open());
  // Whoever follows the log backwards must find a segment that has been written.
  std::uint32_t last = open_;
  while (last != kNoSegment && table_[last].first_batch >= first_volatile_batch) {
    last = previous_of_[last];
  }
  table_[open_].state = kSealed;
  appended_bytes_ += segment_bytes_ - position_;
  records_.clear();
  open_ = kNoSegment;
  previous_ = last;
}

void SegmentLog::restore(std::vector<SegmentRecord> table, std::uint32_t next_generation) {
  next_generation_ = next_generation;
  RAWCACHE_ASSERT(table.size() == table_.size());
  table_ = std::move(table);
  free_count_ = 0;
  for (std::uint32_t i = 0; i < segments(); ++i) {
    set_generation(i, table_[i].generation);
    free_count_ += table_[i].state == kFree;
  }
}

}  // namespace rawcache
