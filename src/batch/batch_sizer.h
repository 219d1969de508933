// How large a batch pays: a pure function of what flushes have cost lately.
#pragma once

#include <cstdint>

namespace rawcache {

/// What one or several flushes that shared a sync have cost.
struct FlushSample {
  std::uint64_t bytes = 0;       ///< made durable
  std::uint64_t elapsed_ns = 0;  ///< since the flush before
  std::uint64_t busy_ns = 0;     ///< of that since the first of its writes was begun
  std::uint64_t sync_ns = 0;     ///< in syncs
};

/// What has been learnt from the samples so far.
struct FlushCosts {
  double bandwidth = 0;  ///< bytes per nanosecond that the device has shown to take
  double arrival = 0;    ///< bytes per nanosecond that callers store
  double sync_ns = 0;    ///< of one sync
  /// The shortest sync, of those after little was written the shortest lately: what it costs by
  /// itself, without the writes that it has to wait for. 0: not known.
  double sync_floor_ns = 0;
  /// What was written lately and in what time: several flushes may end at once.
  double bytes = 0, busy_ns = 0;
  friend bool operator==(const FlushCosts&, const FlushCosts&) = default;
};

struct BatchSizerLimits {
  std::uint64_t min_bytes = 0;
  std::uint64_t max_bytes = 0;
  std::uint64_t interval_ns = 0;  ///< nothing waits longer for its flush; 0: no such limit
};

/// The share of the device's bandwidth that batches are to reach: the rest goes to syncs.
inline constexpr double kBatchEfficiency = 0.95;

/// The costs with one more sample in them. Samples that say nothing (no bytes, no time) change
/// nothing.
FlushCosts learn(const FlushCosts& costs, const FlushSample& sample);

/// The size of batches that do not keep a store waiting much longer than the syncs that it has to
/// wait for anyway.
std::uint64_t brief_batch_bytes(const FlushCosts& costs, const BatchSizerLimits& limits);

/// The size at which a batch should be flushed: so large that its sync costs no more than the
/// efficiency allows, but not larger than what arrives within the interval, and within the limits.
std::uint64_t batch_bytes(const FlushCosts& costs, const BatchSizerLimits& limits);

}  // namespace rawcache
