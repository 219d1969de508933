#include "base/latency_stats.h"

namespace rawcache {
namespace {

constexpr std::array<std::uint64_t, kLatencyBounds> kBounds = [] {
  std::array<std::uint64_t, kLatencyBounds> bounds{};
  for (std::size_t i = 0; i < kLatencyBounds; ++i) bounds[i] = latency_bound_ns(i);
  return bounds;
}();

}  // namespace

LatencyStats latency_stats(const Histogram& histogram) {
  LatencyStats stats;
  histogram.count_below(kBounds, stats.below);
  const Histogram::Summary summary = histogram.summary();
  stats.count = summary.count;
  stats.mean_ns = summary.mean;
  stats.p50_ns = summary.p50;
  stats.p99_ns = summary.p99;
  stats.p999_ns = summary.p999;
  stats.max_ns = summary.max;
  stats.sum_ns = summary.sum;
  return stats;
}

}  // namespace rawcache
