// ServerStats: a snapshot of everything the server counts.
#pragma once

#include <cstdint>

#include "rawcache/stats.h"

namespace rawcache::server {

/// Counters run from the server's start; gauges are of the moment.
struct ServerStats {
  std::uint64_t uptime_s = 0;

  // Connections.
  std::uint64_t connections = 0;           ///< open now
  std::uint64_t connections_max = 0;       ///< how many may be
  std::uint64_t connections_accepted = 0;  ///< in all
  std::uint64_t connections_rejected = 0;  ///< too many were open
  std::uint64_t connections_idled = 0;     ///< closed because nothing moved
  std::uint64_t buffer_bytes = 0;          ///< in buffers of connections
  std::uint64_t buffer_bytes_max = 0;
  std::uint64_t output_stalls = 0;  ///< times that reading stopped until a client took its replies

  // Traffic.
  std::uint64_t bytes_read = 0, bytes_written = 0;
  std::uint64_t runs = 0;      ///< pieces of work handed to the workers
  std::uint64_t requests = 0;  ///< commands in them

  // Commands: keys asked for, not lines.
  std::uint64_t cmd_get = 0, get_hits = 0, get_misses = 0;
  std::uint64_t cmd_set = 0;  ///< set, add, replace, append, prepend, cas, ms
  std::uint64_t cmd_touch = 0, touch_hits = 0, touch_misses = 0;
  std::uint64_t delete_hits = 0, delete_misses = 0;
  std::uint64_t incr_hits = 0, incr_misses = 0;
  std::uint64_t decr_hits = 0, decr_misses = 0;
  std::uint64_t cas_hits = 0, cas_misses = 0, cas_badval = 0;
  std::uint64_t cmd_flush = 0, cmd_meta = 0;
  std::uint64_t auth_cmds = 0, auth_errors = 0;
  std::uint64_t store_too_large = 0, store_no_memory = 0;
  std::uint64_t errors = 0;  ///< commands answered with ERROR, CLIENT_ERROR or SERVER_ERROR

  // Latencies, from the time at which a command was read to the time at which its reply was ready.
  LatencyStats get_latency;    ///< of a run that only reads
  LatencyStats write_latency;  ///< of a run that writes
};

}  // namespace rawcache::server
