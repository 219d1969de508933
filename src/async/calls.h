// The calls that carry more than a key.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/flights.h"
#include "rawcache/async.h"
#include "rawcache/load.h"
#include "rawcache/options.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache {

using LookupCall = detail::CallOf<Result<Value>>;
using ContainsCall = detail::CallOf<Result<bool>>;
using FlushCall = detail::CallOf<Result<std::uint64_t>>;
using PlainCall = detail::CallOf<Result<void>>;  ///< clear, maintain, train_dictionary

struct BatchCall final : detail::CallOf<std::vector<Result<Value>>> {
  using CallOf::CallOf;
  void fail(const Error& error) override {
    result.emplace(keys.size(), Result<Value>(std::unexpected(error)));
  }
  std::vector<std::string> keys;
};

/// store, store_buffered, remove, remove_buffered.
struct WriteCall final : PlainCall {
  using CallOf::CallOf;
  OwnedBytes value;
  StoreOptions options;
};

/// update, update_buffered.
struct UpdateCall final : detail::CallOf<Result<Updated>> {
  using CallOf::CallOf;
  Updater updater;
};

/// touch, touch_buffered.
struct TouchCall final : PlainCall {
  using CallOf::CallOf;
  std::chrono::seconds ttl{};
};

struct ClearAtCall final : PlainCall {
  using CallOf::CallOf;
  std::int64_t unix_seconds = 0;
};

struct VisitCall final : PlainCall {
  using CallOf::CallOf;
  std::function<bool(const KeyInfo&)> each;
};

/// lookup_or_load: a lookup; if that misses, the loader is called where callbacks are; when it has
/// replied, what it has found is stored, and told.
struct LoadCall final : LookupCall {
  using CallOf::CallOf;
  AsyncLoader loader;
  LoadOptions options;
  std::shared_ptr<Flight> flight;        ///< that it leads
  std::optional<Result<Loaded>> loaded;  ///< the reply
};

inline bool is_read(Verb verb) { return verb <= Verb::lookup_or_load; }
/// What takes long and waits for nobody's order.
inline bool is_at_leisure(Verb verb) { return verb >= Verb::maintain; }
inline bool is_entry_write(Verb verb) {
  return verb >= Verb::store && verb <= Verb::remove_buffered;
}

}  // namespace rawcache
