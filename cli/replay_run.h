// One run of a trace through a cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cli/trace.h"
#include "rawcache/options.h"
#include "rawcache/stats.h"

namespace rawcache::cli {

struct ReplaySetup {
  std::uint64_t capacity =
      0;  ///< for entries, bytes as the trace counts them (unit sizes: objects)
  EvictionPolicyKind policy = EvictionPolicyKind::rc;
  double wa_cap = Options().wa_cap;
  Admission admission = Admission::all;
  double admission_percent = 5;    ///< wanted_again: of the capacity, in memory instead
  std::uint64_t memory_bytes = 0;  ///< of the memory tier
  std::uint32_t scale = 1;         ///< sizes and capacity are divided by this
  double restart_percent = 0;      ///< of the requests; closed and opened each time
  std::string path;                ///< file to replay on; empty: in memory
};

struct ReplayResult {
  std::uint64_t requests = 0, misses = 0;
  std::uint64_t bytes = 0, missed_bytes = 0;  ///< as the trace counts them
  /// Of the missed entries, as the cache counts them. After a restart this and `stats` begin anew.
  std::uint64_t put_bytes = 0;
  double seconds = 0;
  Stats stats;
  double miss_ratio() const { return double(misses) / double(requests); }
  double byte_miss_ratio() const { return double(missed_bytes) / double(bytes); }
  /// Bytes of entries that were appended to the log per byte that was missed and put.
  double log_bytes_per_put_byte() const {
    return put_bytes == 0
               ? 0
               : double(stats.appended_entry_bytes + stats.copied_bytes) / double(put_bytes);
  }
  /// Bytes that the device was given, checkpoints included, per byte that was missed and put.
  double device_bytes_per_put_byte() const {
    return put_bytes == 0 ? 0 : double(stats.device_written_bytes) / double(put_bytes);
  }
};

/// Get, and put on a miss, for every request. Errors: those of format and open; interrupted runs
/// end early. `progress` is told how many requests are done.
Result<ReplayResult> replay(const Trace& trace, const ReplaySetup& setup,
                            const std::function<void(std::uint64_t)>& progress);

}  // namespace rawcache::cli
