// Every field of Stats with its name, unit and meaning: the one list that the listing, the JSON
// object and the Prometheus text are made from.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "metrics/json.h"
#include "rawcache/stats.h"

namespace rawcache::metrics {

enum class Kind : std::uint8_t {
  counter,  ///< since open; never goes down
  gauge,    ///< of the moment
  derived,  ///< follows from others; left out where a reader calculates itself
};

enum class Unit : std::uint8_t { count, bytes, share, ratio, nanoseconds };

struct StatsField {
  const char* name;  ///< as in Stats
  Kind kind;
  Unit unit;
  const char* help;  ///< one line, no full stop
  std::variant<std::uint64_t, double, LatencyStats> value;
};

struct StatsGroup {
  const char* title;
  bool lasting;  ///< of the cache itself or of its opening, not of what it was asked since
  std::vector<StatsField> fields;
};

std::vector<StatsGroup> stats_groups(const Stats& stats);

/// One field per field into the object that is open.
void write_fields(JsonWriter& json, const std::vector<StatsGroup>& groups);

/// {"count": ..., "mean_ns": ..., "p50_ns": ..., "below": [...]}
void write_latency(JsonWriter& json, const LatencyStats& latency);

}  // namespace rawcache::metrics
