// The size of adaptive batches as a function of what flushes have cost.
#include "batch/batch_sizer.h"

#include <gtest/gtest.h>

namespace rawcache {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kMs = 1'000'000;
constexpr BatchSizerLimits kWide{.min_bytes = 1, .max_bytes = 1ULL << 40, .interval_ns = 0};

/// A device of this bandwidth and sync, driven with batches of the size asked for.
FlushCosts after_flushes(double bytes_per_ns, std::uint64_t sync_ns, int flushes,
                         const BatchSizerLimits& limits) {
  FlushCosts costs;
  std::uint64_t bytes = kMiB;
  for (int i = 0; i < flushes; ++i) {
    const auto writing = static_cast<std::uint64_t>(static_cast<double>(bytes) / bytes_per_ns);
    costs = learn(costs, {.bytes = bytes, .elapsed_ns = writing + sync_ns, .sync_ns = sync_ns});
    bytes = batch_bytes(costs, limits);
  }
  return costs;
}

TEST(BatchSizer, GrowsToWhereSyncsCostTheWantedShare) {
  for (const double bandwidth : {0.1, 1.0, 9.0}) {
    for (const std::uint64_t sync_ns : {kMs / 20, 4 * kMs}) {
      const auto costs = after_flushes(bandwidth, sync_ns, 100, kWide);
      const double writing = static_cast<double>(batch_bytes(costs, kWide)) / bandwidth;
      const double efficiency = writing / (writing + static_cast<double>(sync_ns));
      EXPECT_NEAR(efficiency, kBatchEfficiency, 0.01) << bandwidth << ' ' << sync_ns;
    }
  }
}

TEST(BatchSizer, IsThereAfterAFewFlushes) {
  const auto soon = batch_bytes(after_flushes(1.0, 4 * kMs, 6, kWide), kWide);
  const auto late = batch_bytes(after_flushes(1.0, 4 * kMs, 100, kWide), kWide);
  EXPECT_GT(static_cast<double>(soon), 0.8 * static_cast<double>(late));
}

TEST(BatchSizer, KeepsWithinItsLimits) {
  const BatchSizerLimits limits{.min_bytes = 256 << 10, .max_bytes = 12 * kMiB, .interval_ns = 0};
  EXPECT_EQ(batch_bytes({}, limits), limits.min_bytes);
  EXPECT_EQ(batch_bytes(after_flushes(9.0, 4 * kMs, 20, limits), limits), limits.max_bytes);
  EXPECT_EQ(batch_bytes(after_flushes(0.001, 1'000, 20, limits), limits), limits.min_bytes);
}

TEST(BatchSizer, TakesNoMoreThanWhatArrivesWithinTheInterval) {
  BatchSizerLimits limits = kWide;
  limits.interval_ns = 10 * kMs;
  FlushCosts costs{.bandwidth = 5, .arrival = 0.02, .sync_ns = 4e6};
  EXPECT_EQ(batch_bytes(costs, limits), 200'000U);
  costs.arrival = 1000;
  EXPECT_EQ(batch_bytes(costs, limits), batch_bytes(costs, kWide));
}

TEST(BatchSizer, LearnsNothingFromNothing) {
  const FlushCosts costs{.bandwidth = 1, .arrival = 1, .sync_ns = 1};
  EXPECT_EQ(learn(costs, {}), costs);
  EXPECT_EQ(learn(costs, {.bytes = 0, .elapsed_ns = 5, .sync_ns = 5}), costs);
}

TEST(BatchSizer, ForgetsABandwidthThatIsNoLongerReached) {
  FlushCosts costs{.bandwidth = 9, .arrival = 9, .sync_ns = 1e5};
  for (int i = 0; i < 200; ++i) {
    costs = learn(costs, {.bytes = kMiB, .elapsed_ns = 10 * kMs, .sync_ns = 100'000});
  }
  EXPECT_NEAR(costs.bandwidth, static_cast<double>(kMiB) / (10 * kMs), 0.01);
}

}  // namespace
}  // namespace rawcache
