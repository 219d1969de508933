#include "cache/recovery.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/math.h"
#include "cache/checkpoint_io.h"
#include "cache/segment_scan.h"

namespace rawcache {
namespace {

/// An unclean stop may have used sequences that left no trace: at most those of the buffers in
/// memory.
constexpr std::uint64_t kBatchesSkipped = 64;
constexpr std::uint64_t kSequencesSkipped = std::uint64_t{1} << 32;
constexpr std::uint32_t kGenerationsSkipped = 64;

constexpr auto kFree = static_cast<std::uint8_t>(SegmentState::free);
constexpr auto kOpen = static_cast<std::uint8_t>(SegmentState::open);
constexpr auto kSealed = static_cast<std::uint8_t>(SegmentState::sealed);

/// A segment that has been written since the checkpoint.
struct Life {
  std::uint32_t segment = 0;
  std::uint32_t generation = 0;
  std::uint64_t first_batch = 0;
  std::uint64_t last_batch = 0;
  std::uint32_t previous_segment = kNoSegment;
  bool reopened = false;  ///< what the checkpoint knows of this segment is gone
  std::optional<FooterTrailer> trailer;
  std::optional<SegmentScan> scan;
};

class Recovery {
 public:
  Recovery(Disk& disk, const Superblock& superblock, Index& index)
      : disk_(disk), superblock_(superblock), index_(index) {}

  Result<Recovered> run(bool rebuild);

 private:
  bool from_checkpoint(int area, bool must_be_contiguous);
  bool load_table(CheckpointReader& reader);
  bool load_pages(CheckpointReader& reader);
  Result<void> from_log_alone();

  Result<void> find_lives();
  Result<void> add_suspect(std::uint32_t segment);
  void add_life(std::uint32_t segment, const BatchHeader& header);
  bool chain_reaches_checkpoint() const;
  Result<void> scan(Life& life);
  Result<void> scan_what_is_not_vouched_for();
  Result<void> replay();
  void replay_footer(const Life& life, const std::vector<FooterRecord>& records);
  void replay_scan(const Life& life);
  bool committed(const ScannedPart& part) const;
  bool follows(const ScannedPart& part);
  Result<void> apply(std::uint64_t key_hash, Location location, EntryKind kind);
  void finish();
  void note_header(const BatchHeader& header);
  Life* last_life() { return order_.empty() ? nullptr : &lives_.at(order_.back()); }
  bool vouched_for(const Life& life) const {
    return life.trailer && life.trailer->last_batch <= stated_durable_;
  }

  Disk& disk_;
  const Superblock& superblock_;
  Index& index_;
  Recovered out_;
  std::vector<std::optional<BatchHeader>> survey_;
  std::map<std::uint32_t, Life> lives_;
  std::vector<std::uint32_t> order_;  ///< segments of lives_, oldest first
  std::set<std::uint32_t> suspects_seen_;
  std::uint64_t stated_durable_ = 0;
  /// Parts found whole, by batch: a batch of several parts is committed when it has all of them.
  std::map<std::uint64_t, std::uint32_t> whole_parts_;
  std::optional<Error> failure_;
  std::uint32_t checkpoint_open_ = kNoSegment;
  std::uint32_t checkpoint_previous_ = kNoSegment;
  bool rebuilding_ = false;
  BatchHeader last_part_{};  ///< of a rebuild
};

Result<Recovered> Recovery::run(bool rebuild) {
  Survey survey = survey_segments(disk_, superblock_);
  survey_ = std::move(survey.headers);
  out_.counts.unreadable = survey.unreadable;
  std::optional<CheckpointHeader> headers[2];
  for (int area = 0; area < 2; ++area) {
    if (auto reader = CheckpointReader::open(disk_, superblock_, area))
      headers[area] = reader->header();
  }
  const auto generation = [&](int area) { return headers[area] ? headers[area]->generation : 0; };
  const int newer = generation(1) > generation(0) ? 1 : 0;
  // The older one, or one beside an area that cannot be read, may have been superseded: segments
  // may have been reused since. Then it counts only if the log is unbroken from it to the end.
  for (const int area : {newer, 1 - newer}) {
    if (!headers[area]) continue;
    const bool surely_newest = area == newer && headers[1 - area].has_value();
    if (from_checkpoint(area, !surely_newest)) {
      finish();
      return std::move(out_);
    }
    if (failure_) return std::unexpected(*failure_);
  }
  if (!rebuild) {
    return std::unexpected(Error(Errc::checkpoint_lost, "neither checkpoint can be used"));
  }
  if (auto done = from_log_alone(); !done) return std::unexpected(done.error());
  out_.checkpoint_generation = std::max(generation(0), generation(1));
  finish();
  return std::move(out_);
}

// --- Checkpoint ---

bool Recovery::from_checkpoint(int area, bool must_be_contiguous) {
  index_.clear();
  lives_.clear();
  order_.clear();
  suspects_seen_.clear();
  whole_parts_.clear();
  const RecoveryCounts counts = out_.counts;
  out_ = {};
  out_.counts = counts;

  auto reader = CheckpointReader::open(disk_, superblock_, area);
  if (!reader || !load_table(*reader)) return false;
  const CheckpointHeader& header = reader->header();
  out_.replay_from = header.replay_from;
  out_.checkpoint_generation = header.generation;
  out_.checkpoint_area = area;
  out_.checkpoint_entries = header.entries;
  out_.next_batch = std::max(header.next_batch, superblock_.dead_below_batch);
  out_.next_sequence = std::max(header.next_sequence, superblock_.dead_below_sequence);
  out_.time_high = std::max(header.time_high, superblock_.time_high);
  checkpoint_open_ = header.open_segment;
  checkpoint_previous_ = header.previous_segment;
  out_.clean = header.closed == 1;
  // The batch that was open at the barrier was durable too before the checkpoint became valid.
  stated_durable_ = header.next_batch == 0 ? 0 : header.next_batch - 1;

  const auto step = [&](Result<void> result) {
    if (!result) failure_ = result.error();
    return result.has_value();
  };
  if (!step(find_lives()) || !step(scan_what_is_not_vouched_for())) return false;
  if (must_be_contiguous && !chain_reaches_checkpoint()) return false;
  if (!load_pages(*reader)) return false;
  out_.counts.read_bytes += reader->bytes_read();
  return step(replay());
}

bool Recovery::load_table(CheckpointReader& reader) {
  out_.table.resize(superblock_.segments);
  if (!reader.read(std::as_writable_bytes(std::span(out_.table)))) return false;
  for (const SegmentRecord& record : out_.table) {
    if (record.state > kSealed) return false;
  }
  const std::uint32_t open = reader.header().open_segment;
  return open == kNoSegment || (open < superblock_.segments && out_.table[open].state == kOpen);
}

bool Recovery::load_pages(CheckpointReader& reader) {
  // A checkpoint from before the last clear says nothing about entries.
  const bool dead = out_.replay_from < superblock_.dead_below_batch;
  const std::uint64_t begin = superblock_.segments_offset;
  const std::uint64_t end = segment_offset(superblock_, superblock_.segments);
  std::uint64_t entries = 0;
  std::vector<std::uint64_t> slots;
  for (std::uint32_t page = 0; page < index_.pages(); ++page) {
    std::uint16_t count = 0;
    if (!reader.read(std::as_writable_bytes(std::span(&count, 1)))) return false;
    entries += count;
    if (entries > superblock_.entries_max) return false;
    slots.resize(count);
    if (!reader.read(std::as_writable_bytes(std::span(slots)))) return false;
    if (dead) continue;
    std::erase_if(slots, [&](std::uint64_t slot) {
      const std::uint64_t offset = index_.layout().location(slot).offset;
      if (offset < begin || offset >= end) return true;
      const auto segment = static_cast<std::uint32_t>((offset - begin) / superblock_.segment_bytes);
      const auto life = lives_.find(segment);
      if (life != lives_.end()) return life->second.reopened;  // replay puts them back
      return out_.table[segment].state == kFree;
    });
    if (auto loaded = index_.load_page(page, slots); !loaded) {
      failure_ = loaded.error();
      return false;
    }
  }
  return reader.complete();
}

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
    if (part.complete) ++whole_parts_[part.header.sequence];
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

bool Recovery::committed(const ScannedPart& part) const {
  if (part.header.sequence <= stated_durable_) return true;
  const auto whole = whole_parts_.find(part.header.sequence);
  return whole != whole_parts_.end() && whole->second == part.header.parts;
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
    if (!committed(part)) continue;
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
  const bool next_batch = part.header.sequence == last_part_.sequence + 1 &&
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
  whole_parts_.clear();
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

// --- The state to go on with ---

void Recovery::finish() {
  for (const std::uint32_t segment : order_) {
    const Life& life = lives_.at(segment);
    SegmentRecord& record = out_.table[segment];
    record.generation = life.generation;
    record.first_batch = life.first_batch;
    record.last_batch = life.last_batch;
    record.state = segment == order_.back() ? kOpen : kSealed;
  }
  for (SegmentRecord& record : out_.table) {
    if (record.state != kSealed || record.last_batch >= superblock_.dead_below_batch) continue;
    record.state = kFree;
    record.first_batch = record.last_batch = 0;
  }
  if (Life* last = last_life()) {
    out_.open_segment = last->segment;
    out_.previous_segment = last->previous_segment;
  } else {
    out_.previous_segment = checkpoint_previous_;
  }
  out_.durable_through = out_.next_batch == 0 ? 0 : out_.next_batch - 1;
  for (const SegmentRecord& record : out_.table) {
    out_.next_generation = std::max(out_.next_generation, record.generation + 1);
  }
  for (const auto& header : survey_) {
    if (header) out_.next_generation = std::max(out_.next_generation, header->generation + 1);
  }
  if (!out_.clean) {
    out_.next_batch += kBatchesSkipped;
    out_.next_generation += kGenerationsSkipped;
    out_.next_sequence += kSequencesSkipped;
  }
  out_.counts.read_bytes +=
      out_.counts.payload_bytes + std::uint64_t{superblock_.segments} * disk_.info().io_alignment;
}

}  // namespace

Result<Recovered> recover(Disk& disk, const Superblock& superblock, Index& index, bool rebuild) {
  return Recovery(disk, superblock, index).run(rebuild);
}

}  // namespace rawcache
