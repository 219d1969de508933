// Histogram: lock-free counts of durations in log-linear buckets, 16 per power of two.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rawcache {

class Histogram {
 public:
  /// Any thread, a few nanoseconds. Values from 2^40 up (18 minutes in ns) count as 2^40 - 1.
  void add(std::uint64_t value);

  /// Percentiles are the middles of their buckets, at most 3.2 % off; mean and max are exact.
  struct Summary {
    std::uint64_t count = 0, sum = 0, mean = 0, p50 = 0, p99 = 0, p999 = 0, max = 0;
  };
  Summary summary() const;

  /// counts[i]: values below bounds[i]; bounds ascend and are borders of buckets. Called before
  /// summary(), no count is above its count.
  void count_below(std::span<const std::uint64_t> bounds, std::span<std::uint64_t> counts) const;

 private:
  static constexpr unsigned kSubBits = 4;
  static constexpr unsigned kValueBitsMax = 40;
  static constexpr std::size_t kBuckets = (kValueBitsMax - kSubBits + 1) << kSubBits;
  static std::size_t bucket_of(std::uint64_t value);
  static std::uint64_t bucket_middle(std::size_t bucket);

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> sum_{0};
  std::atomic<std::uint64_t> max_{0};
};

}  // namespace rawcache
