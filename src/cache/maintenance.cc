// Spare segments, checkpoint, clear: what keeps the log going. All of it under checkpoint_mutex_.
#include <algorithm>
#include <new>
#include <utility>

#include "base/mutant.h"
#include "cache/cache_impl.h"
#include "cache/checkpoint_io.h"
#include "cache/segment_scan.h"

namespace rawcache {
namespace {

/// The log grows by this many times a checkpoint's size before the next: checkpoints cost 1/128 of
/// the writes at most, as long as the shares below allow.
constexpr std::uint64_t kLogPerCheckpointByte = 128;
constexpr std::uint64_t kReplayShareMin = 16;  ///< at least 1/16 of the capacity between two
constexpr std::uint64_t kReplayShareMax = 2;   ///< at most 1/2, which bounds the replay

/// A checkpoint is given up when something was withdrawn while it was taken. That often in a row,
/// and the call that needed it fails.
constexpr int kCheckpointAttemptsMax = 4;

/// A flush in the background that fails is tried again after the interval, twice the interval and
/// so on, but at least this often.
constexpr std::uint64_t kRetryPauseMaxNs = 10'000'000'000;
constexpr std::uint32_t kRetryDoublingsMax = 20;

}  // namespace

// --- Segments to go on in ---

Result<void> RawDiskCache::Impl::make_segment_usable(std::uint64_t wanted) {
  MutexLock lock(checkpoint_mutex_);
  for (;;) {
    if (auto made = make_spares(wanted); !made) return made;
    {
      MutexLock log_lock(log_mutex_);
      if (writer_->usable_free_count(replay_from_.load(std::memory_order_relaxed)) >= wanted) {
        return {};
      }
    }
    // What was copied from them is not durable yet.
    if (auto flushed = flush_writes(); !flushed) return std::unexpected(flushed.error());
  }
}

Result<void> RawDiskCache::Impl::make_spares(std::uint64_t wanted) {
  int checkpoints = 0;
  for (;;) {
    std::uint64_t usable = 0;
    std::uint64_t free = 0;
    {
      MutexLock log_lock(log_mutex_);
      usable = log_->usable_after_flush(replay_from_.load(std::memory_order_relaxed));
      free = log_->free_count();
    }
    if (usable >= wanted) return {};
    if (free >= wanted) {
      // Free, but a checkpoint that still points into them is the newest durable one.
      if (++checkpoints > kCheckpointAttemptsMax) {
        return std::unexpected(
            Error(Errc::io_error, "stores keep failing while a checkpoint is taken"));
      }
      if (auto taken = take_checkpoint(false); !taken) return std::unexpected(taken.error());
      continue;
    }
    auto reclaimed = reclaim_one();
    if (!reclaimed) return std::unexpected(reclaimed.error());
    if (!*reclaimed) {
      return std::unexpected(Error(Errc::no_space, "no segment can be freed"));
    }
  }
}

Result<void> RawDiskCache::Impl::make_index_room() {
  MutexLock lock(checkpoint_mutex_);
  while (index_->full()) {
    auto reclaimed = reclaim_oldest(counters_.evicted_index_full);
    if (!reclaimed) return std::unexpected(reclaimed.error());
    if (*reclaimed) continue;
    // Everything lies in the open segment: seal it, so that it can be the next victim.
    if (auto left = leave_open_segment(); !left) return left;
  }
  return {};
}

Result<void> RawDiskCache::Impl::leave_open_segment() {
  if (auto flushed = flush_writes(); !flushed) return std::unexpected(flushed.error());
  for (int attempt = 0; attempt < kCheckpointAttemptsMax; ++attempt) {
    {
      MutexLock lock(log_mutex_);
      // Whichever holds anything; the small stream's, if both do.
      log_->select(Stream::small);
      const Stream stream = log_->has_open() ? Stream::small : Stream::main;
      if (writer_->leave_segment(replay_from_.load(std::memory_order_relaxed), stream)) return {};
    }
    // The others are free, but a checkpoint that still points into them is the newest durable one.
    if (auto taken = take_checkpoint(false); !taken) return std::unexpected(taken.error());
  }
  return std::unexpected(
      Error(Errc::no_space, "the index is full; format with more expected_entries"));
}

// --- Checkpoint ---

struct RawDiskCache::Impl::Barrier {
  CheckpointHeader header{};
  std::vector<SegmentRecord> table;
  std::uint64_t disturbances = 0;
  std::uint64_t appended = 0;
  std::uint64_t sequence = 0;
};

bool RawDiskCache::Impl::checkpoint_due() const {
  if (checkpoint_wanted_.load(std::memory_order_relaxed)) return true;
  // Replay sorts as many entries as the index has room for: three times its memory.
  if (sequence_.load(std::memory_order_relaxed) -
          sequence_at_checkpoint_.load(std::memory_order_relaxed) >=
      index_->entries_max()) {
    return true;
  }
  const std::uint64_t log_bytes = std::uint64_t{superblock_.segments} * superblock_.segment_bytes;
  const std::uint64_t appended = appended_.load(std::memory_order_relaxed) -
                                 appended_at_checkpoint_.load(std::memory_order_relaxed);
  if (appended * kReplayShareMin < log_bytes) return false;
  const std::uint64_t share_max = policy_->checkpoint_share();
  const std::uint64_t size =
      checkpoint_stream_bytes_max(superblock_.segments, index_->pages(), index_->entries());
  return appended >=
         std::min(kLogPerCheckpointByte * size, log_bytes / (kReplayShareMax * share_max));
}

// Everything called before it is in batches before header.replay_from, which need not be durable
// yet, and every batch from there on holds later calls only.
Result<RawDiskCache::Impl::Barrier> RawDiskCache::Impl::raise_barrier() {
  Barrier barrier;
  {
    const FlushTurn turn(turns_);
    auto flushed = flush_in_turn(turn, Wait::for_a_buffer);
    if (!flushed) return std::unexpected(flushed.error());
    if (superblock_alone_) {
      (void)complete_in_turn(turn, Wait::for_everything);
      write_other_superblock();
    }
    MutexLock lock(log_mutex_);
    barrier.header.segments = log_->segments();
    barrier.header.replay_from =
        writer_->first_unsealed_batch() + (mutated(Mutant::kReplayBeginsTooLate) ? 1 : 0);
    barrier.header.next_batch = writer_->next_batch();
    barrier.header.next_sequence = writer_->next_sequence();
    for (const Stream stream : {Stream::main, Stream::small}) {
      log_->select(stream);
      barrier.header.open_segment[static_cast<std::size_t>(stream)] = log_->open_segment();
      barrier.header.previous_segment[static_cast<std::size_t>(stream)] = log_->previous_segment();
    }
    barrier.table = log_->table();
    barrier.disturbances = writer_->disturbances();
    barrier.appended = log_->appended_bytes();
    barrier.sequence = writer_->next_sequence();
    appended_.store(barrier.appended, std::memory_order_relaxed);
    sequence_.store(barrier.sequence, std::memory_order_relaxed);
  }
  barrier.header.time_high = static_cast<std::uint64_t>(now());
  return barrier;
}

Result<std::uint64_t> RawDiskCache::Impl::write_snapshot(CheckpointWriter& writer,
                                                         const Barrier& barrier) const {
  if (auto table = writer.append(std::as_bytes(std::span(barrier.table))); !table) {
    return std::unexpected(table.error());
  }
  std::uint64_t entries = 0;
  std::vector<std::uint64_t> slots;
  for (std::uint32_t page = 0; page < index_->pages(); ++page) {
    slots.clear();
    index_->copy_page(page, slots);
    const auto count = static_cast<std::uint16_t>(slots.size());
    if (auto done = writer.append(std::as_bytes(std::span(&count, 1))); !done) {
      return std::unexpected(done.error());
    }
    if (auto done = writer.append(std::as_bytes(std::span(slots))); !done) {
      return std::unexpected(done.error());
    }
    entries += slots.size();
  }
  return entries;
}

Result<bool> RawDiskCache::Impl::take_checkpoint(bool closing) {
  auto barrier = raise_barrier();
  if (!barrier) return std::unexpected(barrier.error());
  const bool same = mutated(Mutant::kNewestCheckpointOverwritten);
  const int area = same ? checkpoint_area_ : 1 - checkpoint_area_;
  auto writer = CheckpointWriter::create(*disk_, superblock_, area, checkpoint_generation_ + 1);
  if (!writer) return std::unexpected(writer.error());

  const auto attempt = [&]() -> Result<bool> {
    auto entries = write_snapshot(*writer, *barrier);
    if (!entries) return std::unexpected(entries.error());
    if (closing) {
      if (auto hints = write_hints(*writer); !hints) return std::unexpected(hints.error());
    }
    // The stream and what the snapshot points to must be durable before the checkpoint is valid.
    if (mutated(Mutant::kChunksNotSynced)) (void)sync_with_flushes();
    if (auto finished = writer->finish(); !finished) return std::unexpected(finished.error());
    if (mutated(Mutant::kCheckpointBeforeItsData)) {
      (void)disk_->sync();
    } else if (!mutated(Mutant::kChunksNotSynced)) {
      if (auto synced = sync_with_flushes(); !synced) return std::unexpected(synced.error());
    }
    if (is_disturbed(*barrier)) return false;
    barrier->header.entries = *entries;
    barrier->header.closed = closing ? 1 : 0;
    if (auto done = writer->commit(barrier->header); !done) return std::unexpected(done.error());
    if (!mutated(Mutant::kCheckpointNotSynced)) {
      if (auto synced = sync_with_flushes(); !synced) return std::unexpected(synced.error());
    }
    return !is_disturbed(*barrier);
  };
  auto taken = attempt();
  if (!taken) counters_.checkpoint_failures.add();
  if (!taken || !*taken) return taken;
  counters_.checkpoints.add();
  checkpoint_area_ = area;
  ++checkpoint_generation_;
  checkpoint_wanted_.store(false, std::memory_order_relaxed);
  replay_from_.store(barrier->header.replay_from, std::memory_order_relaxed);
  appended_at_checkpoint_.store(barrier->appended, std::memory_order_relaxed);
  sequence_at_checkpoint_.store(barrier->sequence, std::memory_order_relaxed);
  if (departed_) {
    MutexLock lock(log_mutex_);
    departed_->checkpoint_taken();
  }
  return true;
}

bool RawDiskCache::Impl::is_disturbed(const Barrier& barrier) {
  MutexLock lock(log_mutex_);
  return writer_->disturbances() != barrier.disturbances && !mutated(Mutant::kDisturbanceIgnored);
}

// A failed sync is told once, to whoever has asked, and what had been written before it may be gone
// whoever wrote that. So nobody syncs beside the flushes: a flush that fails is a disturbance, by
// which a checkpoint is given up. Any buffer that is sealed from here on is synced after this
// moment; only where none is the device is asked for a sync of its own.
Result<void> RawDiskCache::Impl::sync_with_flushes() {
  const std::uint64_t seals = io_->seals();
  {
    const FlushTurn turn(turns_);
    if (auto flushed = flush_in_turn(turn, Wait::for_a_buffer); !flushed) {
      return std::unexpected(flushed.error());
    }
    if (io_->seals() == seals) {
      if (auto completed = complete_in_turn(turn, Wait::for_everything); !completed) {
        return std::unexpected(completed.error());
      }
      auto synced = disk_->sync();
      if (!synced) fail_in_turn(turn, synced.error());
      return synced;
    }
  }
  return complete_sealed();
}

Result<void> RawDiskCache::Impl::maintain() try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (auto cleared = clear_if_due(); !cleared) return cleared;
  if (auto flushed = flush_if_late(); !flushed) return flushed;
  if (io_->has_sealed()) {
    if (auto completed = complete_sealed(); !completed) {
      background_failed_.store(true);
      return completed;
    }
  }
  if (checkpoint_due()) {
    MutexLock lock(checkpoint_mutex_);
    // Another call may have taken it while this one waited.
    if (checkpoint_due()) {
      if (auto taken = take_checkpoint(false); !taken) return std::unexpected(taken.error());
    }
  }
  if (segments_wanted_.load(std::memory_order_relaxed)) {
    MutexLock lock(checkpoint_mutex_);
    if (auto made = make_spares(spare_segments_); !made) return made;
    segments_wanted_.store(false, std::memory_order_relaxed);
  }
  if (compressor_.wants_dictionary()) {
    (void)train_dictionary();  // if they have too little in common: perhaps more of them have more
    compressor_.note_training();
  }
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

// --- Clear ---

Result<void> RawDiskCache::Impl::clear() try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  MutexLock lock(checkpoint_mutex_);
  return clear_locked();
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<void> RawDiskCache::Impl::clear_locked() {
  const FlushTurn turn(turns_);
  // Nothing may be under way to segments that are about to be free. How it ends does not matter.
  if (auto settled = settle_superblock(); !settled) return settled;
  (void)complete_in_turn(turn, Wait::for_everything);
  // From here until it is known how the write ended nothing may become durable.
  superblock_uncertain_ = true;
  MutexLock log_lock(log_mutex_);
  Superblock cleared = written_.superblock;
  // One number is left out, so that no checkpoint from before the clear looks like one from after.
  cleared.dead_below_batch = writer_->next_batch() + 1;
  cleared.dead_below_sequence = writer_->next_sequence();
  cleared.time_high = static_cast<std::uint64_t>(now());
  cleared.clear_at = 0;
  auto written = replace_superblock(*disk_, written_, cleared);
  if (!written) return std::unexpected(written.error());
  superblock_uncertain_ = false;
  written_ = *written;
  clear_at_.store(0, std::memory_order_relaxed);
  turns_.note_all_end();
  io_->discard();
  writer_->discard();
  log_->clear();
  index_->clear();
  if (!mutated(Mutant::kClearForgetsLoads)) watch_.all_written();
  if (ghost_) ghost_->clear();
  if (memory_) memory_->clear();
  if (waiting_) waiting_->clear();
  if (departed_) departed_->clear();
  if (!mutated(Mutant::kClearInOneCopy)) write_other_superblock();
  return {};
}

// Superblocks are written while nothing else is under way: a failed sync is told once.

// So that what is noted outlives the loss of one copy. It is durable without: a failure is made
// good with the next checkpoint, which is wanted soon and knows of a clear by itself.
void RawDiskCache::Impl::write_other_superblock() {
  auto both = replace_superblock(*disk_, written_, written_.superblock);
  superblock_alone_ = !both;
  if (both) {
    written_ = *both;
  } else {
    checkpoint_wanted_.store(true, std::memory_order_relaxed);
  }
}

// A clear that failed may have reached the device, and would take with it, after a crash, what has
// been stored since.
Result<void> RawDiskCache::Impl::settle_superblock() {
  if (!superblock_uncertain_ || mutated(Mutant::kFailedClearNotSettled)) return {};
  io_->halt();
  LoadedSuperblock uncertain = written_;
  ++uncertain.superblock.write_generation;
  auto written = replace_superblock(*disk_, uncertain, written_.superblock);
  if (!written) return std::unexpected(written.error());
  written_ = *written;
  superblock_uncertain_ = false;
  return {};
}

// --- The maintenance thread ---

void RawDiskCache::Impl::wake_maintenance() {
  if (!maintenance_.joinable()) {
    (void)maintain();  // a failure is counted; what cannot wait fails in the call that needs it
    return;
  }
  MutexLock lock(maintenance_mutex_);
  if (maintenance_due_) return;
  maintenance_due_ = true;
  maintenance_wanted_.notify_one();
}

void RawDiskCache::Impl::run_maintenance() {
  for (;;) {
    // Set before looking, so that a store that comes too late for this look wakes the thread.
    timer_set_.store(false);
    const auto pause = until_late_ns();
    if (pause) timer_set_.store(true);
    {
      MutexLock lock(maintenance_mutex_);
      if (!maintenance_due_ && !maintenance_stop_) {
        if (!pause) {
          maintenance_wanted_.wait(maintenance_mutex_);
        } else if (*pause > 0) {
          maintenance_wanted_.wait_for(maintenance_mutex_, std::chrono::nanoseconds(*pause));
        }
      }
      if (maintenance_stop_) return;
      const bool late = pause && until_late_ns() == 0;
      if (!std::exchange(maintenance_due_, false) && !late) continue;
    }
    (void)maintain();
  }
}

// --- Periodic flushes ---

std::uint64_t RawDiskCache::Impl::monotonic() const {
  return options_.monotonic_now ? options_.monotonic_now() : monotonic_ns();
}

void RawDiskCache::Impl::note_buffered() {
  if (options_.flush_interval.count() == 0) return;
  if (filling_since_ns_.load(std::memory_order_relaxed) == 0) {
    filling_since_ns_.store(std::max<std::uint64_t>(monotonic(), 1));
  }
}

void RawDiskCache::Impl::note_sealed() {
  const std::uint64_t filling = filling_since_ns_.exchange(0);
  if (sealed_since_ns_.load(std::memory_order_relaxed) == 0) sealed_since_ns_.store(filling);
}

// While something is left it counts as old as the oldest was.
void RawDiskCache::Impl::note_durable() {
  if (!writer_->has_sealed()) sealed_since_ns_.store(0);
}

std::optional<std::uint64_t> RawDiskCache::Impl::until_late_ns() const {
  const std::uint64_t sealed = sealed_since_ns_.load();
  const std::uint64_t since = sealed != 0 ? sealed : filling_since_ns_.load();
  if (since == 0) return std::nullopt;
  const auto interval = std::chrono::nanoseconds(options_.flush_interval).count();
  const std::uint64_t due =
      std::max(since + static_cast<std::uint64_t>(interval), retry_flush_ns_.load());
  const std::uint64_t now = monotonic();
  return due > now ? due - now : 0;
}

// Whoever has flushed: the device works, and the next entry must not wait for a retry's pause. What
// failed and was not told yet is durable now.
void RawDiskCache::Impl::forget_background_failures() {
  if (background_failed_.load(std::memory_order_relaxed)) background_failed_.store(false);
  if (background_failures_.load(std::memory_order_relaxed) == 0) return;
  background_failures_.store(0);
  retry_flush_ns_.store(0);
}

Result<void> RawDiskCache::Impl::flush_if_late() {
  if (options_.flush_interval.count() == 0 || until_late_ns() != 0) return {};
  const auto flushed = flush_writes();
  if (flushed) return {};
  counters_.background_flush_failures.add();
  background_failed_.store(true);
  const auto interval =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(options_.flush_interval).count());
  const std::uint32_t doublings = std::min(background_failures_.fetch_add(1), kRetryDoublingsMax);
  retry_flush_ns_.store(monotonic() + std::min(interval << doublings, kRetryPauseMaxNs));
  return std::unexpected(flushed.error());
}

}  // namespace rawcache
