#include "server/server_fields.h"

namespace rawcache::server {

namespace {

using enum metrics::Kind;
using metrics::StatsGroup;
using metrics::Unit::bytes;
using metrics::Unit::count;
using metrics::Unit::nanoseconds;

StatsGroup connections(const ServerStats& s) {
  return {"Connections",
          false,
          {{"connections", gauge, count, "Connections open", s.connections},
           {"connections_max", gauge, count, "Connections that may be open", s.connections_max},
           {"connections_accepted", counter, count, "Connections accepted", s.connections_accepted},
           {"connections_rejected", counter, count, "Connections refused, too many being open",
            s.connections_rejected},
           {"connections_idled", counter, count, "Connections closed because nothing moved",
            s.connections_idled},
           {"buffer_bytes", gauge, bytes, "Memory of connections' buffers", s.buffer_bytes},
           {"buffer_bytes_max", gauge, bytes, "Limit of that memory", s.buffer_bytes_max},
           {"output_stalls", counter, count, "Waits for clients to take their replies",
            s.output_stalls},
           {"received_bytes", counter, bytes, "Bytes read from clients", s.bytes_read},
           {"sent_bytes", counter, bytes, "Bytes written to clients", s.bytes_written},
           {"runs", counter, count, "Pieces of work handed to the workers", s.runs},
           {"requests", counter, count, "Commands in them", s.requests}}};
}

StatsGroup commands(const ServerStats& s) {
  return {
      "Commands",
      false,
      {{"cmd_get", counter, count, "Keys asked for", s.cmd_get},
       {"get_hits", counter, count, "Keys asked for and found", s.get_hits},
       {"get_misses", counter, count, "Keys asked for and not found", s.get_misses},
       {"cmd_set", counter, count, "Commands that store a value", s.cmd_set},
       {"cmd_touch", counter, count, "Touches", s.cmd_touch},
       {"touch_hits", counter, count, "Touches of keys that were there", s.touch_hits},
       {"touch_misses", counter, count, "Touches of keys that were not", s.touch_misses},
       {"delete_hits", counter, count, "Deletes of keys that were there", s.delete_hits},
       {"delete_misses", counter, count, "Deletes of keys that were not", s.delete_misses},
       {"incr_hits", counter, count, "Increments of keys that were there", s.incr_hits},
       {"incr_misses", counter, count, "Increments of keys that were not", s.incr_misses},
       {"decr_hits", counter, count, "Decrements of keys that were there", s.decr_hits},
       {"decr_misses", counter, count, "Decrements of keys that were not", s.decr_misses},
       {"cas_hits", counter, count, "Conditional stores that were made", s.cas_hits},
       {"cas_misses", counter, count, "Conditional stores of absent keys", s.cas_misses},
       {"cas_badval", counter, count, "Conditional stores that came too late", s.cas_badval},
       {"cmd_flush", counter, count, "Commands that clear the cache", s.cmd_flush},
       {"cmd_meta", counter, count, "Meta commands", s.cmd_meta},
       {"auth_cmds", counter, count, "Authentications", s.auth_cmds},
       {"auth_errors", counter, count, "Authentications that failed", s.auth_errors},
       {"store_too_large", counter, count, "Values refused as too large", s.store_too_large},
       {"store_no_memory", counter, count, "Values refused for want of memory", s.store_no_memory},
       {"errors", counter, count, "Commands answered with an error", s.errors},
       {"get_latency", counter, nanoseconds, "Runs of commands that only read", s.get_latency},
       {"write_latency", counter, nanoseconds, "Runs of commands that write", s.write_latency}}};
}

}  // namespace

std::vector<StatsGroup> server_groups(const ServerStats& stats) {
  return {connections(stats), commands(stats)};
}

}  // namespace rawcache::server
