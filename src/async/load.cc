// lookup_or_load: look up, board the flights of what is missing, load what nobody loads yet, store
// it unless it was written meanwhile, and tell everybody who waits.
#include <algorithm>
#include <exception>
#include <string>
#include <unordered_map>
#include <utility>

#include "async/async_impl.h"
#include "base/mutant.h"

namespace rawcache {
namespace {

/// What a thread waits for.
template <typename T>
class Landing {
 public:
  void set(T result) {
    MutexLock lock(mutex_);
    if (!result_) result_.emplace(std::move(result));
    set_.notify_one();
  }
  T wait() {
    MutexLock lock(mutex_);
    while (!result_) set_.wait(mutex_);
    return *result_;
  }

 private:
  Mutex mutex_;
  CondVar set_;
  std::optional<T> result_ GUARDED_BY(mutex_);
};

/// A cache that cannot read an entry is no reason not to ask for it where it comes from.
bool is_absent(const Result<Value>& result) {
  return !result && (result.error() == Errc::not_found || result.error() == Errc::io_error);
}

Error thrown(const char* what) { return {Errc::load_failed, what}; }

}  // namespace

// --- Blocking ---

struct RawDiskCache::Async::Absent {
  // Positions in the keys that were asked for.
  std::vector<std::size_t> led;
  std::vector<std::shared_ptr<Flight>> flights;  ///< of those
  std::vector<std::pair<std::size_t, std::shared_ptr<Landing<Result<Value>>>>> waiting;
  std::vector<std::pair<std::size_t, std::size_t>> repeated;  ///< and where the key came first
};

std::vector<Result<Value>> RawDiskCache::Async::lookup_or_load(
    std::span<const std::string_view> keys, const BatchLoader& loader, LoadOptions options) {
  std::vector<Result<Value>> results;
  if (keys.size() == 1) {
    results.push_back(impl_.lookup(keys[0]));
  } else {
    results = impl_.lookup_batch(keys);
  }
  Absent absent;
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!is_absent(results[i])) continue;
    if (const auto [first, is_new] = seen.try_emplace(keys[i], i); !is_new) {
      absent.repeated.emplace_back(i, first->second);
      continue;
    }
    auto landing = std::make_shared<Landing<Result<Value>>>();
    LoadWaiter waiter = [landing](const Result<Value>& value) { landing->set(value); };
    Flights::Boarding boarding = flights_.board(keys[i], waiter, std::this_thread::get_id());
    switch (boarding.role) {
      case Flights::Role::leader:
        absent.led.push_back(i);
        absent.flights.push_back(std::move(boarding.flight));
        break;
      case Flights::Role::waiter:
        load_waits_.add();
        absent.waiting.emplace_back(i, std::move(landing));
        break;
      case Flights::Role::own_load:
        results[i] = std::unexpected(Error(Errc::load_failed, "a loader waits for its own key"));
        break;
    }
  }
  // First what others may wait for: so nobody waits for somebody who waits.
  if (!absent.led.empty()) lead(keys, absent, loader, options, results);
  for (auto& [position, landing] : absent.waiting) results[position] = landing->wait();
  for (const auto& [position, first] : absent.repeated) results[position] = results[first];
  return results;
}

void RawDiskCache::Async::lead(std::span<const std::string_view> keys, Absent& absent,
                               const BatchLoader& loader, LoadOptions options,
                               std::vector<Result<Value>>& results) {
  std::vector<std::string_view> wanted;
  for (std::size_t i = 0; i < absent.led.size(); ++i) {
    wanted.push_back(keys[absent.led[i]]);
    impl_.begin_watch(wanted.back(), absent.flights[i]->watch);
  }
  // From here on writes are noticed; what was stored before is found now.
  std::vector<Result<Value>> found = impl_.find_values(wanted);
  wanted.clear();
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (is_absent(found[i]) || mutated(Mutant::kLoadLooksOnce)) {
      wanted.push_back(keys[absent.led[i]]);
      asked.push_back(i);
    } else {
      land_with(*absent.flights[i], found[i]);
      results[absent.led[i]] = std::move(found[i]);
    }
  }
  if (wanted.empty()) return;
  std::vector<Result<Loaded>> loaded = ask(loader, wanted);
  std::vector<Found> finds;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    finds.push_back({absent.flights[asked[i]].get(), std::move(loaded[i]), options});
  }
  std::vector<Result<Value>> values = land(std::move(finds));
  for (std::size_t i = 0; i < asked.size(); ++i) {
    results[absent.led[asked[i]]] = std::move(values[i]);
  }
}

std::vector<Result<Loaded>> RawDiskCache::Async::ask(const BatchLoader& loader,
                                                     std::span<const std::string_view> keys) {
  loads_.add(keys.size());
  const auto all_failed = [&](Error error) {
    return std::vector<Result<Loaded>>(keys.size(), std::unexpected(std::move(error)));
  };
  try {
    std::vector<Result<Loaded>> loaded = loader(keys);
    if (loaded.size() == keys.size()) return loaded;
    return all_failed({Errc::load_failed, "the loader gave " + std::to_string(loaded.size()) +
                                              " results for " + std::to_string(keys.size()) +
                                              " keys"});
  } catch (const std::exception& exception) {
    return all_failed(thrown(exception.what()));
  } catch (...) {
    return all_failed(thrown("the loader threw something"));
  }
}

// --- Landing ---

std::vector<Result<Value>> RawDiskCache::Async::land(std::vector<Found> found) {
  std::vector<Result<Value>> values(found.size());
  std::vector<Impl::WriteCall> writes;
  std::vector<std::size_t> positions;  // found[positions[i]] is stored by writes[i]
  std::vector<std::shared_ptr<const OwnedBytes>> owners(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    auto& [flight, loaded, options] = found[i];
    if (!loaded) {
      load_failures_.add();
      values[i] = std::unexpected(loaded.error());
      continue;
    }
    StoreOptions how = loaded->options.value_or(options.store);
    how.when = StoreIf::always;
    owners[i] = std::make_shared<const OwnedBytes>(std::move(loaded->value));
    values[i] = Value(owners[i], owners[i]->bytes(), 0, 0, how.flags, how.stale);
    if (!loaded->store) continue;
    writes.push_back(Impl::store_call(flight->key, owners[i]->bytes(), how, options.durable));
    writes.back().unless_written = &flight->watch;
    positions.push_back(i);
  }
  std::vector<Impl::StoredAs> stored(writes.size());
  const std::vector<Result<void>> results = impl_.write_group(writes, stored.data());
  for (std::size_t i = 0; i < writes.size(); ++i) {
    const bool accepted =
        results[i] ? stored[i].sequence != 0 : results[i].error() == Errc::flush_failed;
    if (!accepted) loads_not_stored_.add();
    const std::size_t at = positions[i];
    values[at] = Value(owners[at], owners[at]->bytes(), stored[i].sequence, stored[i].expires_at,
                       writes[i].flags, writes[i].stale);
  }
  for (std::size_t i = 0; i < found.size(); ++i) land_with(*found[i].flight, values[i]);
  return values;
}

void RawDiskCache::Async::land_with(Flight& flight, const Result<Value>& result) {
  impl_.end_watch(flight.watch);
  flights_.land(flight, result);
}

// --- Asynchronous ---

class RawDiskCache::Async::Reply final : public LoadReply::Target {
 public:
  Reply(std::shared_ptr<Async> async, std::shared_ptr<LoadCall> call)
      : async_(std::move(async)), call_(std::move(call)) {}
  void reply(Result<Loaded> loaded) override { async_->replied(call_, std::move(loaded)); }

 private:
  const std::shared_ptr<Async> async_;
  const std::shared_ptr<LoadCall> call_;
};

bool RawDiskCache::Async::begin_load(const std::shared_ptr<LoadCall>& call) {
  if (!is_absent(*call->result)) return true;
  call->result.reset();
  LoadWaiter waiter = [self = shared_from_this(), call](const Result<Value>& value) {
    call->result = value;
    self->deliver_later(call);
  };
  Flights::Boarding boarding = flights_.board(call->key, waiter, std::thread::id());
  if (boarding.role != Flights::Role::leader) {
    load_waits_.add();
    return false;  // the call belongs to whoever lands
  }
  impl_.begin_watch(call->key, boarding.flight->watch);
  const std::string_view key = call->key;
  std::vector<Result<Value>> found = impl_.find_values(std::span(&key, 1));
  if (is_absent(found[0])) {
    call->flight = std::move(boarding.flight);
  } else {
    land_with(*boarding.flight, found[0]);
    call->result = std::move(found[0]);
  }
  return true;
}

bool RawDiskCache::Async::ask(const std::shared_ptr<LoadCall>& call) {
  bool closed = false;
  {
    MutexLock lock(loading_mutex_);
    closed = closed_.load();
    if (!closed) loading_.insert(call);
  }
  if (closed) {
    end_load(*call, Errc::closed);
    return false;
  }
  loads_.add();
  AsyncLoader loader = std::move(call->loader);
  try {
    loader(call->key, LoadReply(std::make_shared<Reply>(shared_from_this(), call)));
  } catch (...) {  // its LoadReply has said that there will be none
  }
  return true;
}

void RawDiskCache::Async::replied(const std::shared_ptr<LoadCall>& call, Result<Loaded> loaded) {
  {
    MutexLock lock(loading_mutex_);
    if (loading_.erase(call) == 0) return;  // close has ended it
    ++replies_;
  }
  call->loaded.emplace(std::move(loaded));
  if (!writes_.push(call)) {
    end_load(*call, Errc::closed);
    hand_over({call});
  }
  MutexLock lock(loading_mutex_);
  if (--replies_ == 0) replies_ended_.notify_all();
}

void RawDiskCache::Async::land(std::span<const std::shared_ptr<LoadCall>> calls) {
  std::vector<Found> found;
  for (const auto& call : calls) {
    found.push_back({call->flight.get(), std::move(*call->loaded), call->options});
  }
  std::vector<Result<Value>> values = land(std::move(found));
  for (std::size_t i = 0; i < calls.size(); ++i) calls[i]->result = std::move(values[i]);
}

void RawDiskCache::Async::end_load(LoadCall& call, const Error& error) {
  call.result = std::unexpected(error);
  land_with(*call.flight, *call.result);
}

void RawDiskCache::Async::end_loads() {
  std::unordered_set<std::shared_ptr<LoadCall>> loading;
  {
    MutexLock lock(loading_mutex_);
    loading.swap(loading_);
    while (replies_ > 0) replies_ended_.wait(loading_mutex_);
  }
  for (const auto& call : loading) {
    end_load(*call, Errc::closed);
    hand_over({call});
  }
}

void RawDiskCache::Async::run_load(LoadCall& call) {
  struct Wait final : LoadReply::Target {
    void reply(Result<Loaded> loaded) override { landing.set(std::move(loaded)); }
    Landing<Result<Loaded>> landing;
  };
  const BatchLoader loader = [&](std::span<const std::string_view> keys) {
    const auto wait = std::make_shared<Wait>();
    call.loader(keys[0], LoadReply(wait));
    return std::vector<Result<Loaded>>{wait->landing.wait()};
  };
  const std::string_view key = call.key;
  call.result = std::move(lookup_or_load(std::span(&key, 1), loader, call.options)[0]);
}

}  // namespace rawcache
