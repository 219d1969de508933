// Guards that what prometheus.h writes is read back as it was, and percentiles of the time between
// two snapshots.
#include "metrics/prometheus_reader.h"

#include <gtest/gtest.h>

#include <cmath>

#include "metrics/prometheus.h"

namespace rawcache::metrics {
namespace {

constexpr const char* kLatency = "rawcache_lookup_latency_seconds";

/// The whole of Stats after lookups that took as long as the bound of that number, or just less.
Samples looked_up(std::initializer_list<std::pair<std::uint64_t, std::size_t>> calls_and_bounds) {
  Stats stats;
  for (const auto& [calls, bound] : calls_and_bounds) {
    stats.lookup_latency.count += calls;
    for (std::size_t i = bound; i < kLatencyBounds; ++i) stats.lookup_latency.below[i] += calls;
  }
  PrometheusText text;
  text.fields("rawcache", stats_groups(stats));
  return read_prometheus(text.take());
}

double seconds(std::size_t bound) { return static_cast<double>(latency_bound_ns(bound)) / 1e9; }

TEST(PrometheusReader, ReadsBackWhatWasWritten) {
  PrometheusText text;
  text.begin_family("rawcache_build_info", PrometheusText::Type::gauge, "What \\ is\nrunning 1");
  text.sample("rawcache_build_info", {{"version", "1.2 3"}, {"other", "x"}}, std::uint64_t{1});
  text.sample("a", {}, 0.25);
  text.sample("b", {}, std::uint64_t{1} << 52);
  text.sample("c", {}, std::nan(""));
  text.sample("d", {}, INFINITY);
  const Samples samples = read_prometheus(text.take());
  EXPECT_EQ(samples.size(), 5u);
  EXPECT_EQ(label_of(samples, "rawcache_build_info", "version"), "1.2 3");
  EXPECT_EQ(label_of(samples, "rawcache_build_info", "other"), "x");
  EXPECT_EQ(label_of(samples, "rawcache_build_info", "absent"), "");
  EXPECT_EQ(label_of(samples, "rawcache_build", "version"), "");
  EXPECT_EQ(samples.at("a"), 0.25);
  EXPECT_EQ(samples.at("b"), 0x1p52);
  EXPECT_TRUE(std::isnan(samples.at("c")));
  EXPECT_EQ(samples.at("d"), INFINITY);
}

TEST(PrometheusReader, SkipsWhatIsNoSample) {
  EXPECT_EQ(read_prometheus("\n \nname\nname x\nname 1x\n# TYPE a 1\nb  2").size(), 1u);
  EXPECT_TRUE(read_prometheus("").empty());
}

TEST(PrometheusReader, APercentileIsThatOfTheTimeBetweenTwoSnapshots) {
  const Samples none, first = looked_up({{100, 10}});
  const Samples second = looked_up({{100, 10}, {100, 20}});  // buckets end at even bounds
  EXPECT_NEAR(percentile(first, second, kLatency, 0.5).value(), 1.5 * seconds(18), 1e-9);
  EXPECT_NEAR(percentile(first, second, kLatency, 1).value(), seconds(20), 1e-9);
  EXPECT_LE(percentile(none, second, kLatency, 0.25).value(), seconds(10));
  EXPECT_FALSE(percentile(second, second, kLatency, 0.5).has_value());
  EXPECT_FALSE(percentile(none, second, "no_such_histogram", 0.5).has_value());
}

TEST(PrometheusReader, WhatIsSlowerThanTheLastBoundIsAtLeastThat) {
  const auto all = percentile({}, looked_up({{3, kLatencyBounds}}), kLatency, 0.5);
  EXPECT_NEAR(all.value(), seconds(kLatencyBounds - 1), 1e-6);
}

}  // namespace
}  // namespace rawcache::metrics
