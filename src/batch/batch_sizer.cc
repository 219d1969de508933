#include "batch/batch_sizer.h"

#include <algorithm>

namespace rawcache {
namespace {

/// The weight of the newest sample in what moves slowly.
constexpr double kNewest = 0.25;
/// How fast a bandwidth that is no longer reached is forgotten.
constexpr double kFading = 0.95;
/// A batch is brief that is written in the time of so many syncs; so much of each is nothing that
/// anybody would wait for anyway.
constexpr double kBriefSyncs = 2.5;
constexpr double kQuickSyncNs = 500'000;
/// More says nothing of what a sync costs by itself, but that it is no more than this one. Else
/// brief batches would make themselves longer and longer where syncs take the time of the writes.
constexpr std::uint64_t kLittleBytes = std::uint64_t{5} << 18;

double floor_of(double before, const FlushSample& sample) {
  const auto sync_ns = static_cast<double>(sample.sync_ns);
  if (sample.bytes > kLittleBytes) return std::min(before, sync_ns);
  return before == 0 ? sync_ns : std::min(sync_ns, before / kFading);
}

double blend(double before, double now) {
  return before == 0 ? now : before + kNewest * (now - before);
}

}  // namespace

FlushCosts learn(const FlushCosts& costs, const FlushSample& sample) {
  if (sample.bytes == 0 || sample.elapsed_ns == 0 || sample.busy_ns == 0) return costs;
  // What flows through is no more than the device takes and no more than callers bring. The highest
  // rate seen lately is the best guess at the former. It is too low while batches are small, since
  // it contains their syncs, but then each batch is larger than the one before until it no longer
  // is.
  const auto sample_bytes = static_cast<double>(sample.bytes);
  const auto sync_ns = static_cast<double>(sample.sync_ns);
  const double bytes = blend(costs.bytes, sample_bytes);
  const double busy_ns = blend(costs.busy_ns, static_cast<double>(sample.busy_ns));
  const double arrival = sample_bytes / static_cast<double>(sample.elapsed_ns);
  return {.bandwidth = std::max(bytes / busy_ns, costs.bandwidth * kFading),
          .arrival = blend(costs.arrival, arrival),
          .sync_ns = blend(costs.sync_ns, sync_ns),
          .sync_floor_ns = floor_of(costs.sync_floor_ns, sample),
          .bytes = bytes,
          .busy_ns = busy_ns};
}

std::uint64_t brief_batch_bytes(const FlushCosts& costs, const BatchSizerLimits& limits) {
  const double sync_ns = std::max(costs.sync_floor_ns - kQuickSyncNs, 0.0);
  const double bytes = costs.bandwidth * sync_ns * kBriefSyncs;
  const auto low = static_cast<double>(limits.min_bytes);
  const auto high = static_cast<double>(limits.max_bytes);
  return static_cast<std::uint64_t>(std::clamp(bytes, low, high));
}

std::uint64_t batch_bytes(const FlushCosts& costs, const BatchSizerLimits& limits) {
  const double low = static_cast<double>(limits.min_bytes);
  const double high = static_cast<double>(limits.max_bytes);
  double bytes = costs.bandwidth * costs.sync_ns * kBatchEfficiency / (1 - kBatchEfficiency);
  if (limits.interval_ns > 0) {
    bytes = std::min(bytes, costs.arrival * static_cast<double>(limits.interval_ns));
  }
  return static_cast<std::uint64_t>(std::clamp(bytes, low, std::max(low, high)));
}

}  // namespace rawcache
