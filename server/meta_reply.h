// The first line of a reply to a meta command: a code, and the flags that were asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/request.h"

namespace rawcache::server {

/// What the flags of a reply tell of an item.
struct MetaItem {
  std::uint64_t sequence = 0;
  std::uint32_t expires_at = 0;
  std::uint32_t flags = 0;
  std::size_t value_bytes = 0;
  bool asked_for = false;        ///< before
  std::int64_t last_access = 0;  ///< Unix time, seconds
  std::int64_t now = 0;          ///< likewise
  std::string_view marks = {};   ///< W, X, Z
};

/// The line with its end. Opaque and key are given back always, the rest if there is an item.
std::string with_flags(std::string code, const Request& request, const MetaItem* item);

}  // namespace rawcache::server
