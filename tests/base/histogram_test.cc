// Guards the promise that percentiles are at most 3.2 % off (Stats promises 6 %), by comparing with
// sorted values.
#include "base/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "base/latency_stats.h"

namespace rawcache {
namespace {

std::uint64_t exact_percentile(const std::vector<std::uint64_t>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(rank) - 1];
}

void expect_close(std::uint64_t got, std::uint64_t exact) {
  const double error = std::abs(static_cast<double>(got) - static_cast<double>(exact));
  EXPECT_LE(error, 0.032 * static_cast<double>(exact)) << got << " instead of " << exact;
}

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram::Summary summary = Histogram().summary();
  EXPECT_EQ(summary.count, 0u);
  EXPECT_EQ(summary.p999, 0u);
}

TEST(Histogram, CountsBelowTheBoundsOfLatenciesAreExact) {
  Histogram histogram;
  std::mt19937_64 random(7);
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 20'000; ++i) values.push_back(random() >> (24 + random() % 40));
  for (std::size_t i = 0; i < kLatencyBounds; ++i) {  // and beside every bound
    values.push_back(latency_bound_ns(i));
    values.push_back(latency_bound_ns(i) - 1);
  }
  for (const std::uint64_t value : values) histogram.add(value);
  const LatencyStats stats = latency_stats(histogram);
  for (std::size_t i = 0; i < kLatencyBounds; ++i) {
    const auto is_below = [&](std::uint64_t value) { return value < latency_bound_ns(i); };
    EXPECT_EQ(stats.below[i], std::ranges::count_if(values, is_below)) << latency_bound_ns(i);
  }
  EXPECT_EQ(stats.count, values.size());
}

TEST(Histogram, EveryValueIsReportedClosely) {
  for (std::uint64_t value = 0; value < std::uint64_t{1} << 40; value += 1 + value / 50) {
    Histogram histogram;
    histogram.add(value);
    histogram.add(value);
    histogram.add(value + value / 2);  // so that the maximum does not cap the percentile
    if (value + value / 2 >= std::uint64_t{1} << 40) break;
    expect_close(histogram.summary().p50, value);
    EXPECT_EQ(histogram.summary().max, value + value / 2);
  }
}

TEST(Histogram, PercentilesOfManyValuesAreClose) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latencies(11.0, 2.0);
  for (const std::size_t count : {1u, 2u, 3u, 10u, 99u, 100u, 101u, 999u, 1000u, 1001u, 54321u}) {
    Histogram histogram;
    std::vector<std::uint64_t> values;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(static_cast<std::uint64_t>(latencies(random)));
      sum += values.back();
      histogram.add(values.back());
    }
    std::ranges::sort(values);
    const Histogram::Summary summary = histogram.summary();
    EXPECT_EQ(summary.count, count);
    EXPECT_EQ(summary.mean, sum / count);
    EXPECT_EQ(summary.max, values.back());
    expect_close(summary.p50, exact_percentile(values, 0.5));
    expect_close(summary.p99, exact_percentile(values, 0.99));
    expect_close(summary.p999, exact_percentile(values, 0.999));
    EXPECT_LE(summary.p999, summary.max);
  }
}

TEST(Histogram, HugeValuesCountAsTheLargest) {
  Histogram histogram;
  histogram.add(~std::uint64_t{0});
  histogram.add(std::uint64_t{1} << 40);
  EXPECT_EQ(histogram.summary().max, (std::uint64_t{1} << 40) - 1);
  EXPECT_EQ(histogram.summary().count, 2u);
}

TEST(Histogram, ThreadsLoseNoValue) {
  Histogram histogram;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&histogram, t] {
      for (std::uint64_t i = 0; i < 20000; ++i) histogram.add(i * 4 + t);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.summary().count, 80000u);
  EXPECT_EQ(histogram.summary().mean, 79999u / 2);
  EXPECT_EQ(histogram.summary().max, 79999u);
}

}  // namespace
}  // namespace rawcache
