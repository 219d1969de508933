// stats: everything a cache counts, in groups.
#include <variant>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/text.h"
#include "metrics/stats_fields.h"
#include "rawcache/raw_disk_cache.h"
#include "server/http_client.h"

namespace rawcache::cli {

namespace {

using metrics::StatsField;
using metrics::StatsGroup;
using metrics::Unit;

std::string latency_text(const LatencyStats& l) {
  if (l.count == 0) return "none yet";
  return "p50 " + format_nanoseconds(l.p50_ns) + ", p99 " + format_nanoseconds(l.p99_ns) +
         ", p99.9 " + format_nanoseconds(l.p999_ns) + ", max " + format_nanoseconds(l.max_ns) +
         " (" + format_count(l.count) + ")";
}

std::string value_text(const StatsField& field) {
  if (const auto* latency = std::get_if<LatencyStats>(&field.value)) return latency_text(*latency);
  if (const auto* number = std::get_if<double>(&field.value)) {
    return field.unit == Unit::share ? format_number(*number * 100, 1) + " %"
                                     : format_number(*number, 2);
  }
  const std::uint64_t count = std::get<std::uint64_t>(field.value);
  if (field.unit == Unit::bytes) return format_bytes(count);
  if (field.unit == Unit::nanoseconds) return format_nanoseconds(count);
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

void print_groups(const std::vector<StatsGroup>& groups, bool lasting) {
  for (const StatsGroup& group : groups) {
    if (group.lasting != lasting) continue;
    print("\n" + bold(group.title) + "\n");
    Table table({Table::Align::left, Table::Align::left});
    for (const StatsField& field : group.fields) {
      std::string name = label(field.name, field.unit);
      name.resize(std::max<std::size_t>(name.size(), 28), ' ');
      table.add({std::move(name), value_text(field)});
    }
    print(table.str());
  }
}

}  // namespace

int run_stats(const StatsArguments& arguments) {
  if (arguments.watch || server::is_http_address(arguments.path)) return run_watch(arguments);
  Options options;
  options.engine = arguments.engine;
  options.direct = arguments.direct;
  options.maintenance_thread = false;
  auto cache = RawDiskCache::open(arguments.path, std::move(options));
  if (!cache) return fail(cache.error(), arguments.json);
  const Stats stats = cache->stats();
  const std::vector<StatsGroup> groups = metrics::stats_groups(stats);
  if (arguments.json) {
    JsonWriter json = begin_json("stats");
    json.field("path", arguments.path).field("counters_since", "this opening");
    json.field("engine", stats.engine).field("direct", stats.direct);
    json.field("fallback_reason", stats.fallback_reason);
    metrics::write_fields(json, groups);
    end_json(json);
    return kExitOk;
  }
  print(bold(escape(arguments.path)) + "  " + stats.engine +
        (stats.direct ? ", O_DIRECT" : ", through the page cache") + "\n");
  if (!stats.fallback_reason.empty()) print("  because: " + stats.fallback_reason + "\n");
  print_groups(groups, true);
  print(
      "\nThe rest counts what happened since the cache was opened, here a moment ago; a program\n"
      "that keeps its cache open sees its own through RawDiskCache::stats().\n");
  print_groups(groups, false);
  return kExitOk;
}

}  // namespace rawcache::cli
