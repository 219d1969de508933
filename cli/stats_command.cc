// stats: everything a cache counts, in groups.
#include <variant>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/text.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

namespace {

enum class Unit : std::uint8_t { count, bytes, share, rate, nanoseconds };

/// One line of the listing, and one field of the object: its name with underscores for spaces.
struct Line {
  const char* name;
  std::variant<std::uint64_t, double, LatencyStats> value;
  Unit unit = Unit::count;
};
struct Group {
  const char* title;
  std::vector<Line> lines;
};

std::vector<Group> state_groups(const Stats& s) {
  return {
      {"Content",
       {{"entries", s.entries},
        {"entries_max", s.entries_max},
        {"index_bytes", s.index_bytes, Unit::bytes},
        {"index_bytes_per_entry",
         s.entries == 0 ? 0.0 : static_cast<double>(s.index_bytes) / static_cast<double>(s.entries),
         Unit::rate},
        {"index_load", s.index_load, Unit::share},
        {"capacity_bytes", s.capacity_bytes, Unit::bytes},
        {"block_bytes", s.block_bytes, Unit::bytes},
        {"segment_bytes", s.segment_bytes, Unit::bytes},
        {"segments", s.segments},
        {"segments_free", s.segments_free},
        {"blocks_used", s.blocks_used},
        {"blocks_free", s.blocks_free},
        {"eviction_distance_bytes", s.eviction_distance_bytes, Unit::bytes}}},
      {"Write buffer",
       {{"pending_writes", s.pending_writes},
        {"in_flight_writes", s.in_flight_writes},
        {"flushes_in_flight", s.flushes_in_flight},
        {"buffered_bytes", s.buffered_bytes, Unit::bytes},
        {"buffer_bytes_max", s.buffer_bytes_max, Unit::bytes},
        {"buffer_utilisation", s.buffer_utilisation, Unit::share},
        {"buffer_memory_bytes", s.buffer_memory_bytes, Unit::bytes},
        {"flushes", s.flushes},
        {"flushed_writes", s.flushed_writes},
        {"flush_failures", s.flush_failures},
        {"background_flush_failures", s.background_flush_failures},
        {"batch_target_bytes", s.batch_target_bytes, Unit::bytes},
        {"measured_bytes_per_s", s.measured_bytes_per_s, Unit::bytes},
        {"measured_sync_ns", s.measured_sync_ns, Unit::nanoseconds},
        {"average_batch_operations", s.average_batch_operations, Unit::rate},
        {"flushes_per_second", s.flushes_per_second, Unit::rate}}},
      {"Recovery at this opening",
       {{"recovery_ns", s.recovery_ns, Unit::nanoseconds},
        {"recovery_read_bytes", s.recovery_read_bytes, Unit::bytes},
        {"recovery_payload_bytes", s.recovery_payload_bytes, Unit::bytes},
        {"recovery_batches_replayed", s.recovery_batches_replayed},
        {"recovery_entries_replayed", s.recovery_entries_replayed},
        {"recovery_segments_by_footer", s.recovery_segments_by_footer},
        {"recovery_segments_scanned", s.recovery_segments_scanned},
        {"checkpoints", s.checkpoints},
        {"checkpoint_failures", s.checkpoint_failures}}},
  };
}

std::vector<Group> activity_groups(const Stats& s) {
  return {
      {"Calls",
       {{"stores", s.stores},
        {"buffered_stores", s.buffered_stores},
        {"removes", s.removes},
        {"lookups", s.lookups},
        {"batches", s.batches},
        {"hits", s.hits},
        {"misses", s.misses},
        {"hit_ratio", s.hit_ratio(), Unit::share}}},
      {"Entries that left, by cause",
       {{"evicted", s.evicted},
        {"evicted_index_full", s.evicted_index_full},
        {"expired", s.expired},
        {"collisions", s.collisions},
        {"corruptions", s.corruptions},
        {"withdrawn", s.withdrawn}}},
      {"Bytes",
       {{"user_bytes_stored", s.user_bytes_stored, Unit::bytes},
        {"user_bytes_read", s.user_bytes_read, Unit::bytes},
        {"device_reads", s.device_reads},
        {"device_read_bytes", s.device_read_bytes, Unit::bytes},
        {"device_writes", s.device_writes},
        {"device_written_bytes", s.device_written_bytes, Unit::bytes},
        {"device_syncs", s.device_syncs},
        {"write_amplification", s.write_amplification(), Unit::rate},
        {"read_buffer_bytes", s.read_buffer_bytes, Unit::bytes},
        {"read_buffer_leased_bytes", s.read_buffer_leased_bytes, Unit::bytes},
        {"value_heap_bytes", s.value_heap_bytes, Unit::bytes}}},
      {"Latencies",
       {{"store_latency", s.store_latency},
        {"store_buffered_latency", s.store_buffered_latency},
        {"lookup_latency", s.lookup_latency},
        {"lookup_batch_latency", s.lookup_batch_latency},
        {"flush_latency", s.flush_latency}}},
  };
}

std::string latency_text(const LatencyStats& l) {
  if (l.count == 0) return "none yet";
  return "p50 " + format_nanoseconds(l.p50_ns) + ", p99 " + format_nanoseconds(l.p99_ns) +
         ", p99.9 " + format_nanoseconds(l.p999_ns) + ", max " + format_nanoseconds(l.max_ns) +
         " (" + format_count(l.count) + ")";
}

std::string value_text(const Line& line) {
  if (const auto* latency = std::get_if<LatencyStats>(&line.value)) return latency_text(*latency);
  if (const auto* number = std::get_if<double>(&line.value)) {
    return line.unit == Unit::share ? format_number(*number * 100, 1) + " %"
                                    : format_number(*number, 2);
  }
  const std::uint64_t count = std::get<std::uint64_t>(line.value);
  if (line.unit == Unit::bytes) return format_bytes(count);
  if (line.unit == Unit::nanoseconds) return format_nanoseconds(count);
  return format_count(count);
}

std::string label(std::string name, Unit unit) {
  const auto drop = [&name](std::string_view suffix) {
    if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  };
  if (unit == Unit::nanoseconds) drop("_ns");
  for (char& c : name) {
    if (c == '_') c = ' ';
  }
  return name;
}

void print_groups(const std::vector<Group>& groups) {
  for (const Group& group : groups) {
    print("\n" + bold(group.title) + "\n");
    Table table({Table::Align::left, Table::Align::left});
    for (const Line& line : group.lines) {
      std::string name = label(line.name, line.unit);
      name.resize(std::max<std::size_t>(name.size(), 28), ' ');
      table.add({std::move(name), value_text(line)});
    }
    print(table.str());
  }
}

void write_json(JsonWriter& json, const std::vector<Group>& groups) {
  for (const Group& group : groups) {
    for (const Line& line : group.lines) {
      json.name(line.name);
      if (const auto* l = std::get_if<LatencyStats>(&line.value)) {
        json.begin_object().field("count", l->count).field("mean_ns", l->mean_ns);
        json.field("p50_ns", l->p50_ns).field("p99_ns", l->p99_ns);
        json.field("p999_ns", l->p999_ns).field("max_ns", l->max_ns).end_object();
      } else if (const auto* number = std::get_if<double>(&line.value)) {
        json.value(*number);
      } else {
        json.value(std::get<std::uint64_t>(line.value));
      }
    }
  }
}

}  // namespace

int run_stats(const CommonArguments& arguments) {
  Options options;
  options.engine = arguments.engine;
  options.direct = arguments.direct;
  options.maintenance_thread = false;
  auto cache = RawDiskCache::open(arguments.path, std::move(options));
  if (!cache) return fail(cache.error(), arguments.json);
  const Stats stats = cache->stats();
  if (arguments.json) {
    JsonWriter json = begin_json("stats");
    json.field("path", arguments.path).field("counters_since", "this opening");
    json.field("engine", stats.engine).field("direct", stats.direct);
    json.field("fallback_reason", stats.fallback_reason);
    write_json(json, state_groups(stats));
    write_json(json, activity_groups(stats));
    end_json(json);
    return kExitOk;
  }
  print(bold(escape(arguments.path)) + "  " + stats.engine +
        (stats.direct ? ", O_DIRECT" : ", through the page cache") + "\n");
  if (!stats.fallback_reason.empty()) print("  because: " + stats.fallback_reason + "\n");
  print_groups(state_groups(stats));
  print(
      "\nThe rest counts what happened since the cache was opened, here a moment ago; a program\n"
      "that keeps its cache open sees its own through RawDiskCache::stats().\n");
  print_groups(activity_groups(stats));
  return kExitOk;
}

}  // namespace rawcache::cli
