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
    const std::uint64_t took = writing + sync_ns;
    costs = learn(costs, {.bytes = bytes, .elapsed_ns = took, .busy_ns = took, .sync_ns = sync_ns});
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
  FlushCosts costs;
  costs.bandwidth = 5;
  costs.arrival = 0.02;
  costs.sync_ns = 4e6;
  EXPECT_EQ(batch_bytes(costs, limits), 200'000U);
  costs.arrival = 1000;
  EXPECT_EQ(batch_bytes(costs, limits), batch_bytes(costs, kWide));
}

TEST(BatchSizer, LearnsNothingFromNothing) {
  const auto costs = after_flushes(1.0, kMs, 5, kWide);
  EXPECT_EQ(learn(costs, {}), costs);
  EXPECT_EQ(learn(costs, {.bytes = 0, .elapsed_ns = 5, .busy_ns = 5, .sync_ns = 5}), costs);
}

// Three buffers are written one after the other and synced together: the device has not been three
// times as fast.
TEST(BatchSizer, TakesFlushesThatEndAtOnceForWhatTheyAre) {
  FlushCosts costs;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t took = i % 3 == 2 ? 1'000 : 6 * kMs;
    costs = learn(costs, {.bytes = 4 * kMiB, .elapsed_ns = took, .busy_ns = took, .sync_ns = kMs});
  }
  const double whole = 12.0 * kMiB / (12 * kMs);
  EXPECT_GT(costs.bandwidth, 0.8 * whole);
  EXPECT_LT(costs.bandwidth, 1.6 * whole);
}

TEST(BatchSizer, DoesNotTakeAPauseOfTheCallersForTheDevices) {
  auto costs = after_flushes(1.0, 4 * kMs, 50, kWide);
  const double before = costs.bandwidth;
  const auto bytes = static_cast<std::uint64_t>(costs.bytes);
  const std::uint64_t took = bytes + 4 * kMs;
  costs = learn(costs,
                {.bytes = bytes, .elapsed_ns = 10'000 * kMs, .busy_ns = took, .sync_ns = 4 * kMs});
  EXPECT_NEAR(costs.bandwidth, before, 0.1 * before);
}

TEST(BatchSizer, BriefBatchesTakeLittleMoreThanTheSyncsThatAreWaitedForAnyway) {
  const BatchSizerLimits limits{.min_bytes = kMiB, .max_bytes = 8 * kMiB, .interval_ns = 0};
  EXPECT_EQ(brief_batch_bytes({}, limits), kMiB);
  EXPECT_EQ(brief_batch_bytes(after_flushes(2.0, 100'000, 50, limits), limits), kMiB);
  const FlushSample large{
      .bytes = 8 * kMiB, .elapsed_ns = 20 * kMs, .busy_ns = 20 * kMs, .sync_ns = 4 * kMs};
  EXPECT_EQ(brief_batch_bytes(learn({}, large), limits), kMiB)
      << "only large ones have been synced, which says nothing";
  auto slow = after_flushes(0.5, 4 * kMs, 50, limits);
  slow = learn(slow, {.bytes = 100, .elapsed_ns = 4 * kMs, .busy_ns = 4 * kMs, .sync_ns = 4 * kMs});
  EXPECT_GT(brief_batch_bytes(slow, limits), 2 * kMiB);
  EXPECT_LT(brief_batch_bytes(slow, limits), 6 * kMiB);
}

TEST(BatchSizer, BriefBatchesDoNotMakeThemselvesLongerWhereSyncsDoTheWriting) {
  const BatchSizerLimits limits{.min_bytes = kMiB, .max_bytes = 64 * kMiB, .interval_ns = 0};
  for (const double bandwidth : {0.1, 0.5, 2.0}) {
    FlushCosts costs;
    std::uint64_t bytes = kMiB;
    for (int i = 0; i < 200; ++i) {
      const auto took = kMs + static_cast<std::uint64_t>(static_cast<double>(bytes) / bandwidth);
      costs = learn(costs, {.bytes = bytes, .elapsed_ns = took, .busy_ns = took, .sync_ns = took});
      bytes = brief_batch_bytes(costs, limits);
    }
    EXPECT_LE(bytes, 8 * kMiB) << bandwidth;
  }
}

TEST(BatchSizer, ASyncThatHadToWaitForOthersSaysNothingOfWhatOneCosts) {
  FlushCosts costs;
  for (int i = 0; i < 30; ++i) {
    const std::uint64_t sync_ns = i % 10 == 0 ? kMs / 10 : 3 * kMs;
    costs = learn(costs,
                  {.bytes = kMiB, .elapsed_ns = 4 * kMs, .busy_ns = 4 * kMs, .sync_ns = sync_ns});
  }
  EXPECT_LT(costs.sync_floor_ns, kMs / 5.0);
}

TEST(BatchSizer, ForgetsABandwidthThatIsNoLongerReached) {
  FlushCosts costs = after_flushes(9.0, 100'000, 50, kWide);
  for (int i = 0; i < 200; ++i) {
    costs = learn(costs,
                  {.bytes = kMiB, .elapsed_ns = 10 * kMs, .busy_ns = 10 * kMs, .sync_ns = 100'000});
  }
  EXPECT_NEAR(costs.bandwidth, static_cast<double>(kMiB) / (10 * kMs), 0.01);
}

}  // namespace
}  // namespace rawcache
