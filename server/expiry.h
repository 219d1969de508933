// How memcached means its expiry times.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace rawcache::server {

/// Times up to here are seconds from now, later ones are Unix time.
inline constexpr std::int64_t kRelativeSecondsMax = 60 * 60 * 24 * 30;

/// StoreOptions::ttl for an exptime; nothing: the entry has expired already.
inline std::optional<std::chrono::seconds> ttl_of(std::int64_t exptime, std::int64_t now) {
  if (exptime == 0) return std::chrono::seconds(-1);
  if (exptime < 0) return std::nullopt;
  if (exptime > kRelativeSecondsMax) {
    if (exptime <= now) return std::nullopt;
    exptime -= now;
  }
  return std::chrono::seconds(exptime);
}

inline std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace rawcache::server
