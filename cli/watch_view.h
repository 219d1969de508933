// What changed in a server between two looks at its metrics: as a screen, a line, or JSON. Pure.
#pragma once

#include <optional>
#include <string>

#include "metrics/json.h"
#include "metrics/prometheus_reader.h"

namespace rawcache::cli {

/// Two looks at the metrics of one server, and the time between them. Without a first look,
/// `before` being empty, it is all that happened since the server's start.
class WatchedInterval {
 public:
  WatchedInterval(const metrics::Samples& before, const metrics::Samples& after, double seconds)
      : before_(before), after_(after), seconds_(seconds) {}

  double seconds() const { return seconds_; }
  bool since_start() const { return before_.empty(); }
  /// As of the second look; 0 if it is not told.
  double value(std::string_view name) const;
  /// How much a counter grew; and that per second.
  double growth(std::string_view counter) const;
  double rate(std::string_view counter) const;
  /// How much one counter grew for each one that the other did. Nothing if that stood still.
  std::optional<double> growth_ratio(std::string_view part, std::string_view whole) const;
  std::optional<double> window_hit_ratio(unsigned seconds) const;
  std::optional<double> percentile(std::string_view histogram, double share) const;
  std::string label(std::string_view family, std::string_view label) const;

 private:
  const metrics::Samples& before_;
  const metrics::Samples& after_;
  double seconds_;
};

/// Whether the second look is at a process that was started after the first.
bool restarted(const metrics::Samples& before, const metrics::Samples& after);

/// Many lines, less than 80 columns each.
std::string watch_screen(const std::string& source, const WatchedInterval& interval);
/// The names over the columns of watch_line.
std::string watch_header();
std::string watch_line(const WatchedInterval& interval);
/// Fields of the object that is open.
void write_watch(metrics::JsonWriter& json, const WatchedInterval& interval);

}  // namespace rawcache::cli
