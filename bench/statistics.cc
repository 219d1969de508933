#include "bench/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace rawcache::bench {

double median(std::vector<double> numbers) {
  if (numbers.empty()) return 0;
  std::ranges::sort(numbers);
  const std::size_t middle = numbers.size() / 2;
  return numbers.size() % 2 == 1 ? numbers[middle] : (numbers[middle - 1] + numbers[middle]) / 2;
}

// Values below 2^(kSubBits + 1) have a bucket each; above, the leading kSubBits + 1 bits choose it.
std::size_t Latencies::bucket_of(std::uint64_t nanoseconds) {
  const auto bits = static_cast<int>(std::bit_width(nanoseconds));
  const int shift = std::max(0, bits - static_cast<int>(kSubBits) - 1);
  return (static_cast<std::size_t>(shift) << kSubBits) + (nanoseconds >> shift);
}

double Latencies::bucket_middle(std::size_t bucket) {
  if (bucket < std::size_t{2} << kSubBits) return static_cast<double>(bucket);
  const std::size_t shift = (bucket >> kSubBits) - 1;
  const std::uint64_t leading = bucket - (shift << kSubBits);
  return (static_cast<double>(leading) + 0.5) * std::exp2(static_cast<double>(shift));
}

void Latencies::add(const Latencies& others) {
  for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += others.counts_[i];
}

std::uint64_t Latencies::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

double Latencies::percentile(double share) const {
  const std::uint64_t all = count();
  if (all == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(all)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= std::max<std::uint64_t>(wanted, 1)) return bucket_middle(i);
  }
  return 0;
}

}  // namespace rawcache::bench
