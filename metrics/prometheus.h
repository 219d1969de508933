// The Prometheus text format 0.0.4, made from lists of statistics. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metrics/stats_fields.h"

namespace rawcache::metrics {

inline constexpr const char* kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families one after another; the caller sees to it that no name comes twice.
class PrometheusText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  enum class Type : std::uint8_t { counter, gauge, histogram };
  void begin_family(std::string_view name, Type type, std::string_view help);
  /// A sample of the family that was begun last; names and label names are taken as they are.
  void sample(std::string_view name, const Labels& labels, double value);
  void sample(std::string_view name, const Labels& labels, std::uint64_t value);

  /// Families of one sample without labels, named `<prefix>_<name>` with the endings that
  /// Prometheus expects: counters `_total`, times in seconds, latencies as histograms with a bound
  /// at every power of two. Fields that are derived are left out.
  void fields(std::string_view prefix, const std::vector<StatsGroup>& groups);

  std::string take() { return std::exchange(text_, {}); }

 private:
  void histogram(const std::string& name, std::string_view help, const LatencyStats& latency);
  void begin_sample(std::string_view name, const Labels& labels);

  std::string text_;
};

}  // namespace rawcache::metrics
