// The mathematics of the comparison: medians and percentiles.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rawcache::bench {

/// The middle number, or the mean of the two in the middle; 0 of none.
double median(std::vector<double> numbers);

/// Durations in log-linear buckets, 32 per power of two: percentiles are at most 1.6 % off. Not for
/// many threads at once: each has its own, and they are added up.
class Latencies {
 public:
  void add(std::uint64_t nanoseconds) { ++counts_[bucket_of(nanoseconds)]; }
  void add(const Latencies& others);
  std::uint64_t count() const;
  /// The duration that this share of them does not exceed; 0 of none.
  double percentile(double share) const;

 private:
  static constexpr unsigned kSubBits = 5;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) << kSubBits;
  static std::size_t bucket_of(std::uint64_t nanoseconds);
  static double bucket_middle(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> counts_{};
};

}  // namespace rawcache::bench
