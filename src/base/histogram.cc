#include "base/histogram.h"

#include <algorithm>
#include <bit>

namespace rawcache {

std::size_t Histogram::bucket_of(std::uint64_t value) {
  constexpr std::uint64_t kExact = std::uint64_t{1} << kSubBits;  // below, every value has its own
  if (value < kExact) return value;
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kSubBits;
  return (std::size_t{shift} << kSubBits) + (value >> shift);
}

std::uint64_t Histogram::bucket_middle(std::size_t bucket) {
  constexpr std::uint64_t kExact = std::uint64_t{1} << kSubBits;
  if (bucket < 2 * kExact) return bucket;
  const unsigned shift = static_cast<unsigned>((bucket >> kSubBits) - 1);
  const std::uint64_t lowest = (bucket - (std::uint64_t{shift} << kSubBits)) << shift;
  return lowest + ((std::uint64_t{1} << shift) >> 1);
}

void Histogram::add(std::uint64_t value) {
  value = std::min(value, (std::uint64_t{1} << kValueBitsMax) - 1);
  counts_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
  std::uint64_t seen = max_.load(std::memory_order_relaxed);
  while (seen < value && !max_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

Histogram::Summary Histogram::summary() const {
  Summary summary;
  std::array<std::uint64_t, kBuckets> counts;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
    summary.count += counts[i];
  }
  if (summary.count == 0) return summary;
  summary.sum = sum_.load(std::memory_order_relaxed);
  summary.mean = summary.sum / summary.count;
  summary.max = max_.load(std::memory_order_relaxed);

  // The value below or at which `per_mille` of all values lie.
  const auto percentile = [&](std::uint64_t per_mille) {
    const std::uint64_t rank = summary.count - summary.count / 1000 * (1000 - per_mille) -
                               summary.count % 1000 * (1000 - per_mille) / 1000;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      below += counts[i];
      if (below >= rank) return std::min(bucket_middle(i), summary.max);
    }
    return summary.max;
  };
  summary.p50 = percentile(500);
  summary.p99 = percentile(990);
  summary.p999 = percentile(999);
  return summary;
}

void Histogram::count_below(std::span<const std::uint64_t> bounds,
                            std::span<std::uint64_t> counts) const {
  std::uint64_t below = 0;
  std::size_t bucket = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    for (const std::size_t end = std::min(bucket_of(bounds[i]), kBuckets); bucket < end; ++bucket) {
      below += counts_[bucket].load(std::memory_order_relaxed);
    }
    counts[i] = below;
  }
}

}  // namespace rawcache
