// flush_writes, and the flushes that fill buffers ask for: seal -> write -> sync -> tell. One
// thread at a time has the turn.
#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <new>
#include <thread>

#include "base/mutant.h"
#include "cache/cache_impl.h"

namespace rawcache {
namespace {

/// Between two looks at what is under way, so that those who store have the turn.
constexpr std::chrono::microseconds kPatientPause{500};

/// Adaptive batches are not flushed below this many bytes.
constexpr std::uint64_t kAdaptiveBatchMin = std::uint64_t{256} << 10;

}  // namespace

Result<void> RawDiskCache::Impl::make_buffer_room() {
  const std::uint64_t seals = io_->seals();
  const FlushTurn turn(turns_);
  if (io_->seals() != seals) return {};  // whoever had the turn before has done it
  const auto flushed = flush_in_turn(turn, Wait::for_a_buffer);
  if (flushed) return {};
  return std::unexpected(
      Error(Errc::buffer_full, flushed.error().message(), flushed.error().os_error()));
}

Result<void> RawDiskCache::Impl::wait_until_durable(DirectWrite& direct) {
  if (turns_.leads(direct)) {
    while (const FlushTurn turn{turns_, direct}) {
      (void)flush_in_turn(turn, Wait::for_everything);  // how it went for this write is in `direct`
    }
  }
  if (direct.state.load(std::memory_order_acquire) == DirectWrite::State::durable) return {};
  feed_relocation();
  return std::unexpected(std::move(direct.error));
}

Result<std::uint64_t> RawDiskCache::Impl::flush_writes() try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  Result<std::uint64_t> flushed;
  {
    const FlushTurn turn(turns_);
    flushed = flush_in_turn(turn, Wait::for_everything);
  }
  if (!flushed) feed_relocation();
  return flushed;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

// A batch could not be placed elsewhere because no segment was free. Reclaiming the oldest needs
// neither a flush nor a checkpoint if its entries are older than the durable one, but not the turn
// either. Without memory for it the next failure tries again.
void RawDiskCache::Impl::feed_relocation() try {
  const std::uint64_t wanted = segments_missing_.load(std::memory_order_relaxed);
  if (wanted == 0) return;
  MutexLock lock(checkpoint_mutex_);
  for (std::uint64_t tries = 0; tries < wanted; ++tries) {
    {
      MutexLock log_lock(log_mutex_);
      const std::uint64_t replay_from = replay_from_.load(std::memory_order_relaxed);
      if (writer_->usable_free_count(replay_from) >= wanted) return;
      const auto oldest = oldest_segment();
      if (!oldest || log_->table()[*oldest].last_batch >= replay_from) return;
    }
    if (const auto reclaimed = reclaim_oldest(counters_.evicted); !reclaimed || !*reclaimed) return;
  }
} catch (const std::bad_alloc&) {
}

/// Nothing that is under way may be changed, so that is waited for.
void RawDiskCache::Impl::fail_in_turn(const FlushTurn&, const Error& error) {
  io_->halt();
  counters_.flush_failures.add();
  MutexLock lock(log_mutex_);
  fail_direct_writes(error);
}

// An update may have seen what is withdrawn, and must look again; and a crash may bring it back.
void RawDiskCache::Impl::fail_direct_writes(const Error& error) {
  if (Departed* const departed = departed_.get()) {
    writer_->for_each_direct([=](const DirectWrite& write) { departed->add(write.key_hash); });
  }
  const std::uint64_t before = writer_->withdrawn();
  turns_.note_all_end();
  writer_->fail(error);
  if (writer_->withdrawn() != before) watch_.all_written();
}

// A lack of memory is a failure like those of the device: what waits is told of it, and everything
// stays buffered.
Result<std::uint64_t> RawDiskCache::Impl::flush_in_turn(const FlushTurn& turn, Wait wait) try {
  if (auto settled = settle_superblock(); !settled) {
    fail_in_turn(turn, settled.error());
    return std::unexpected(settled.error());
  }
  auto operations = complete_in_turn(turn, Wait::for_a_buffer);
  if (!operations) return operations;
  Result<void> sealed;
  {
    MutexLock lock(log_mutex_);
    sealed = writer_->seal(now());
    if (sealed) note_sealed();
  }
  if (!sealed) {
    fail_in_turn(turn, sealed.error());
    return std::unexpected(sealed.error());
  }
  if (auto submitted = io_->submit(); !submitted || wait == Wait::for_everything) {
    auto completed = complete_in_turn(turn, Wait::for_everything);
    if (!completed) return completed;
    *operations += *completed;
  }
  return operations;
} catch (const std::bad_alloc&) {
  fail_in_turn(turn, Errc::out_of_memory);
  return std::unexpected(Errc::out_of_memory);
}

Result<std::uint64_t> RawDiskCache::Impl::complete_in_turn(const FlushTurn& turn, Wait wait) try {
  const std::uint64_t start = monotonic_ns();
  Completed completed = wait == Wait::for_everything ? io_->complete()
                        : wait == Wait::for_a_buffer ? io_->make_room()
                                                     : io_->progress();
  note_durable(completed, start);
  if (completed.outcome) return completed.operations;

  fail_in_turn(turn, completed.outcome.error());
  if (completed.outcome.error() == Errc::out_of_memory) {
    return std::unexpected(Errc::out_of_memory);
  }
  ++failures_in_a_row_;
  // The same place has failed twice (four, eight ... times): try another one.
  const bool again = std::has_single_bit(failures_in_a_row_) ||
                     segments_missing_.load(std::memory_order_relaxed) > 0;
  if (failures_in_a_row_ < 2 || !again || !relocate(completed.outcome.error())) {
    return std::unexpected(completed.outcome.error());
  }
  const Completed relocated = io_->complete();
  note_durable(relocated, start);
  if (!relocated.outcome) return std::unexpected(relocated.outcome.error());
  return completed.operations + relocated.operations;
} catch (const std::bad_alloc&) {
  fail_in_turn(turn, Errc::out_of_memory);
  return std::unexpected(Errc::out_of_memory);
}

Result<void> RawDiskCache::Impl::complete_sealed() {
  const std::uint64_t seals = io_->seals();
  // Whoever stores meanwhile needs the turn for its next flush, or the device runs dry. Without the
  // maintenance thread it is one of them that waits here.
  const bool patient = maintenance_.joinable() && disk_->info().background_sync;
  while (io_->seals_done() < seals) {
    {
      const FlushTurn turn(turns_);
      auto completed = complete_in_turn(turn, patient ? Wait::no : Wait::for_everything);
      if (!completed) return std::unexpected(completed.error());
    }
    if (patient) std::this_thread::sleep_for(kPatientPause);
  }
  return {};
}

void RawDiskCache::Impl::note_durable(const Completed& completed, std::uint64_t start_ns) {
  if (completed.buffers == 0) return;
  failures_in_a_row_ = 0;
  forget_background_failures();
  {
    MutexLock lock(log_mutex_);
    writer_->sealed_durable(completed.buffers);
    turns_.note_ended_through(writer_->durable_through());
    note_durable();
  }
  if (completed.operations == 0) return;
  counters_.flushes.add(completed.buffers);
  counters_.flushed_writes.add(completed.operations);
  counters_.flush_latency.add(monotonic_ns() - start_ns);
  note_flush(completed);
}

void RawDiskCache::Impl::note_flush(const Completed& completed) {
  const std::uint64_t now = monotonic_ns();
  const std::uint64_t elapsed = now - last_flush_ns_;
  flush_costs_ = learn(flush_costs_, {.bytes = completed.bytes,
                                      .elapsed_ns = elapsed,
                                      .busy_ns = std::min(elapsed, completed.busy_ns),
                                      .sync_ns = completed.sync_ns});
  last_flush_ns_ = now;
  if (options_.batch_mode != BatchMode::adaptive) {
    return set_batch_target(batch_limits(options_).max_bytes);
  }
  const auto interval = std::chrono::nanoseconds(options_.flush_interval).count();
  set_batch_target(
      batch_bytes(flush_costs_, {.min_bytes = kAdaptiveBatchMin,
                                 .max_bytes = batch_limits(options_).max_bytes,
                                 .interval_ns = static_cast<std::uint64_t>(interval)}));
  measured_bytes_per_s_.store(static_cast<std::uint64_t>(flush_costs_.bandwidth * 1e9),
                              std::memory_order_relaxed);
  measured_sync_ns_.store(static_cast<std::uint64_t>(flush_costs_.sync_ns),
                          std::memory_order_relaxed);
}

bool RawDiskCache::Impl::relocate(const Error& error) {
  MutexLock lock(log_mutex_);
  fail_direct_writes(error);  // what has come since must not wait for a batch that is given up
  checkpoint_wanted_.store(true, std::memory_order_relaxed);
  const bool relocated = writer_->relocate(replay_from_.load(std::memory_order_relaxed), now());
  segments_missing_.store(relocated ? 0 : writer_->segments_to_relocate(),
                          std::memory_order_relaxed);
  return relocated;
}

}  // namespace rawcache
