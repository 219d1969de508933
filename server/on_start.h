// What a server does at its start with what earlier runs have left.
#pragma once

#include <chrono>

#include "rawcache/raw_disk_cache.h"
#include "server/options.h"

namespace rawcache::server {

/// Clears the cache, durably, if the policy says so. Before the server listens, so that nobody is
/// served what is to go. Errors: those of clear.
Result<void> apply_on_start(RawDiskCache& cache, OnStart policy, std::chrono::seconds max_age,
                            std::chrono::system_clock::time_point now);

}  // namespace rawcache::server
