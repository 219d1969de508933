#include "cli/watch_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cli/output.h"
#include "cli/text.h"
#include "metrics/hit_windows.h"

namespace rawcache::cli {

namespace {

using metrics::Samples;
using Align = Table::Align;

struct Named {
  const char* name;
  const char* metric;
};

constexpr const char* kGets = "rawcache_server_cmd_get_total";
constexpr const char* kHits = "rawcache_server_get_hits_total";
constexpr const char* kSets = "rawcache_server_cmd_set_total";
constexpr const char* kReadBytes = "rawcache_device_read_bytes_total";
constexpr const char* kWrittenBytes = "rawcache_device_written_bytes_total";
constexpr const char* kStoredBytes = "rawcache_user_bytes_stored_total";

/// Counters that are shown as rates.
constexpr std::array kRates{
    Named{"gets", kGets},
    Named{"hits", kHits},
    Named{"misses", "rawcache_server_get_misses_total"},
    Named{"sets", kSets},
    Named{"requests", "rawcache_server_requests_total"},
    Named{"errors", "rawcache_server_errors_total"},
    Named{"evicted", "rawcache_evicted_total"},
    Named{"evicted_index_full", "rawcache_evicted_index_full_total"},
    Named{"device_reads", "rawcache_device_reads_total"},
    Named{"device_read_bytes", kReadBytes},
    Named{"device_writes", "rawcache_device_writes_total"},
    Named{"device_written_bytes", kWrittenBytes},
    Named{"device_syncs", "rawcache_device_syncs_total"},
    Named{"received_bytes", "rawcache_server_received_bytes_total"},
    Named{"sent_bytes", "rawcache_server_sent_bytes_total"},
};

constexpr std::array kLatencies{
    Named{"get", "rawcache_server_get_latency_seconds"},
    Named{"write", "rawcache_server_write_latency_seconds"},
    Named{"flush", "rawcache_flush_latency_seconds"},
    Named{"lookup", "rawcache_lookup_latency_seconds"},
    Named{"lookup_batch", "rawcache_lookup_batch_latency_seconds"},
};

/// Values of the moment, or since the start.
constexpr std::array kValues{
    Named{"uptime_s", "rawcache_server_uptime_seconds"},
    Named{"connections", "rawcache_server_connections"},
    Named{"connections_max", "rawcache_server_connections_max"},
    Named{"entries", "rawcache_entries"},
    Named{"entries_max", "rawcache_entries_max"},
    Named{"segments", "rawcache_segments"},
    Named{"segments_free", "rawcache_segments_free"},
    Named{"index_bytes", "rawcache_index_bytes"},
    Named{"pending_writes", "rawcache_pending_writes"},
    Named{"in_flight_writes", "rawcache_in_flight_writes"},
    Named{"buffered_bytes", "rawcache_buffered_bytes"},
    Named{"flush_failures", "rawcache_flush_failures_total"},
    Named{"corruptions", "rawcache_corruptions_total"},
};

constexpr std::array kShares{0.5, 0.99, 0.999};

std::uint64_t whole(double number) {
  return number >= 0 && number < 0x1p63 ? static_cast<std::uint64_t>(std::llround(number)) : 0;
}
std::string count_text(double number) { return format_count(whole(number)); }
std::string bytes_text(double number) { return format_bytes(whole(number)); }
std::string share_text(std::optional<double> share) {
  return share ? format_number(*share * 100, 1) + " %" : "-";
}
std::string ratio_text(std::optional<double> ratio) {
  return ratio ? format_number(*ratio, 2) : "-";
}
std::string time_text(std::optional<double> seconds) {
  return seconds ? format_nanoseconds(whole(*seconds * 1e9)) : "-";
}
std::string duration_text(std::uint64_t s) {
  const auto part = [](std::uint64_t n, const char* unit) { return std::to_string(n) + unit; };
  if (s >= 86'400) return part(s / 86'400, " d ") + part(s / 3600 % 24, " h");
  if (s >= 3600) return part(s / 3600, " h ") + part(s / 60 % 60, " min");
  return s >= 60 ? part(s / 60, " min") : part(s, " s");
}

std::string heading(const std::string& source, const WatchedInterval& interval) {
  const bool direct = interval.label("rawcache_engine_info", "direct") == "true";
  return bold(escape(source)) + "  " + interval.label("rawcache_build_info", "version") + ", " +
         interval.label("rawcache_engine_info", "engine") +
         (direct ? ", O_DIRECT" : ", through the page cache") + ", up " +
         duration_text(whole(interval.value("rawcache_server_uptime_seconds"))) + "\n";
}

/// Which time the figures of the screen are about.
std::string period(const WatchedInterval& interval) {
  return interval.since_start() ? "since the start"
                                : "last " + format_number(interval.seconds(), 1) + " s";
}

std::string hit_ratios(const WatchedInterval& interval) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right});
  std::vector<std::string> names{"", period(interval)}, values{"Hit ratio"};
  values.push_back(share_text(interval.growth_ratio(kHits, kGets)));
  for (const unsigned seconds : metrics::HitWindows::kSeconds) {
    names.push_back(std::to_string(seconds) + " s");
    values.push_back(share_text(interval.window_hit_ratio(seconds)));
  }
  table.add(names);
  table.add(values);
  return table.str();
}

std::string throughput(const WatchedInterval& interval) {
  Table table({Align::left, Align::right, Align::right, Align::left, Align::right, Align::right});
  const auto calls = [&](const char* metric) { return count_text(interval.rate(metric)); };
  const auto bytes = [&](const char* metric) { return bytes_text(interval.rate(metric)); };
  table.add({"Gets", calls(kGets), "", "Device reads", calls("rawcache_device_reads_total"),
             bytes(kReadBytes)});
  table.add({"Sets", calls(kSets), "", "Device writes", calls("rawcache_device_writes_total"),
             bytes(kWrittenBytes)});
  table.add({"Evicted", calls("rawcache_evicted_total"), "", "Device syncs",
             calls("rawcache_device_syncs_total"), ""});
  table.add({"From clients", "", bytes("rawcache_server_received_bytes_total"), "To clients", "",
             bytes("rawcache_server_sent_bytes_total")});
  return table.str();
}

std::string latencies(const WatchedInterval& interval) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right});
  table.add({"Latency", "p50", "p99", "p99.9", "per second"});
  for (const Named& latency : kLatencies) {
    std::string name = latency.name;
    std::ranges::replace(name, '_', ' ');
    std::vector<std::string> cells{"  " + name};
    for (const double share : kShares) {
      cells.push_back(time_text(interval.percentile(latency.metric, share)));
    }
    cells.push_back(count_text(interval.rate(std::string(latency.metric) + "_count")));
    table.add(std::move(cells));
  }
  return table.str();
}

std::optional<double> amplification_since_start(const WatchedInterval& interval) {
  const double stored = interval.value(kStoredBytes);
  return stored > 0 ? std::optional(interval.value(kWrittenBytes) / stored) : std::nullopt;
}

std::string state(const WatchedInterval& interval) {
  const auto of = [&](const char* part, const char* all) {
    return count_text(interval.value(part)) + " of " + count_text(interval.value(all));
  };
  const double used =
      interval.value("rawcache_segments") - interval.value("rawcache_segments_free");
  const double waiting =
      interval.value("rawcache_pending_writes") + interval.value("rawcache_in_flight_writes");
  Table table({Align::left, Align::left});
  table.add({"Write amplification", ratio_text(interval.growth_ratio(kWrittenBytes, kStoredBytes)) +
                                        ", since the start " +
                                        ratio_text(amplification_since_start(interval))});
  table.add({"Waiting for a flush",
             count_text(waiting) + " (" + bytes_text(interval.value("rawcache_buffered_bytes")) +
                 "), failed flushes " +
                 count_text(interval.value("rawcache_flush_failures_total"))});
  table.add({"Entries", of("rawcache_entries", "rawcache_entries_max") + ", index " +
                            bytes_text(interval.value("rawcache_index_bytes"))});
  table.add({"Segments in use",
             count_text(used) + " of " + count_text(interval.value("rawcache_segments"))});
  table.add({"Connections", of("rawcache_server_connections", "rawcache_server_connections_max")});
  return table.str();
}

/// Right-aligned cells of a line that scrolls by.
std::string cells(const std::vector<std::string>& texts) {
  constexpr std::array<std::size_t, 9> kWidths{8, 8, 10, 10, 11, 11, 6, 9, 9};
  std::string line;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::size_t width = kWidths[std::min(i, kWidths.size() - 1)];
    line += std::string(width - std::min(width - 1, texts[i].size()), ' ') + texts[i];
  }
  return line + "\n";
}

double or_nan(std::optional<double> number) {
  return number.value_or(std::numeric_limits<double>::quiet_NaN());
}

}  // namespace

double WatchedInterval::value(std::string_view name) const {
  const auto found = after_.find(name);
  return found == after_.end() ? 0.0 : found->second;
}

double WatchedInterval::growth(std::string_view counter) const {
  const auto found = before_.find(counter);
  return value(counter) - (found == before_.end() ? 0.0 : found->second);
}

double WatchedInterval::rate(std::string_view counter) const {
  return seconds_ > 0 ? growth(counter) / seconds_ : 0.0;
}

std::optional<double> WatchedInterval::growth_ratio(std::string_view part,
                                                    std::string_view all) const {
  const double growth_of_all = growth(all);
  return growth_of_all > 0 ? std::optional(growth(part) / growth_of_all) : std::nullopt;
}

std::optional<double> WatchedInterval::window_hit_ratio(unsigned seconds) const {
  const auto found =
      after_.find("rawcache_server_hit_ratio{window=\"" + std::to_string(seconds) + "s\"}");
  if (found == after_.end() || std::isnan(found->second)) return std::nullopt;
  return found->second;
}

std::optional<double> WatchedInterval::percentile(std::string_view histogram, double share) const {
  return metrics::percentile(before_, after_, histogram, share);
}

std::string WatchedInterval::label(std::string_view family, std::string_view label) const {
  return escape(metrics::label_of(after_, family, label));
}

bool restarted(const Samples& before, const Samples& after) {
  constexpr std::string_view kUptime = "rawcache_server_uptime_seconds";
  const auto then = before.find(kUptime), now = after.find(kUptime);
  return then != before.end() && now != after.end() && now->second < then->second;
}

std::string watch_screen(const std::string& source, const WatchedInterval& interval) {
  return heading(source, interval) + "\n" + hit_ratios(interval) + "\n  Per second, " +
         period(interval) + "\n" + throughput(interval) + "\n" + latencies(interval) + "\n" +
         state(interval);
}

std::string watch_header() {
  return cells(
      {"hit", "hit100s", "gets/s", "sets/s", "read/s", "write/s", "WA", "get p50", "get p99"});
}

std::string watch_line(const WatchedInterval& interval) {
  constexpr const char* kGetLatency = kLatencies.front().metric;
  return cells({share_text(interval.growth_ratio(kHits, kGets)),
                share_text(interval.window_hit_ratio(100)), count_text(interval.rate(kGets)),
                count_text(interval.rate(kSets)), bytes_text(interval.rate(kReadBytes)),
                bytes_text(interval.rate(kWrittenBytes)),
                ratio_text(interval.growth_ratio(kWrittenBytes, kStoredBytes)),
                time_text(interval.percentile(kGetLatency, 0.5)),
                time_text(interval.percentile(kGetLatency, 0.99))});
}

void write_watch(metrics::JsonWriter& json, const WatchedInterval& interval) {
  json.field("interval_s", interval.seconds());
  json.field("version", interval.label("rawcache_build_info", "version"));
  json.field("engine", interval.label("rawcache_engine_info", "engine"));
  json.name("hit_ratio").begin_object();
  json.field("interval", or_nan(interval.growth_ratio(kHits, kGets)));
  for (const unsigned seconds : metrics::HitWindows::kSeconds) {
    json.field(std::to_string(seconds), or_nan(interval.window_hit_ratio(seconds)));
  }
  json.end_object();
  json.name("per_second").begin_object();
  for (const Named& rate : kRates) json.field(rate.name, interval.rate(rate.metric));
  json.end_object();
  json.name("latency_s").begin_object();
  for (const Named& latency : kLatencies) {
    json.name(latency.name).begin_object();
    json.field("per_second", interval.rate(std::string(latency.metric) + "_count"));
    json.field("p50", or_nan(interval.percentile(latency.metric, kShares[0])));
    json.field("p99", or_nan(interval.percentile(latency.metric, kShares[1])));
    json.field("p999", or_nan(interval.percentile(latency.metric, kShares[2])));
    json.end_object();
  }
  json.end_object();
  json.name("write_amplification").begin_object();
  json.field("interval", or_nan(interval.growth_ratio(kWrittenBytes, kStoredBytes)));
  json.field("since_start", or_nan(amplification_since_start(interval))).end_object();
  for (const Named& value : kValues) json.field(value.name, whole(interval.value(value.metric)));
}

}  // namespace rawcache::cli
