// Observer: the pages of the server's HTTP side. Counts nothing itself; asks, and writes it down.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/hit_windows.h"
#include "metrics/segment_picture.h"
#include "rawcache/stats.h"
#include "server/http_server.h"
#include "server/stats.h"

namespace rawcache::server {

/// Where the numbers come from; any thread may call these.
struct ObservedServer {
  std::function<Stats()> cache;
  std::function<std::vector<SegmentInfo>()> segments;
  std::function<ServerStats()> server;
  std::function<bool()> stopping;
};

/// One thread.
class Observer {
 public:
  explicit Observer(ObservedServer observed) : observed_(std::move(observed)) {}

  /// To be called about once a second, for the hit ratios.
  void sample();

  /// /, /live.css, /live.js, /metrics, /stats.json, /segments.json, /healthz; 404 for the rest.
  HttpResponse respond(std::string_view path);

 private:
  std::string metrics_text();
  std::string stats_json();
  std::string segments_json() const;
  HttpResponse health() const;

  const ObservedServer observed_;
  metrics::HitWindows windows_;
  std::uint64_t flush_failures_ = 0;
  std::chrono::steady_clock::time_point flush_failed_{};  ///< when they last became more
};

}  // namespace rawcache::server
