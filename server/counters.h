// What the server counts while it runs; stats.h is what others see of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/histogram.h"
#include "base/latency_stats.h"
#include "server/stats.h"

namespace rawcache::server {

/// A counter of one run, or of all of them.
template <typename Number>
struct CommandCounts {
  Number cmd_get{0}, get_hits{0}, get_misses{0};
  Number cmd_set{0};
  Number cmd_touch{0}, touch_hits{0}, touch_misses{0};
  Number delete_hits{0}, delete_misses{0};
  Number incr_hits{0}, incr_misses{0};
  Number decr_hits{0}, decr_misses{0};
  Number cas_hits{0}, cas_misses{0}, cas_badval{0};
  Number cmd_flush{0}, cmd_meta{0};
  Number auth_cmds{0}, auth_errors{0};
  Number store_too_large{0}, store_no_memory{0};
  Number errors{0};

  /// Calls `visit(mine, theirs)` for every counter and the one of the same name in `other`.
  template <typename Other, typename Visit>
  void each(Other& other, Visit visit) {
    visit(cmd_get, other.cmd_get);
    visit(get_hits, other.get_hits);
    visit(get_misses, other.get_misses);
    visit(cmd_set, other.cmd_set);
    visit(cmd_touch, other.cmd_touch);
    visit(touch_hits, other.touch_hits);
    visit(touch_misses, other.touch_misses);
    visit(delete_hits, other.delete_hits);
    visit(delete_misses, other.delete_misses);
    visit(incr_hits, other.incr_hits);
    visit(incr_misses, other.incr_misses);
    visit(decr_hits, other.decr_hits);
    visit(decr_misses, other.decr_misses);
    visit(cas_hits, other.cas_hits);
    visit(cas_misses, other.cas_misses);
    visit(cas_badval, other.cas_badval);
    visit(cmd_flush, other.cmd_flush);
    visit(cmd_meta, other.cmd_meta);
    visit(auth_cmds, other.auth_cmds);
    visit(auth_errors, other.auth_errors);
    visit(store_too_large, other.store_too_large);
    visit(store_no_memory, other.store_no_memory);
    visit(errors, other.errors);
  }
};
using RunCounts = CommandCounts<std::uint64_t>;

struct Counters {
  CommandCounts<std::atomic<std::uint64_t>> commands;
  std::atomic<std::uint64_t> connections{0}, connections_accepted{0}, connections_rejected{0},
      connections_idled{0}, output_stalls{0}, bytes_read{0}, bytes_written{0}, runs{0}, requests{0};
  Histogram get_latency, write_latency;  ///< nanoseconds

  void add(RunCounts& run) {
    commands.each(run, [](std::atomic<std::uint64_t>& all, std::uint64_t mine) {
      if (mine != 0) all.fetch_add(mine, std::memory_order_relaxed);
    });
  }
  void fill(ServerStats& stats) {
    commands.each(stats, [](std::atomic<std::uint64_t>& all, std::uint64_t& seen) {
      seen = all.load(std::memory_order_relaxed);
    });
    stats.connections = connections.load(std::memory_order_relaxed);
    stats.connections_accepted = connections_accepted.load(std::memory_order_relaxed);
    stats.connections_rejected = connections_rejected.load(std::memory_order_relaxed);
    stats.connections_idled = connections_idled.load(std::memory_order_relaxed);
    stats.output_stalls = output_stalls.load(std::memory_order_relaxed);
    stats.bytes_read = bytes_read.load(std::memory_order_relaxed);
    stats.bytes_written = bytes_written.load(std::memory_order_relaxed);
    stats.runs = runs.load(std::memory_order_relaxed);
    stats.requests = requests.load(std::memory_order_relaxed);
    stats.get_latency = latency_stats(get_latency);
    stats.write_latency = latency_stats(write_latency);
  }
};

}  // namespace rawcache::server
