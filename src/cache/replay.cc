#include "cache/replay.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/mutant.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

constexpr std::size_t kFetchedAhead = 16;  ///< entries whose index pages are fetched ahead

}  // namespace

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
  life.stream = static_cast<Stream>(header.stream);
  life.reopened = std::ranges::find(checkpoint_open_, segment) == checkpoint_open_.end() ||
                  header.generation != out_.table[segment].generation;
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
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    const std::uint32_t open = checkpoint_open_[stream];
    if (open == kNoSegment || lives_.contains(open)) continue;
    const SegmentRecord& record = out_.table[open];
    Life& life = lives_[open];
    life.segment = open;
    life.generation = record.generation;
    life.first_batch = record.first_batch;
    life.last_batch = record.last_batch;
    life.previous_segment = checkpoint_previous_[stream];
    life.stream = static_cast<Stream>(stream);
  }
  // A rotten first block hides a segment from the survey; its neighbours in the log still name it.
  std::vector<std::uint32_t> unread;
  for (const auto& [segment, life] : lives_) unread.push_back(segment);
  while (!unread.empty()) {
    const std::uint32_t segment = unread.back();
    unread.pop_back();
    Life& life = lives_.at(segment);
    if (const auto trailer = trailer_of(life)) {
      life.trailer = trailer;
      life.last_batch = std::max(life.last_batch, trailer->last_batch);
      life.previous_segment = trailer->previous_segment;
      out_.next_sequence = std::max(out_.next_sequence, trailer->next_sequence);
      out_.next_batch = std::max(out_.next_batch, trailer->last_batch + 1);
    }
    const std::uint32_t neighbours[] = {life.trailer ? life.trailer->next_segment : kNoSegment,
                                        life.reopened ? life.previous_segment : kNoSegment};
    for (const std::uint32_t neighbour : neighbours) {
      if (neighbour >= superblock_.segments || lives_.contains(neighbour)) continue;
      const auto stream = static_cast<std::size_t>(life.stream);
      if (checkpoint_open_[stream] == kNoSegment && neighbour == checkpoint_previous_[stream]) {
        continue;
      }
      if (auto added = add_suspect(neighbour); !added) return added;
      if (lives_.contains(neighbour)) unread.push_back(neighbour);
    }
  }
  for (const auto& [segment, life] : lives_) order_.push_back(segment);
  std::ranges::sort(order_, {}, [&](std::uint32_t s) { return lives_.at(s).generation; });
  return {};
}

std::optional<FooterTrailer> Recovery::trailer_of(const Life& life) const {
  const auto trailer = read_footer_trailer(disk_, superblock_, life.segment);
  return trailer && trailer->generation == life.generation ? trailer : std::nullopt;
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
  return order_.empty() ||
         (stream_reaches_checkpoint(Stream::small) && stream_reaches_checkpoint(Stream::main));
}

bool Recovery::stream_reaches_checkpoint(Stream stream) const {
  const std::uint32_t open = checkpoint_open_[static_cast<std::size_t>(stream)];
  const std::uint32_t before = checkpoint_previous_[static_cast<std::size_t>(stream)];
  // What came before a clear is gone, so then the chain only has to reach the clear.
  const bool cleared = out_.replay_from < superblock_.dead_below_batch;
  // Nothing of what the checkpoint contains is in a segment that was open and empty: if its first
  // batches could not be written there, the log has gone on in another one.
  const bool empty = open == kNoSegment || out_.table[open].first_batch >= out_.replay_from;
  const bool reopened = open != kNoSegment && lives_.at(open).reopened;
  if (!cleared && reopened && !empty) return false;
  // A batch that was cut off may have left parts behind a gap: the chain is that of the others.
  const auto newest = std::find_if(order_.rbegin(), order_.rend(), [&](std::uint32_t segment) {
    const Life& life = lives_.at(segment);
    return life.stream == stream &&
           (!life.scan || std::ranges::any_of(life.scan->parts, [&](const auto& p) {
             return committed(p.header.sequence);
           }));
  });
  if (newest == order_.rend()) return true;
  std::uint32_t at = *newest;
  for (std::size_t steps = 0; steps <= order_.size(); ++steps) {
    const Life& life = lives_.at(at);
    if (cleared &&
        (life.first_batch < superblock_.dead_below_batch || life.previous_segment == kNoSegment)) {
      return true;
    }
    if (at == open && !reopened) return !cleared;
    const std::uint32_t previous = life.previous_segment;
    if (empty && previous == before) return true;
    if (!lives_.contains(previous) || lives_.at(previous).stream != stream) return false;
    if (lives_.at(previous).generation > life.generation) return false;
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
  // The newest of a stream is always scanned, it is where the stream goes on.
  for (auto segment = order_.rbegin(); segment != order_.rend(); ++segment) {
    Life& life = lives_.at(*segment);
    const bool trusted = life.trailer && mutated(Mutant::kFooterTrusted);
    if (!is_last(life) && (vouched_for(life) || trusted) && !rebuilding_) continue;
    if (auto scanned = scan(life); !scanned) return scanned;
  }
  judge_batches();
  return {};
}

void Recovery::note(std::uint64_t key_hash, std::uint64_t sequence, Location location,
                    EntryKind kind) {
  if (kind == EntryKind::withdrawn) return;
  noted_.push_back({.key_hash = key_hash,
                    .sequence = sequence,
                    .place = index_.layout().pack(static_cast<std::uint32_t>(kind), location)});
}

// They mostly are in order: a stream's lives follow each other, and so do the entries of each.
void Recovery::sort_noted() {
  const auto life_and_offset = [&](const Noted& noted) {
    const std::uint64_t offset = index_.layout().location(noted.place).offset;
    const std::uint64_t segment =
        (offset - superblock_.segments_offset) / superblock_.segment_bytes;
    return std::pair(lives_.at(static_cast<std::uint32_t>(segment)).generation, offset);
  };
  const auto before = [&](const Noted& a, const Noted& b) {
    if (a.sequence != b.sequence && !mutated(Mutant::kReplayUnordered)) {
      return a.sequence < b.sequence;
    }
    return life_and_offset(a) < life_and_offset(b);
  };
  if (!std::ranges::is_sorted(noted_, before)) std::ranges::sort(noted_, before);
}

Result<void> Recovery::apply(const Noted& noted) {
  ++out_.counts.entries;
  const SlotLayout& layout = index_.layout();
  if (static_cast<EntryKind>(layout.tag(noted.place)) == EntryKind::remove) {
    if (!mutated(Mutant::kRemovesNotReplayed)) index_.erase(noted.key_hash);
  } else if (auto put = index_.put(noted.key_hash, layout.location(noted.place)); !put) {
    return std::unexpected(put.error());
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
      if (!mutated(Mutant::kGivenUpBatchCounts)) given_up_.insert(passed->first);
    }
  }
  for (const auto& [sequence, batch] : batches_) {
    const bool whole = batch.whole_parts == batch.parts || mutated(Mutant::kCutOffBatchCounts);
    if (sequence <= stated_durable_ || !whole) continue;
    const std::uint64_t since = std::min<std::uint64_t>(batch.since_previous, sequence);
    const std::uint64_t previous = sequence - since;
    const bool follows = previous <= stated_durable_ || counted_.contains(previous) ||
                         mutated(Mutant::kBatchBehindAGapCounts);
    if (follows && !given_up_.contains(sequence)) counted_.insert(sequence);
  }
}

bool Recovery::committed(std::uint64_t batch) const {
  if (given_up_.contains(batch)) return false;
  return batch <= stated_durable_ || counted_.contains(batch);
}

Result<void> Recovery::replay() try {
  noted_.clear();
  if (auto gathered = gather(); !gathered) return gathered;
  sort_noted();
  for (std::size_t i = 0; i < noted_.size(); ++i) {
    if (i + kFetchedAhead < noted_.size()) index_.prefetch(noted_[i + kFetchedAhead].key_hash);
    if (auto applied = apply(noted_[i]); !applied) return applied;
  }
  noted_ = {};
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Error(Errc::out_of_memory, "replay"));
}

Result<void> Recovery::gather() {
  for (const std::uint32_t segment : order_) {
    Life& life = lives_.at(segment);
    const bool dead = life.last_batch < superblock_.dead_below_batch;
    if (dead && !mutated(Mutant::kClearedIsReplayed)) continue;
    if (!life.scan) {
      const auto records =
          read_footer_records(disk_, superblock_, segment, *life.trailer, out_.counts.read_bytes);
      if (records) {
        const auto border = checkpoint_border(life);
        if (!border) return std::unexpected(border.error());
        gather_footer(life, *records, *border);
        continue;
      }
      if (auto scanned = scan(life); !scanned) return scanned;
      judge_batches();
    }
    gather_scan(life);
  }
  return {};
}

// Only in a segment that was open then. Where there is one stream, replaying what the checkpoint
// contains changes nothing, because what was newer then is replayed after it; of two streams the
// newer entry may lie in a segment of the other one that was sealed before.
Result<Recovery::Border> Recovery::checkpoint_border(const Life& life) {
  constexpr auto kMain = static_cast<std::uint8_t>(Stream::main);
  const bool one_stream = std::ranges::none_of(
      out_.table, [](const SegmentRecord& record) { return record.stream == kMain; });
  if (life.reopened || one_stream) return Border();
  auto scanned = scan_segment(disk_, superblock_, life.segment);
  if (!scanned) return std::unexpected(scanned.error());
  out_.counts.payload_bytes += scanned->bytes_read;
  const std::uint64_t start = segment_offset(superblock_, life.segment);
  Border border{.contained_through = 0, .new_from = superblock_.segment_bytes};
  for (const ScannedPart& part : scanned->parts) {
    if (part.header.generation != life.generation) continue;
    if (part.header.sequence >= out_.replay_from) {
      border.new_from = part.offset - start;
      break;
    }
    border.contained_through = part.end(superblock_.block_bytes) - start;
  }
  return border;
}

void Recovery::gather_footer(const Life& life, const std::vector<FooterRecord>& records,
                             const Border& border) {
  ++out_.counts.segments_by_footer;
  out_.counts.batches += life.trailer->last_batch - life.trailer->first_batch + 1;
  const std::uint64_t start = segment_offset(superblock_, life.segment);
  for (const FooterRecord& record : records) {
    if (record.offset < border.contained_through) continue;
    // A header between them is unreadable.
    if (record.offset < border.new_from && record.sequence < checkpoint_sequence_) continue;
    note(record.key_hash, record.sequence, {start + record.offset, size_class(record.bytes)},
         record.kind);
  }
}

void Recovery::gather_scan(const Life& life) {
  const bool last = is_last(life);
  Recovered::Head& head = out_.heads[static_cast<std::size_t>(life.stream)];
  const std::uint64_t start = segment_offset(superblock_, life.segment);
  const std::uint64_t oldest = rebuilding_ ? newest_unbroken_batch() : 0;
  for (const ScannedPart& part : life.scan->parts) {
    if (!committed(part.header.sequence)) {
      out_.cut_off.push_back(part.offset);
      continue;
    }
    // A damaged part may hold a whole one, made to deceive: what follows lies behind both.
    if (last) {
      head.open_position = std::max(head.open_position, part.end(superblock_.block_bytes) - start);
    }
    const bool dead = part.header.sequence < superblock_.dead_below_batch;
    if (dead && !mutated(Mutant::kClearedIsReplayed)) continue;
    // The checkpoint knows better: an entry in it may have rotted since, and a batch that was cut
    // off before it stays so.
    const bool in_checkpoint = part.header.sequence < std::max(out_.replay_from, oldest) &&
                               !mutated(Mutant::kCheckpointReplayedAgain);
    if (!in_checkpoint) {
      ++out_.counts.batches;
      if (!part.complete) ++out_.counts.damaged_parts;
    }
    for (const ScannedEntry& entry : part.entries) {
      const bool counts = !in_checkpoint || index_.find(entry.key_hash) == entry.location ||
                          (entry.kind == EntryKind::remove && part.complete);
      if (!in_checkpoint) note(entry.key_hash, entry.sequence, entry.location, entry.kind);
      if (!last) continue;
      const std::uint64_t within = entry.location.offset - start;
      head.open_records.push_back({.key_hash = entry.key_hash,
                                   .sequence = entry.sequence,
                                   .offset = static_cast<std::uint32_t>(within),
                                   .bytes = entry.bytes,
                                   .kind = counts ? entry.kind : EntryKind::withdrawn});
    }
  }
}

std::optional<std::uint32_t> Recovery::last_of(Stream stream) const {
  const auto last = std::find_if(order_.rbegin(), order_.rend(), [&](std::uint32_t segment) {
    return lives_.at(segment).stream == stream;
  });
  if (last == order_.rend()) return std::nullopt;
  return *last;
}

// The checkpoint knows of a batch there that is not found. How far the segment has been written is
// not known then, and nothing may be written twice in one life of it: the lost batch, stale or
// gone astray, would pass for what lies in its place.
bool Recovery::has_lost_its_end(const Life& life) const {
  const std::uint64_t known = out_.table[life.segment].last_batch;
  const bool durable = known >= superblock_.dead_below_batch && known < out_.replay_from;
  if (life.reopened || !durable) return false;
  if (life.scan->parts.empty()) return true;
  const BatchHeader& last = life.scan->parts.back().header;
  if (last.sequence != known) return last.sequence < known;
  const Batch& batch = batches_.at(known);
  return last.part + 1 != last.parts && batch.whole_parts != batch.parts;
}

bool Recovery::has_footer_to_erase(const Life& life, bool goes_on) const {
  if (!life.trailer || mutated(Mutant::kCutOffFooterStays)) return false;
  return goes_on || !committed(life.trailer->last_batch);
}

// For a rebuild, which has no checkpoint to say what was superseded: the first batch of the newest
// run in which every part is whole and nothing is missing. Older ones say nothing: what superseded
// their entries may be among the missing.
std::uint64_t Recovery::newest_unbroken_batch() const {
  std::uint64_t first = 0;
  std::uint64_t expected = 0;
  for (const auto& [sequence, batch] : batches_) {
    if (given_up_.contains(sequence) ||
        (sequence > stated_durable_ && !counted_.contains(sequence)))
      continue;
    if (sequence != expected) first = sequence;
    expected = sequence + 1;
    if (batch.whole_parts != batch.parts) first = expected;
  }
  return first;
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
  for (std::uint32_t segment = 0; segment < superblock_.segments; ++segment) {
    if (!survey_[segment]) continue;
    out_.table[segment].generation = survey_[segment]->generation;
    note_header(*survey_[segment]);
    add_life(segment, *survey_[segment]);
    Life& life = lives_.at(segment);
    life.reopened = true;
    life.trailer = trailer_of(life);  // not to be believed, but perhaps to be erased
    order_.push_back(segment);
  }
  std::ranges::sort(order_, {}, [&](std::uint32_t s) { return lives_.at(s).generation; });
  if (auto scanned = scan_what_is_not_vouched_for(); !scanned) return scanned;
  return replay();
}

}  // namespace rawcache
