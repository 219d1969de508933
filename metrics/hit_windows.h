// HitWindows: the hit ratio of the last 10, 100 and 1000 seconds.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

namespace rawcache::metrics {

/// Fed with counters about once a second; keeps at most one sample for each. One thread.
class HitWindows {
 public:
  static constexpr std::array<unsigned, 3> kSeconds{10, 100, 1000};

  /// Counters as of `now_ns`, which never goes back; a sample less than half a second after the
  /// one before replaces it.
  void add(std::uint64_t now_ns, std::uint64_t lookups, std::uint64_t hits);

  /// Hits per lookup between the last sample and the oldest that is not older than `seconds`
  /// before it. Nothing if nothing was asked for meanwhile.
  std::optional<double> ratio(unsigned seconds) const;

 private:
  struct Sample {
    std::uint64_t at_ns = 0, lookups = 0, hits = 0;
  };
  std::deque<Sample> samples_;
};

}  // namespace rawcache::metrics
