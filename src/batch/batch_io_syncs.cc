// BatchIOManager, from written to durable: which buffers have been written, and the syncs for them.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <new>
#include <utility>

#include "base/mutant.h"
#include "batch/batch_io_manager.h"
#include "batch/buffer_slot.h"

namespace rawcache {

Completed BatchIOManager::progress() {
  Completed completed;
  if (disk_.info().background_sync) completed.outcome = advance(completed);
  if (!completed.outcome) halt();
  return completed;
}

Completed BatchIOManager::make_room() {
  Completed completed = progress();
  Result<void>& went = completed.outcome;
  if (!went || can_seal()) return completed;
  went = sync_oldest(1, completed);
  if (went && disk_.info().background_sync) went = advance(completed);
  if (!went) halt();
  return completed;
}

Completed BatchIOManager::complete() {
  Completed completed;
  while (completed.outcome && sealed().count > 0) {
    completed.outcome = sync_oldest(kSealedBuffersMax, completed);
  }
  if (!completed.outcome) {
    halt();
    if (mutated(Mutant::kFailedBufferDropped)) forget(1);
  }
  return completed;
}

/// Waits for the sync under way, or else for the writes of so many and for a sync of these and of
/// what else has been written by then.
Result<void> BatchIOManager::sync_oldest(std::size_t buffers, Completed& completed) try {
  if (const Result<void> started = submit(); !started) return started;
  if (syncing_ == 0) {
    const SealedSlots waiting = sealed();
    std::span<Slot* const> slots = waiting.all().first(std::min(waiting.count, buffers));
    const auto idle = std::ranges::find_if(slots, [](Slot* slot) { return !slot->under_way(); });
    slots = {slots.begin(), idle};
    if (mutated(Mutant::kSyncBeforeWrites)) (void)disk_.sync();
    if (const Result<void> done = wait_for_writes(slots); !done) return done;
    const Result<std::size_t> covered = written();
    if (!covered) return std::unexpected(covered.error());
    return sync_now(*covered, completed);
  }
  return finish_sync(completed);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

/// Without waiting: starts what may be written, takes the end of the sync under way, and starts the
/// next one for what has been written.
Result<void> BatchIOManager::advance(Completed& completed) try {
  if (const Result<void> started = submit(); !started) return started;
  if (syncing_ != 0) {
    if (disk_.wait(sync_, 0) != 0) return {};
    if (const Result<void> finished = finish_sync(completed); !finished) return finished;
  }
  const Result<std::size_t> buffers = written();
  if (!buffers) return std::unexpected(buffers.error());
  if (*buffers > 0) start_sync(*buffers);
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<void> BatchIOManager::wait_for_writes(std::span<Slot* const> slots) {
  for (Slot* slot : slots) {
    disk_.wait(slot->io, slot->io.under_way);
    for (const IoRequest& request : slot->io.requests) {
      if (request.os_error == 0 || mutated(Mutant::kRequestErrorIgnored)) continue;
      return std::unexpected(failure_of(request));
    }
  }
  return {};
}

/// How many of the oldest have been written whole.
Result<std::size_t> BatchIOManager::written() {
  const SealedSlots waiting = sealed();
  const std::span<Slot* const> all = waiting.all();
  for (Slot* slot : all) {
    if (slot->under_way()) disk_.wait(slot->io, 0);  // which also sends what is left of it
  }
  const auto unfinished = std::ranges::find_if(
      all, [&](Slot* slot) { return !slot->under_way() || slot->io.under_way != 0; });
  const std::span<Slot* const> slots(all.begin(), unfinished);
  if (const Result<void> done = wait_for_writes(slots); !done) return std::unexpected(done.error());
  return slots.size();
}

void BatchIOManager::start_sync(std::size_t buffers) {
  sync_start_ = std::chrono::steady_clock::now();
  const bool left_out = mutated(Mutant::kSyncSkipped) || mutated(Mutant::kSyncBeforeWrites);
  if (!left_out) disk_.start_sync(sync_);
  syncing_ = mutated(Mutant::kSyncCoversLater) ? sealed().count : buffers;
}

Result<void> BatchIOManager::finish_sync(Completed& completed) {
  const std::size_t buffers = std::exchange(syncing_, 0);
  if (!mutated(Mutant::kSyncSkipped) && !mutated(Mutant::kSyncBeforeWrites)) {
    if (const Result<void> synced = disk_.finish_sync(sync_); !synced) return synced;
  }
  note_synced(buffers, completed);
  return {};
}

/// For who would wait for it at once: another thread would only have to be woken, and to wake.
Result<void> BatchIOManager::sync_now(std::size_t buffers, Completed& completed) {
  sync_start_ = std::chrono::steady_clock::now();
  if (!mutated(Mutant::kSyncSkipped) && !mutated(Mutant::kSyncBeforeWrites)) {
    if (const Result<void> synced = disk_.sync(); !synced) return synced;
  }
  note_synced(mutated(Mutant::kSyncCoversLater) ? sealed().count : buffers, completed);
  return {};
}

/// So many of the oldest are durable.
void BatchIOManager::note_synced(std::size_t buffers, Completed& completed) {
  const auto now = std::chrono::steady_clock::now();
  const auto since = [now](std::chrono::steady_clock::time_point then) {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(now - then).count());
  };
  completed.sync_ns += since(sync_start_);
  const SealedSlots waiting = sealed();
  for (const Slot* slot : waiting.all().first(buffers)) {
    completed.busy_ns = std::max(completed.busy_ns, since(slot->begun));
    completed.operations += slot->buffer.operations();
    completed.bytes += slot->buffer.bytes();
  }
  completed.buffers += buffers;
  forget(buffers);
}

}  // namespace rawcache
