#include "cache/recovery.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/mutant.h"
#include "cache/checkpoint_io.h"
#include "cache/replay.h"
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

}  // namespace

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
  const bool second = generation(1) > generation(0);
  const int newer = second != mutated(Mutant::kOlderCheckpointChosen) ? 1 : 0;
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
  batches_.clear();
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
  checkpoint_sequence_ = header.next_sequence;
  out_.time_high = std::max(header.time_high, superblock_.time_high);
  std::ranges::copy(header.open_segment, checkpoint_open_.begin());
  std::ranges::copy(header.previous_segment, checkpoint_previous_.begin());
  out_.clean = header.closed == 1 && header.generation != superblock_.opened_checkpoint;
  // The batch that was open at the barrier was durable too before the checkpoint became valid.
  stated_durable_ = header.next_batch == 0 ? 0 : header.next_batch - 1;

  const auto step = [&](Result<void> result) {
    if (!result) failure_ = result.error();
    return result.has_value();
  };
  if (!step(find_lives()) || !step(scan_what_is_not_vouched_for())) return false;
  if (must_be_contiguous && !chain_reaches_checkpoint() && !mutated(Mutant::kBrokenLogAccepted)) {
    return false;
  }
  if (!load_pages(*reader)) return false;
  out_.counts.read_bytes += reader->bytes_read();
  return step(replay());
}

bool Recovery::load_table(CheckpointReader& reader) {
  out_.table.resize(superblock_.segments);
  if (!reader.read(std::as_writable_bytes(std::span(out_.table)))) return false;
  for (const SegmentRecord& record : out_.table) {
    if (record.state > kSealed || record.stream >= kStreams || record.label >= kStreams) {
      return false;
    }
  }
  return std::ranges::all_of(reader.header().open_segment, [&](std::uint32_t open) {
    return open == kNoSegment || (open < superblock_.segments && out_.table[open].state == kOpen);
  });
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
      if (mutated(Mutant::kReusedSlotsKept)) return false;
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

// --- The state to go on with ---

void Recovery::finish() {
  std::uint64_t queue_end = 0;
  for (const SegmentRecord& record : out_.table) {
    queue_end = std::max(queue_end, record.queue_position);
  }
  for (const std::uint32_t segment : order_) {
    const Life& life = lives_.at(segment);
    SegmentRecord& record = out_.table[segment];
    record.state = is_last(life) && !has_lost_its_end(life) ? kOpen : kSealed;
    record.generation = life.generation;
    record.first_batch = life.first_batch;
    record.last_batch = life.last_batch;
    if (has_footer_to_erase(life, record.state == kOpen)) {
      out_.cut_off.push_back(segment_offset(superblock_, segment) + superblock_.segment_bytes -
                             superblock_.block_bytes);
    }
    if (!life.reopened) continue;
    record.stream = record.label = static_cast<std::uint8_t>(life.stream);
    record.queue_position = ++queue_end;
  }
  for (SegmentRecord& record : out_.table) {
    if (record.state != kSealed || record.last_batch >= superblock_.dead_below_batch) continue;
    record.state = kFree;
    record.first_batch = record.last_batch = 0;
  }
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    Recovered::Head& head = out_.heads[stream];
    const auto last = last_of(static_cast<Stream>(stream));
    if (last && out_.table[*last].state != kOpen) {
      head.previous_segment = *last;
      continue;
    }
    head.open_segment = last.value_or(kNoSegment);
    head.previous_segment = last ? lives_.at(*last).previous_segment : checkpoint_previous_[stream];
  }
  out_.durable_through = out_.next_batch == 0 ? 0 : out_.next_batch - 1;
  for (const SegmentRecord& record : out_.table) {
    out_.next_generation = std::max(out_.next_generation, record.generation + 1);
  }
  for (const auto& header : survey_) {
    if (header) out_.next_generation = std::max(out_.next_generation, header->generation + 1);
  }
  if (!out_.clean && !mutated(Mutant::kNumbersUsedAgain)) {
    out_.next_batch += kBatchesSkipped;
    out_.next_generation += kGenerationsSkipped;
    out_.next_sequence += kSequencesSkipped;
  }
  out_.counts.read_bytes +=
      out_.counts.payload_bytes + std::uint64_t{superblock_.segments} * disk_.info().io_alignment;
}

Result<Recovered> recover(Disk& disk, const Superblock& superblock, Index& index, bool rebuild) {
  return Recovery(disk, superblock, index).run(rebuild);
}

}  // namespace rawcache
