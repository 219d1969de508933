#include "server/observer.h"

#include <chrono>
#include <limits>

#include "base/version.h"
#include "metrics/prometheus.h"
#include "server/live_page.h"
#include "server/server_fields.h"

namespace rawcache::server {

namespace {

using metrics::HitWindows;
using metrics::JsonWriter;
using metrics::PrometheusText;

constexpr const char* kJson = "application/json";
/// Of the objects; grows when a field changes its meaning or goes.
constexpr int kJsonFormat = 1;
/// A flush that failed makes the server unhealthy for so long.
constexpr std::chrono::seconds kFlushTrouble{60};

}  // namespace

void Observer::sample() {
  const auto now = std::chrono::steady_clock::now();
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch());
  const ServerStats stats = observed_.server();
  windows_.add(static_cast<std::uint64_t>(ns.count()), stats.cmd_get, stats.get_hits);
  const std::uint64_t failures = observed_.cache().flush_failures;
  if (failures != flush_failures_) flush_failed_ = now;
  flush_failures_ = failures;
}

std::string Observer::metrics_text() {
  sample();
  PrometheusText text;
  const Stats cache = observed_.cache();
  const ServerStats server = observed_.server();
  text.begin_family("rawcache_build_info", PrometheusText::Type::gauge, "Version that is running");
  text.sample("rawcache_build_info", {{"version", kVersion}}, std::uint64_t{1});
  text.begin_family("rawcache_engine_info", PrometheusText::Type::gauge,
                    "How the device is used, and why not as wished");
  text.sample("rawcache_engine_info",
              {{"engine", cache.engine},
               {"direct", cache.direct ? "true" : "false"},
               {"fallback_reason", cache.fallback_reason}},
              std::uint64_t{1});
  text.begin_family("rawcache_server_uptime_seconds", PrometheusText::Type::gauge,
                    "Time since the server started");
  text.sample("rawcache_server_uptime_seconds", {}, server.uptime_s);
  text.begin_family("rawcache_server_hit_ratio", PrometheusText::Type::gauge,
                    "Keys found per key asked for within the window; NaN if none was");
  for (const unsigned seconds : HitWindows::kSeconds) {
    text.sample("rawcache_server_hit_ratio", {{"window", std::to_string(seconds) + "s"}},
                windows_.ratio(seconds).value_or(std::numeric_limits<double>::quiet_NaN()));
  }
  text.fields("rawcache", metrics::stats_groups(cache));
  text.fields("rawcache_server", server_groups(server));
  return text.take();
}

std::string Observer::stats_json() {
  sample();
  const Stats cache = observed_.cache();
  const ServerStats server = observed_.server();
  JsonWriter json;
  json.begin_object().field("format", kJsonFormat).field("version", kVersion);
  json.field("uptime_s", server.uptime_s);
  json.name("hit_ratio").begin_object();
  for (const unsigned seconds : HitWindows::kSeconds) {
    json.field(std::to_string(seconds),
               windows_.ratio(seconds).value_or(std::numeric_limits<double>::quiet_NaN()));
  }
  json.end_object();
  json.name("server").begin_object();
  metrics::write_fields(json, server_groups(server));
  json.end_object();
  json.name("cache").begin_object().field("engine", cache.engine).field("direct", cache.direct);
  json.field("fallback_reason", cache.fallback_reason);
  metrics::write_fields(json, metrics::stats_groups(cache));
  json.end_object().end_object();
  return json.take() + '\n';
}

std::string Observer::segments_json() const {
  JsonWriter json;
  json.begin_object().field("format", kJsonFormat);
  const auto picture =
      metrics::segment_picture(observed_.segments(), observed_.cache().segment_bytes);
  json.name("picture");
  metrics::write_picture(json, picture);
  json.end_object();
  return json.take() + '\n';
}

HttpResponse Observer::health() const {
  if (observed_.stopping()) return {.status = 503, .body = "stopping\n"};
  const auto now = std::chrono::steady_clock::now();
  if (flush_failures_ != 0 && now - flush_failed_ < kFlushTrouble) {
    return {.status = 503, .body = "flushes fail: what is stored is not durable\n"};
  }
  return {.body = "ok\n"};
}

HttpResponse Observer::respond(std::string_view path) {
  if (path == "/metrics") {
    return {.type = metrics::kPrometheusContentType, .body = metrics_text()};
  }
  if (path == "/stats.json") return {.type = kJson, .body = stats_json()};
  if (path == "/segments.json") return {.type = kJson, .body = segments_json()};
  if (path == "/healthz") return health();
  if (path == "/") return {.type = "text/html; charset=utf-8", .body = kLiveHtml};
  if (path == "/live.css") return {.type = "text/css; charset=utf-8", .body = kLiveCss};
  if (path == "/live.js") return {.type = "text/javascript; charset=utf-8", .body = kLiveJs};
  return {.status = 404, .body = "Not Found\n"};
}

}  // namespace rawcache::server
