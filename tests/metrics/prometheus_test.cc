// Guards what Prometheus reads: the exact text of each kind of field, and for the whole of Stats
// the rules that its parser and its conventions set.
#include "metrics/prometheus.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

namespace rawcache::metrics {
namespace {

std::string text_of(std::vector<StatsField> fields) {
  PrometheusText text;
  text.fields("rawcache", {{"Group", false, std::move(fields)}});
  return text.take();
}

TEST(Prometheus, ACounterEndsInTotal) {
  EXPECT_EQ(text_of({{"hits", Kind::counter, Unit::count, "Keys found", std::uint64_t{7}}}),
            "# HELP rawcache_hits_total Keys found\n"
            "# TYPE rawcache_hits_total counter\n"
            "rawcache_hits_total 7\n");
}

TEST(Prometheus, CountsKeepAllTheirDigits) {
  EXPECT_TRUE(text_of({{"x", Kind::gauge, Unit::bytes, "X", ~std::uint64_t{0}}})
                  .ends_with("rawcache_x 18446744073709551615\n"));
}

TEST(Prometheus, TimesAreInSeconds) {
  EXPECT_TRUE(
      text_of({{"recovery_ns", Kind::gauge, Unit::nanoseconds, "T", std::uint64_t{1'500'000'000}}})
          .ends_with("gauge\nrawcache_recovery_seconds 1.5\n"));
}

TEST(Prometheus, WhatIsDerivedIsLeftOut) {
  EXPECT_EQ(text_of({{"hit_ratio", Kind::derived, Unit::share, "H", 0.5}}), "");
}

TEST(Prometheus, ALatencyIsAHistogramInSeconds) {
  LatencyStats latency;
  latency.count = 3;
  latency.sum_ns = 2'000'000'000;
  for (std::size_t i = 20; i < kLatencyBounds; ++i) latency.below[i] = 2;
  const std::string text =
      text_of({{"get_latency", Kind::counter, Unit::nanoseconds, "Gets", latency}});
  EXPECT_TRUE(
      text.starts_with("# HELP rawcache_get_latency_seconds Gets\n"
                       "# TYPE rawcache_get_latency_seconds histogram\n"
                       "rawcache_get_latency_seconds_bucket{le=\"1.024e-06\"} 0\n"
                       "rawcache_get_latency_seconds_bucket{le=\"2.048e-06\"} 0\n"));
  EXPECT_TRUE(
      text.ends_with("rawcache_get_latency_seconds_bucket{le=\"17.179869184\"} 2\n"
                     "rawcache_get_latency_seconds_bucket{le=\"+Inf\"} 3\n"
                     "rawcache_get_latency_seconds_sum 2\n"
                     "rawcache_get_latency_seconds_count 3\n"))
      << text;
}

TEST(Prometheus, LabelsAndHelpsAreEscaped) {
  PrometheusText text;
  text.begin_family("a_info", PrometheusText::Type::gauge, "x\\y\nz\"");
  text.sample("a_info", {{"why", "x\\y\nz\""}, {"b", ""}}, std::uint64_t{1});
  EXPECT_EQ(text.take(),
            "# HELP a_info x\\\\y\\nz\"\n"
            "# TYPE a_info gauge\n"
            "a_info{why=\"x\\\\y\\nz\\\"\",b=\"\"} 1\n");
}

TEST(Prometheus, NumbersThatAreNoneHaveTheirNames) {
  PrometheusText text;
  text.sample("a", {}, std::numeric_limits<double>::quiet_NaN());
  text.sample("a", {}, std::numeric_limits<double>::infinity());
  text.sample("a", {}, 0.1);
  EXPECT_EQ(text.take(), "a NaN\na +Inf\na 0.1\n");
}

TEST(Prometheus, AllOfStatsKeepsTheRules) {
  Stats stats;
  stats.lookup_latency.count = 5;
  PrometheusText writer;
  writer.fields("rawcache", stats_groups(stats));
  std::istringstream lines(writer.take());
  const std::regex help("# HELP ([a-z_]+) [A-Z][^.]*");
  const std::regex type("# TYPE ([a-z_]+) (counter|gauge|histogram)");
  const std::regex sample(R"re(([a-z_]+)(\{le="[0-9.e+\-Inf]+"\})? ([0-9][0-9.e+\-]*))re");
  std::set<std::string> families, series;
  std::string family, family_type;
  bool helped = false;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, help)) {
      family = match[1];
      EXPECT_TRUE(families.insert(family).second) << family << " comes twice";
      helped = true;
    } else if (std::regex_match(line, match, type)) {
      EXPECT_TRUE(helped && match[1] == family) << line;
      family_type = match[2];
      EXPECT_EQ(family.ends_with("_total"), family_type == "counter") << family;
      helped = false;
    } else {
      ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
      EXPECT_TRUE(match[1].str().starts_with(family)) << line;
      EXPECT_TRUE(series.insert(match[1].str() + match[2].str()).second) << line;
    }
  }
  EXPECT_GT(families.size(), 50u);
  EXPECT_TRUE(families.contains("rawcache_lookup_latency_seconds"));
}

}  // namespace
}  // namespace rawcache::metrics
