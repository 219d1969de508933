// stats: under memcached's names what has its meaning, and under `stats rawcache` everything.
#include <sys/resource.h>
#include <unistd.h>

#include "server/executor.h"
#include "server/server_fields.h"

namespace rawcache::server {

namespace {

std::string seconds_of(const timeval& time) {
  const std::string micros = std::to_string(time.tv_usec);
  return std::to_string(time.tv_sec) + "." + std::string(6 - micros.size(), '0') + micros;
}

}  // namespace

void Executor::stat(std::string_view name, std::uint64_t value) {
  stat(name, std::to_string(value));
}

void Executor::stat(std::string_view name, std::string_view value) {
  out_.text("STAT ");
  out_.text(name);
  out_.text(" ");
  out_.text(value);
  out_.text("\r\n");
}

void Executor::send_stats(const Request& request) {
  std::string_view rest = request.value;
  const std::string_view what = take_word(rest);
  if (what == "reset") return out_.text("RESET\r\n");  // counters that Prometheus reads only grow
  if (what == "detail") {
    const std::string_view how = take_word(rest);
    if (how == "on" || how == "off") return out_.text("OK\r\n");
    if (how != "dump") return refuse("CLIENT_ERROR usage: stats detail on|off|dump");
  } else if (what.empty()) {
    send_general_stats();
  } else if (what == "settings") {
    send_settings();
  } else if (what == "rawcache") {
    send_all_stats();
  } else if (what == "sizes") {
    stat("sizes_status", "disabled");
  } else if (what == "slabs") {
    stat("active_slabs", 0);
    stat("total_malloced", 0);
  } else if (what != "items" && what != "conns" && what != "cachedump" && what != "extstore") {
    return refuse("ERROR");
  }
  out_.text("END\r\n");
}

void Executor::send_general_stats() {
  const ServerStats server = hub_.stats();
  const Stats cache = hub_.cache.stats();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  stat("pid", static_cast<std::uint64_t>(getpid()));
  stat("uptime", server.uptime_s);
  stat("time", static_cast<std::uint64_t>(now_));
  stat("version", kServerVersion);
  stat("pointer_size", 8 * sizeof(void*));
  stat("rusage_user", seconds_of(usage.ru_utime));
  stat("rusage_system", seconds_of(usage.ru_stime));
  stat("max_connections", server.connections_max);
  stat("curr_connections", server.connections);
  stat("total_connections", server.connections_accepted);
  stat("rejected_connections", server.connections_rejected);
  stat("connection_structures", server.connections);
  stat("cmd_get", server.cmd_get);
  stat("cmd_set", server.cmd_set);
  stat("cmd_flush", server.cmd_flush);
  stat("cmd_touch", server.cmd_touch);
  stat("cmd_meta", server.cmd_meta);
  stat("get_hits", server.get_hits);
  stat("get_misses", server.get_misses);
  stat("get_expired", cache.expired);
  stat("delete_misses", server.delete_misses);
  stat("delete_hits", server.delete_hits);
  stat("incr_misses", server.incr_misses);
  stat("incr_hits", server.incr_hits);
  stat("decr_misses", server.decr_misses);
  stat("decr_hits", server.decr_hits);
  stat("cas_misses", server.cas_misses);
  stat("cas_hits", server.cas_hits);
  stat("cas_badval", server.cas_badval);
  stat("touch_hits", server.touch_hits);
  stat("touch_misses", server.touch_misses);
  stat("store_too_large", server.store_too_large);
  stat("store_no_memory", server.store_no_memory);
  stat("auth_cmds", server.auth_cmds);
  stat("auth_errors", server.auth_errors);
  stat("bytes_read", server.bytes_read);
  stat("bytes_written", server.bytes_written);
  stat("limit_maxbytes", cache.capacity_bytes);
  stat("accepting_conns", std::uint64_t{server.connections < server.connections_max});
  stat("threads", hub_.options.loops);
  std::uint64_t bytes = 0;
  for (const SegmentInfo& segment : hub_.cache.segments()) bytes += segment.live_bytes;
  stat("bytes", bytes);
  stat("curr_items", cache.entries);
  stat("total_items", cache.stores + cache.buffered_stores);
  stat("evictions", cache.evicted);
}

void Executor::send_settings() {
  const ServerOptions& options = hub_.options;
  const auto yes_or_no = [](bool yes) { return std::string_view(yes ? "yes" : "no"); };
  stat("maxbytes", hub_.cache.stats().capacity_bytes);
  stat("maxconns", options.connections_max);
  stat("domain_socket", options.unix_path.empty() ? "NULL" : std::string_view(options.unix_path));
  stat("evictions", "on");
  stat("cas_enabled", "yes");
  stat("item_size_max", options.item_bytes_max);
  stat("num_threads", options.loops);
  stat("auth_enabled_ascii",
       options.auth_file.empty() ? "no" : std::string_view(options.auth_file));
  stat("flush_enabled", yes_or_no(options.flush_all_allowed));
  stat("shutdown_command", yes_or_no(options.shutdown_allowed));
  stat("idle_timeout", static_cast<std::uint64_t>(options.idle_timeout.count()));
  stat("output_limit", options.output_bytes_max);
  stat("connection_memory", options.memory_bytes_max);
  stat("durability", options.acknowledge == Acknowledge::sync ? "sync" : "buffered");
}

void Executor::send_all_stats() {
  const auto send = [this](const std::vector<metrics::StatsGroup>& groups) {
    for (const auto& group : groups) {
      for (const auto& field : group.fields) {
        if (const auto* number = std::get_if<std::uint64_t>(&field.value)) {
          stat(field.name, *number);
        } else if (const auto* share = std::get_if<double>(&field.value)) {
          stat(field.name, std::to_string(*share));
        } else {
          const auto& latency = std::get<LatencyStats>(field.value);
          stat(std::string(field.name) + "_p50_ns", latency.p50_ns);
          stat(std::string(field.name) + "_p99_ns", latency.p99_ns);
        }
      }
    }
  };
  send(metrics::stats_groups(hub_.cache.stats()));
  send(server_groups(hub_.stats()));
}

}  // namespace rawcache::server
