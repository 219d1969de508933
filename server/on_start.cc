#include "server/on_start.h"

namespace rawcache::server {

namespace {

/// Others may have been given newer values only since the last write that came here, so its age is
/// what counts, not that of each entry.
bool is_too_old(const RawDiskCache& cache, std::chrono::seconds max_age,
                std::chrono::system_clock::time_point now) {
  const std::chrono::sys_seconds last{std::chrono::seconds(cache.stats().recovered_until)};
  return now - last > max_age;
}

}  // namespace

Result<void> apply_on_start(RawDiskCache& cache, OnStart policy, std::chrono::seconds max_age,
                            std::chrono::system_clock::time_point now) {
  const bool clear =
      policy == OnStart::flush || (policy == OnStart::max_age && is_too_old(cache, max_age, now));
  return clear ? cache.clear() : Result<void>();
}

}  // namespace rawcache::server
