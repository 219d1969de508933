#include "cache/replay.h"

#include <algorithm>
#include <utility>

namespace rawcache {

// --- Which segments have been written since ---

void Recovery::note_header(const BatchHeader& header) {
  stated_durable_ = std::max(stated_durable_, header.durable_through);
  out_.next_batch = std::max(out_.next_batch, header.sequence + 1);
  out_.time_high = std::max<std::uint64_t>(out_.time_high, header.time);
  if (header.sequence >= out_.replay_from) out_.clean = false;
}

void Recovery::add_life(std::uint32_t segment, const BatchHeader& header) {
  Life& life = lives_[segment];
  life.segment = segment;
  life.generation = header.generation;
  life.first_batch = life.last_batch = header.sequence;
  life.previous_segment = header.previous_segment;
  life.reopened =
      segment != checkpoint_open_ || header.generation != out_.table[segment].generation;
}

Result<void> Recovery::find_lives() {
  for (std::uint32_t segment = 0; segment < superblock_.segments; ++segment) {
    const auto& header = survey_[segment];
    if (!header || header->sequence < out_.replay_from ||
        header->generation == out_.table[segment].generation) {
      continue;
    }
    add_life(segment, *header);
    note_header(*header);
  }
  if (checkpoint_open_ != kNoSegment && !lives_.contains(checkpoint_open_)) {
    const SegmentRecord& record = out_.table[checkpoint_open_];
    lives_[checkpoint_open_] = {.segment = checkpoint_open_,
                                .generation = record.generation,
                                .first_batch = record.first_batch,
                                .last_batch = record.last_batch,
                                .previous_segment = checkpoint_previous_,
                                .reopened = false,
                                .trailer = {},
                                .scan = {}};
  }
  // A rotten first block hides a segment from the survey; its neighbours in the log still name it.
  std::vector<std::uint32_t> unread;
  for (const auto& [segment, life] : lives_) unread.push_back(segment);
  while (!unread.empty()) {
    const std::uint32_t segment = unread.back();
    unread.pop_back();
    Life& life = lives_.at(segment);
    const auto trailer = read_footer_trailer(disk_, superblock_, segment);
    if (trailer && trailer->generation == life.generation) {
      life.trailer = trailer;
      life.last_batch = std::max(life.last_batch, trailer->last_batch);
      life.previous_segment = trailer->previous_segment;
      out_.next_sequence = std::max(out_.next_sequence, trailer->next_sequence);
      out_.next_batch = std::max(out_.next_batch, trailer->last_batch + 1);
    }
    const std::uint32_t neighbours[] = {
        life.trailer ? life.trailer->next_segment : kNoSegment,
        segment == checkpoint_open_ ? kNoSegment : life.previous_segment};
    for (const std::uint32_t neighbour : neighbours) {
      if (neighbour >= superblock_.segments || lives_.contains(neighbour)) continue;
      if (checkpoint_open_ == kNoSegment && neighbour == checkpoint_previous_) continue;
      if (auto added = add_suspect(neighbour); !added) return added;
      if (lives_.contains(neighbour)) unread.push_back(neighbour);
    }
  }
  for (const auto& [segment, life] : lives_) order_.push_back(segment);
  std::ranges::sort(order_, {}, [&](std::uint32_t s) { return lives_.at(s).generation; });
  return {};
}

Result<void> Recovery::add_suspect(std::uint32_t segment) {
  if (!suspects_seen_.insert(segment).second) return {};
  auto scanned = scan_segment(disk_, superblock_, segment);
  if (!scanned) return std::unexpected(scanned.error());
  out_.counts.payload_bytes += scanned->bytes_read;
  out_.counts.unreadable += scanned->unreadable_bytes;
  if (scanned->parts.empty()) return {};
  const BatchHeader& first = scanned->parts.front().header;
  if (first.sequence < out_.replay_from || first.generation == out_.table[segment].generation) {
    return {};  // its life before the checkpoint
  }
  add_life(segment, first);
  for (const ScannedPart& part : scanned->parts) note_header(part.header);
  return {};
}

bool Recovery::chain_reaches_checkpoint() const {
  if (order_.empty()) return true;
  // What came before a clear is gone, so then the chain only has to reach the clear.
  const bool cleared = out_.replay_from < superblock_.dead_below_batch;
  if (!cleared && checkpoint_open_ != kNoSegment && lives_.at(checkpoint_open_).reopened) {
    return false;
  }
  // A batch that was cut off may have left parts behind a gap: the chain is that of the others.
  const auto newest = std::find_if(order_.rbegin(), order_.rend(), [&](std::uint32_t segment) {
    const auto& scan = lives_.at(segment).scan;
    return !scan || std::ranges::any_of(scan->parts, [&](const auto& p) { return committed(p); });
  });
  if (newest == order_.rend()) return true;
  std::uint32_t at = *newest;
  for (std::size_t steps = 0; steps <= order_.size(); ++steps) {
    const Life& life = lives_.at(at);
    if (cleared &&
        (life.first_batch < superblock_.dead_below_batch || life.previous_segment == kNoSegment)) {
      return true;
    }
    if (at == checkpoint_open_) return !cleared;
    const std::uint32_t previous = lives_.at(at).previous_segment;
    if (checkpoint_open_ == kNoSegment && previous == checkpoint_previous_) return true;
    if (!lives_.contains(previous)) return false;
    if (lives_.at(previous).generation > lives_.at(at).generation) return false;
    at = previous;
  }
  return false;
}

// --- Replay ---

Result<void> Recovery::scan(Life& life) {
  if (life.scan) return {};
  auto scanned = scan_segment(disk_, superblock_, life.segment);
  if (!scanned) return std::unexpected(scanned.error());
  out_.counts.payload_bytes += scanned->bytes_read;
  out_.counts.unreadable += scanned->unreadable_bytes;
  ++out_.counts.segments_scanned;
  std::erase_if(scanned->parts,
                [&](const ScannedPart& part) { return part.header.generation != life.generation; });
  for (const ScannedPart& part : scanned->parts) {
    note_header(part.header);
    life.last_batch = std::max(life.last_batch, part.header.sequence);
    Batch& batch = batches_[part.header.sequence];
    batch.parts = part.header.parts;
    batch.since_previous = part.header.since_previous;
    if (part.complete) ++batch.whole_parts;
    for (const ScannedEntry& entry : part.entries) {
      out_.next_sequence = std::max(out_.next_sequence, entry.sequence + 1);
    }
  }
  life.scan = std::move(*scanned);
  return {};
}

Result<void> Recovery::scan_what_is_not_vouched_for() {
  for (const std::uint32_t segment : order_) {
    if (survey_[segment] && survey_[segment]->generation == lives_.at(segment).generation) {
      note_header(*survey_[segment]);
    }
  }
  // Newest first: what the newer ones state decides whether an older one's footer can be trusted.
  // The newest is always scanned, it is where the log goes on.
  for (auto segment = order_.rbegin(); segment != order_.rend(); ++segment) {
    Life& life = lives_.at(*segment);
    if (segment != order_.rbegin() && vouched_for(life) && !rebuilding_) continue;
    if (auto scanned = scan(life); !scanned) return scanned;
  }
  judge_batches();
  return {};
}

Result<void> Recovery::apply(std::uint64_t key_hash, Location location, EntryKind kind) {
  ++out_.counts.entries;
  if (kind == EntryKind::value) {
    if (auto put = index_.put(key_hash, location); !put) return std::unexpected(put.error());
  } else if (kind == EntryKind::remove) {
    index_.erase(key_hash);
  }
  return {};
}

// Several batches may have been under way at once. Beyond those known to be durable the log ends
// where the first one is missing or cut off, so that what survives is always a prefix of the calls.
// What a batch passes over has been given up and placed elsewhere: in that batch or after it.
void Recovery::judge_batches() {
  counted_.clear();
  given_up_.clear();
  for (const auto& [sequence, batch] : batches_) {
    const std::uint64_t since = std::min<std::uint64_t>(batch.since_previous, sequence);
    const std::uint64_t previous = sequence - since;
    for (auto passed = batches_.upper_bound(previous);
         passed != batches_.end() && passed->first < sequence; ++passed) {
      given_up_.insert(passed->first);
    }
  }
  for (const auto& [sequence, batch] : batches_) {
    if (sequence <= stated_durable_ || batch.whole_parts != batch.parts) continue;
    const std::uint64_t since = std::min<std::uint64_t>(batch.since_previous, sequence);
    const std::uint64_t previous = sequence - since;
    const bool follows = previous <= stated_durable_ || counted_.contains(previous);
    if (follows && !given_up_.contains(sequence)) counted_.insert(sequence);
  }
}

bool Recovery::committed(const ScannedPart& part) const {
  const std::uint64_t sequence = part.header.sequence;
  if (given_up_.contains(sequence)) return false;
  return sequence <= stated_durable_ || counted_.contains(sequence);
}

Result<void> Recovery::replay() {
  for (const std::uint32_t segment : order_) {
    Life& life = lives_.at(segment);
    if (life.last_batch < superblock_.dead_below_batch) continue;
    if (!life.scan) {
      const auto records =
          read_footer_records(disk_, superblock_, segment, *life.trailer, out_.counts.read_bytes);
      if (records) {
        replay_footer(life, *records);
        if (failure_) return std::unexpected(*failure_);
        continue;
      }
      if (auto scanned = scan(life); !scanned) return scanned;
      judge_batches();
    }
    replay_scan(life);
    if (failure_) return std::unexpected(*failure_);
  }
  return {};
}

void Recovery::replay_footer(const Life& life, const std::vector<FooterRecord>& records) {
  ++out_.counts.segments_by_footer;
  out_.counts.batches += life.trailer->last_batch - life.trailer->first_batch + 1;
  const std::uint64_t start = segment_offset(superblock_, life.segment);
  for (const FooterRecord& record : records) {
    const std::uint64_t within = std::uint64_t{record.offset_units} * superblock_.entry_alignment;
    if (within >= superblock_.segment_bytes) continue;
    if (auto applied = apply(record.key_hash, {start + within, record.size_class}, record.kind);
        !applied) {
      failure_ = applied.error();
      return;
    }
  }
}

void Recovery::replay_scan(const Life& life) {
  const bool last = life.segment == order_.back();
  const std::uint64_t start = segment_offset(superblock_, life.segment);
  for (const ScannedPart& part : life.scan->parts) {
    if (!committed(part)) {
      out_.cut_off.push_back(part.offset);
      continue;
    }
    if (rebuilding_ && !follows(part)) index_.clear();  // something newer than it may be missing
    if (last) out_.open_position = part.end(superblock_.block_bytes) - start;
    if (part.header.sequence < superblock_.dead_below_batch) continue;
    // The checkpoint knows better: an entry in it may have rotted since, and a batch that was cut
    // off before it stays so.
    const bool in_checkpoint = part.header.sequence < out_.replay_from;
    if (!in_checkpoint) {
      ++out_.counts.batches;
      if (!part.complete) ++out_.counts.damaged_parts;
    }
    // Where the log ends no batch goes on elsewhere: one that would have, was cut off.
    const bool whole = part.complete && part.header.part + 1 == part.header.parts;
    for (const ScannedEntry& entry : part.entries) {
      const bool counts = !in_checkpoint || index_.find(entry.key_hash) == entry.location ||
                          (entry.kind == EntryKind::remove && whole);
      if (!in_checkpoint) {
        if (auto applied = apply(entry.key_hash, entry.location, entry.kind); !applied) {
          failure_ = applied.error();
          return;
        }
      }
      if (!last) continue;
      const std::uint64_t units = (entry.location.offset - start) / superblock_.entry_alignment;
      out_.open_records.push_back({entry.key_hash, static_cast<std::uint32_t>(units),
                                   entry.location.size_class,
                                   counts ? entry.kind : EntryKind::withdrawn});
    }
  }
}

// For a rebuild, which has no checkpoint to say what was superseded: whether the part is whole and
// nothing is missing between it and the one before.
bool Recovery::follows(const ScannedPart& part) {
  const bool next_part =
      part.header.sequence == last_part_.sequence && part.header.part == last_part_.part + 1;
  const bool next_batch =
      part.header.sequence == last_part_.sequence + part.header.since_previous &&
      last_part_.part + 1 == last_part_.parts && part.header.part == 0;
  last_part_ = part.header;
  return part.complete && (next_part || next_batch);
}

Result<void> Recovery::from_log_alone() {
  index_.clear();
  lives_.clear();
  order_.clear();
  out_ = {};
  out_.clean = false;
  out_.table.assign(superblock_.segments, SegmentRecord{});
  out_.next_batch = superblock_.dead_below_batch;
  out_.next_sequence = superblock_.dead_below_sequence;
  out_.time_high = superblock_.time_high;
  batches_.clear();
  stated_durable_ = 0;
  rebuilding_ = true;
  std::optional<std::uint32_t> newest;
  for (std::uint32_t segment = 0; segment < superblock_.segments; ++segment) {
    if (!survey_[segment]) continue;
    out_.table[segment].generation = survey_[segment]->generation;
    note_header(*survey_[segment]);
    if (!newest || survey_[segment]->generation > survey_[*newest]->generation) newest = segment;
  }
  // Only the unbroken chain up to the newest segment: older copies of what a missing link
  // superseded must not come back.
  for (std::optional<std::uint32_t> at = newest; at && !lives_.contains(*at);) {
    add_life(*at, *survey_[*at]);
    order_.insert(order_.begin(), *at);
    const std::uint32_t previous = survey_[*at]->previous_segment;
    const bool linked = previous < superblock_.segments && survey_[previous] &&
                        survey_[previous]->generation < survey_[*at]->generation;
    if (!linked) break;
    at = previous;
  }
  if (auto scanned = scan_what_is_not_vouched_for(); !scanned) return scanned;
  return replay();
}

}  // namespace rawcache
