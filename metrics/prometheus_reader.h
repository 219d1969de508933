// Reads the Prometheus text that prometheus.h writes, for those who watch a server from outside.
// Pure functions.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace rawcache::metrics {

/// Values by name and labels as they are written: `rawcache_hits_total`, `x_bucket{le="0.5"}`.
using Samples = std::map<std::string, double, std::less<>>;

/// Comments, and lines that are no samples, are skipped.
Samples read_prometheus(std::string_view text);

/// The value of a label of the first sample of a family; empty if there is none. Escapes stay.
std::string label_of(const Samples& samples, std::string_view family, std::string_view label);

/// The value under which `share` of what a histogram counted between two snapshots lies, taking
/// what lies in one bucket to be spread evenly. Nothing if it counted nothing, or is not there.
std::optional<double> percentile(const Samples& before, const Samples& after,
                                 std::string_view histogram, double share);

}  // namespace rawcache::metrics
