// Get or fetch: what lookup_or_load asks the caller's own source for.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "rawcache/async.h"
#include "rawcache/options.h"
#include "rawcache/result.h"

namespace rawcache {

/// What a loader found: the value, and how to store it.
struct Loaded {
  template <typename Bytes>
    requires std::convertible_to<Bytes, OwnedBytes>
  Loaded(Bytes&& bytes, std::optional<StoreOptions> how = std::nullopt)  // NOLINT: implicit
      : value(std::forward<Bytes>(bytes)), options(how) {}

  OwnedBytes value;
  /// As LoadOptions::store says, if not given.
  std::optional<StoreOptions> options;
  /// False: handed to those who wait for it, and not stored.
  bool store = true;
};

struct LoadOptions {
  /// How a loaded value is stored, if the loader does not say.
  StoreOptions store{};
  /// Wait until it is durable; otherwise it is stored as by store_buffered.
  bool durable = false;
};
static_assert(std::is_trivially_destructible_v<LoadOptions>);

/// Fetches one value. An error goes to everybody who waits for the key and is not remembered;
/// an exception becomes Errc::load_failed. It may call the cache, but not wait for its own key.
using Loader = std::function<Result<Loaded>(std::string_view key)>;

/// Fetches many: one result per key, in the order of the keys, which are distinct.
using BatchLoader =
    std::function<std::vector<Result<Loaded>>(std::span<const std::string_view> keys)>;

/// How the loader of an asynchronous call tells what it has found: once, from any thread, now or
/// later. Dropped without that: load_failed. After close it has no effect.
class LoadReply {
 public:
  class Target {
   public:
    virtual ~Target() = default;
    virtual void reply(Result<Loaded> loaded) = 0;
  };

  explicit LoadReply(std::shared_ptr<Target> target) : target_(std::move(target)) {}
  LoadReply(LoadReply&&) noexcept = default;
  LoadReply& operator=(LoadReply&& other) noexcept {
    if (this != &other) {
      drop();
      target_ = std::move(other.target_);
    }
    return *this;
  }
  ~LoadReply() { drop(); }

  void operator()(Result<Loaded> loaded) {
    if (const auto target = std::exchange(target_, nullptr)) target->reply(std::move(loaded));
  }

 private:
  void drop() {
    if (target_) (*this)(std::unexpected(Error(Errc::load_failed, "the loader gave no reply")));
  }
  std::shared_ptr<Target> target_;
};

/// Begins to fetch one value and replies later. Called where callbacks are; must not block.
using AsyncLoader = std::move_only_function<void(std::string_view key, LoadReply reply)>;

}  // namespace rawcache
