#include "metrics/prometheus_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace rawcache::metrics {

namespace {

std::optional<double> number_of(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

double value_of(const Samples& samples, std::string_view name) {
  const auto found = samples.find(name);
  return found == samples.end() ? 0.0 : found->second;
}

struct Bucket {
  double bound = 0, count = 0;  ///< how many lie below the bound
};

/// What came into a histogram between two snapshots, by bound.
std::vector<Bucket> buckets_of(const Samples& before, const Samples& after,
                               std::string_view histogram) {
  const std::string prefix = std::string(histogram) + "_bucket{le=\"";
  std::vector<Bucket> buckets;
  for (auto at = after.lower_bound(prefix); at != after.end() && at->first.starts_with(prefix);
       ++at) {
    const std::string_view rest = std::string_view(at->first).substr(prefix.size());
    const auto bound = number_of(rest.substr(0, rest.find('"')));
    if (bound) buckets.push_back({*bound, at->second - value_of(before, at->first)});
  }
  std::ranges::sort(buckets, {}, &Bucket::bound);
  return buckets;
}

}  // namespace

Samples read_prometheus(std::string_view text) {
  Samples samples;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t space = line.rfind(' ');
    if (line.starts_with('#') || space == std::string_view::npos) continue;
    const auto number = number_of(line.substr(space + 1));
    if (number) samples.insert_or_assign(std::string(line.substr(0, space)), *number);
  }
  return samples;
}

std::string label_of(const Samples& samples, std::string_view family, std::string_view label) {
  const std::string prefix = std::string(family) + '{';
  const auto found = samples.lower_bound(prefix);
  if (found == samples.end() || !found->first.starts_with(prefix)) return {};
  const std::string name = std::string(label) + "=\"";
  const std::string& text = found->first;
  const std::size_t at = text.find(name, prefix.size());
  if (at == std::string::npos) return {};
  const std::size_t begin = at + name.size();
  return text.substr(begin, text.find('"', begin) - begin);
}

std::optional<double> percentile(const Samples& before, const Samples& after,
                                 std::string_view histogram, double share) {
  const std::vector<Bucket> buckets = buckets_of(before, after, histogram);
  if (buckets.empty() || !(buckets.back().count > 0)) return std::nullopt;
  const double wanted = share * buckets.back().count;
  Bucket below;
  for (const Bucket& bucket : buckets) {
    if (bucket.count >= wanted && bucket.count > below.count && std::isfinite(bucket.bound)) {
      return below.bound +
             (bucket.bound - below.bound) * (wanted - below.count) / (bucket.count - below.count);
    }
    if (std::isfinite(bucket.bound)) below = bucket;
  }
  return below.bound;  // beyond the last bound: at least that
}

}  // namespace rawcache::metrics
