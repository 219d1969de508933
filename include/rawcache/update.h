// Change, Updater, Updated: what RawDiskCache::update is told and tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "rawcache/options.h"
#include "rawcache/value.h"

namespace rawcache {

/// What becomes of an entry.
struct Change {
  enum class Kind : std::uint8_t {
    keep,    ///< nothing
    store,   ///< it gets this value
    remove,  ///< it goes; like keep if there is none
  };
  Kind kind = Kind::keep;
  /// store: the new value; may be (part of) the old one. Must stay as it is until the call returns.
  std::span<const std::byte> value;
  /// store: how; `when` and `sequence` mean nothing here.
  StoreOptions options;
  /// store: the entry keeps the time at which it expires, whatever options.ttl says.
  bool keep_expiry = false;
};

/// Says what becomes of an entry; `now` is what is under the key, null if there is nothing. May be
/// called several times, as often as somebody else writes the key meanwhile; the last call counts.
/// Must neither throw nor call the cache with the same key.
using Updater = std::function<Change(const Value* now)>;

/// What an update has done.
struct Updated {
  Change::Kind kind = Change::Kind::keep;
  std::uint64_t sequence = 0;    ///< of the write; 0: nothing was written
  std::uint32_t expires_at = 0;  ///< store: Unix time, seconds; 0: never
};

}  // namespace rawcache
