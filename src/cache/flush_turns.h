// FlushTurns: who flushes, and how the others who wait for it sleep. Internal.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.h"
#include "cache/log_writer.h"

namespace rawcache {

/// The right to flush: one thread at a time has it. Threads: any; what notes something is for
/// whoever has the turn.
class FlushTurns {
 public:
  /// Waits for the turn and has it for as long as it lives.
  class Turn {
   public:
    explicit Turn(FlushTurns& turns);
    /// With a direct write, whose caller leads: gives up as soon as that is no longer waiting; then
    /// the turn is not had.
    Turn(FlushTurns& turns, const DirectWrite& direct);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    explicit operator bool() const { return had_; }

   private:
    FlushTurns& turns_;
    bool had_ = false;
  };

  /// One of those who wait for a batch leads: it waits for a turn and flushes for all of them, and
  /// for those of earlier batches. True: the caller is to. False: the write has ended; until then
  /// the caller has slept, and was not woken for other batches. An urgent write always leads,
  /// because it may come before who leads already.
  bool leads(const DirectWrite& direct);

  /// With the turn: the direct writes of batches up to this one have ended.
  void note_ended_through(std::uint64_t batch) { ended_through_ = batch; }
  /// With the turn: every direct write ends, whatever its batch; later ones may join the same
  /// batches. To be called before they do.
  void note_all_end() { all_end_ = true; }

 private:
  /// Whether the next turn belongs to an urgent write. Not if the last one did: else a stream of
  /// them would keep everybody else waiting for ever.
  bool urgent_first() const REQUIRES(mutex_) { return urgent_waiting_ > 0 && !was_urgent_; }
  void end();

  Mutex mutex_;
  CondVar ended_;
  bool taken_ GUARDED_BY(mutex_) = false;
  std::uint32_t urgent_waiting_ GUARDED_BY(mutex_) = 0;  ///< for a turn
  bool was_urgent_ GUARDED_BY(mutex_) = false;           ///< the present turn, or the last
  /// Of batches up to this one somebody waits for a turn who will flush them, or has.
  std::uint64_t led_through_ GUARDED_BY(mutex_) = 0;
  /// Where the others who wait for a batch sleep: counts turns in which one of those ended that
  /// have this number, by the number of queues. Two, so that those who wait for the next batch
  /// sleep on.
  static constexpr std::size_t kQueues = 2;
  std::array<std::atomic<std::uint32_t>, kQueues> batches_ended_{};

  // These belong to whoever has the turn.
  std::uint64_t ended_through_ = 0;  ///< batches up to this one have ended
  std::uint64_t told_through_ = 0;   ///< ... and who waits for them has been woken
  bool all_end_ = false;             ///< in this turn
};

}  // namespace rawcache
