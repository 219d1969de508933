#include "cache/flush_turns.h"

#include <algorithm>

#include "base/futex.h"
#include "base/mutant.h"

namespace rawcache {

FlushTurns::Turn::Turn(FlushTurns& turns) : turns_(turns), had_(true) {
  MutexLock lock(turns_.mutex_);
  while (turns_.taken_ || turns_.urgent_first()) turns_.ended_.wait(turns_.mutex_);
  turns_.taken_ = true;
  turns_.was_urgent_ = false;
}

FlushTurns::Turn::Turn(FlushTurns& turns, const DirectWrite& direct) : turns_(turns) {
  MutexLock lock(turns_.mutex_);
  if (direct.urgent) ++turns_.urgent_waiting_;
  while ((turns_.taken_ || (!direct.urgent && turns_.urgent_first())) && direct.is_waiting()) {
    turns_.ended_.wait(turns_.mutex_);
  }
  had_ = direct.is_waiting();
  if (direct.urgent && --turns_.urgent_waiting_ == 0 && !had_) turns_.ended_.notify_all();
  if (!had_) return;
  turns_.taken_ = true;
  turns_.was_urgent_ = direct.urgent && !mutated(Mutant::kUrgentStarvesOthers);
}

FlushTurns::Turn::~Turn() {
  if (had_) turns_.end();
}

void FlushTurns::end() {
  // What belongs to the turn is looked at before it is given away.
  const std::uint64_t batches = ended_through_ - told_through_;
  std::array<bool, kQueues> wanted{};
  if (batches > 1 || all_end_) wanted.fill(true);
  if (batches == 1) wanted[ended_through_ % kQueues] = true;
  {
    MutexLock lock(mutex_);
    taken_ = false;
    // Others may have joined these batches meanwhile, and need somebody who leads.
    if (all_end_) led_through_ = 0;
    all_end_ = false;
    told_through_ = ended_through_;
    for (std::size_t i = 0; i < kQueues; ++i) {
      if (wanted[i]) batches_ended_[i].fetch_add(1, std::memory_order_release);
    }
  }
  ended_.notify_all();  // the next flush can start
  for (std::size_t i = 0; i < kQueues; ++i) {
    if (wanted[i]) wake_all(batches_ended_[i]);
  }
}

bool FlushTurns::leads(const DirectWrite& direct) {
  const std::atomic<std::uint32_t>& queue = batches_ended_[direct.batch % kQueues];
  while (direct.is_waiting()) {
    std::uint32_t seen = 0;
    {
      MutexLock lock(mutex_);
      if (direct.urgent || direct.batch > led_through_) {
        led_through_ = std::max(led_through_, direct.batch);
        return true;
      }
      seen = queue.load(std::memory_order_relaxed);
    }
    if (direct.is_waiting()) sleep_while(queue, seen);
  }
  return false;
}

}  // namespace rawcache
