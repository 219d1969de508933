// Hub: what all connections of a server share.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "rawcache/raw_disk_cache.h"
#include "server/access_table.h"
#include "server/auth.h"
#include "server/counters.h"
#include "server/expiry.h"
#include "server/memory_budget.h"
#include "server/options.h"
#include "server/worker_pool.h"

namespace rawcache::server {

struct Hub {
  Hub(RawDiskCache& the_cache, const ServerOptions& the_options, unsigned workers)
      : cache(the_cache),
        options(the_options),
        budget(the_options.memory_bytes_max),
        started(std::chrono::steady_clock::now()),
        pool(std::make_unique<WorkerPool>(workers)),
        writer(std::make_unique<WorkerPool>(1)) {}

  ServerStats stats() {
    ServerStats stats;
    counters.fill(stats);
    stats.connections_max = options.connections_max;
    stats.buffer_bytes = budget.used();
    stats.buffer_bytes_max = budget.bytes_max();
    stats.uptime_s = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started)
            .count());
    return stats;
  }

  RawDiskCache& cache;
  const ServerOptions& options;
  Counters counters;
  MemoryBudget budget;
  AccessTable accesses{unix_now()};
  Users users;
  const std::chrono::steady_clock::time_point started;
  std::function<void()> shut_down;  ///< what the command `shutdown` does
  std::unique_ptr<WorkerPool> pool;
  std::unique_ptr<WorkerPool> writer;  ///< one thread, for runs of stores
};

}  // namespace rawcache::server
