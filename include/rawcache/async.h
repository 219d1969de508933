// Operation: a call of a cache that is begun now and tells its result later, to a callback, to a
// coroutine of any type, or to the thread that waits for it. docs/async.md shows how to use them.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "rawcache/result.h"
#include "rawcache/value.h"

namespace rawcache {

/// Bytes that an operation keeps until it has ended: copied from a view or from an lvalue, taken
/// over without a copy from a string or vector that is moved in.
class OwnedBytes {
 public:
  OwnedBytes() = default;
  OwnedBytes(const char* text) : bytes_(std::string(text)) {}
  OwnedBytes(std::string_view text) : bytes_(std::string(text)) {}
  OwnedBytes(std::string text) : bytes_(std::move(text)) {}
  OwnedBytes(std::span<const std::byte> bytes)
      : bytes_(std::vector<std::byte>(bytes.begin(), bytes.end())) {}
  OwnedBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::span<const std::byte> bytes() const {
    if (const auto* text = std::get_if<std::string>(&bytes_)) {
      return std::as_bytes(std::span(*text));
    }
    return std::get<std::vector<std::byte>>(bytes_);
  }
  std::size_t size() const { return bytes().size(); }

 private:
  std::variant<std::string, std::vector<std::byte>> bytes_;
};

/// What an asynchronous call does; each has a blocking twin of the same name.
enum class Verb : std::uint8_t {
  lookup,
  lookup_batch,
  contains,
  lookup_or_load,
  store,
  store_buffered,
  remove,
  remove_buffered,
  update,
  update_buffered,
  touch,
  touch_buffered,
  flush_writes,
  clear,
  clear_at,
  maintain,
  for_each_key,
  train_dictionary,
};

// What follows in `detail` is the seam between Operation and the library; it may change.
namespace detail {

/// The completions that are handed over together. A callback may leave something in an outbox that
/// is sent once, after the last of them: one wake-up for a whole batch.
class Delivery {
 public:
  class Outbox {
   public:
    virtual ~Outbox() = default;
    virtual void send() = 0;
  };

  Delivery() = default;
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;
  ~Delivery() {
    for (auto& outbox : outboxes_) outbox->send();
  }
  std::vector<std::unique_ptr<Outbox>>& outboxes() { return outboxes_; }

 private:
  std::vector<std::unique_ptr<Outbox>> outboxes_;
};

class Call;

/// Carries calls out. Outlives the cache as long as operations exist.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Begins; the call is delivered later, or here if the cache has been closed.
  virtual void start(std::shared_ptr<Call> call) = 0;
  /// Carries them out in the calling thread, together; they are not delivered.
  virtual void run(std::span<Call* const> calls) = 0;
};

/// One call on its way.
class Call {
 public:
  Call(std::shared_ptr<Executor> call_executor, Verb call_verb, std::string_view call_key)
      : executor(std::move(call_executor)), key(call_key), verb(call_verb) {}
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Gives it this error as its result.
  virtual void fail(const Error& error) = 0;
  virtual bool has_result() const = 0;
  /// Hands its result to whoever wants it.
  virtual void deliver(Delivery& delivery) = 0;

  /// Suspends a coroutine until the result is there. False if it is there already.
  bool suspend() {
    Phase expected = Phase::begun;
    return phase_.compare_exchange_strong(expected, Phase::suspended);
  }
  /// Nobody wants the result any more.
  void abandon() { phase_.exchange(Phase::abandoned); }
  bool is_abandoned() const { return phase_.load() == Phase::abandoned; }

  const std::shared_ptr<Executor> executor;
  const std::string key;
  std::coroutine_handle<> waiter;
  const Verb verb;

 protected:
  void resume() {
    if (phase_.exchange(Phase::delivered) == Phase::suspended) waiter.resume();
  }

 private:
  enum class Phase : std::uint8_t { begun, suspended, delivered, abandoned };
  std::atomic<Phase> phase_{Phase::begun};
};

template <typename R>
class CallOf : public Call {
 public:
  using Call::Call;
  using Outcome = R;
  using Done = std::move_only_function<void(R, Delivery&)>;

  void fail(const Error& error) override {
    if constexpr (std::is_constructible_v<R, std::unexpected<Error>>) {
      result.emplace(std::unexpected(error));
    }
  }
  bool has_result() const override { return result.has_value(); }
  void deliver(Delivery& delivery) override {
    if (!done) return resume();
    // What the callback holds must not outlive it.
    Done callback = std::move(done);
    callback(std::move(*result), delivery);
  }

  std::optional<R> result;
  Done done;
};

template <typename R>
class Awaiter {
 public:
  explicit Awaiter(std::shared_ptr<CallOf<R>> call) : call_(std::move(call)) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;
  ~Awaiter() {
    if (call_) call_->abandon();  // the coroutine may be destroyed while it is suspended
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter) {
    CallOf<R>& call = *call_;
    call.waiter = waiter;
    call.executor->start(call_);
    return call.suspend();
  }
  R await_resume() { return std::move(*call_->result); }

 private:
  std::shared_ptr<CallOf<R>> call_;
};

struct Access;

}  // namespace detail

/// A call that has been prepared and not begun. Exactly one of these makes it happen:
///   std::move(operation).start(callback)   `callback(R)` is called once, when it has ended
///   co_await std::move(operation)          in a coroutine of any type; gives R
///   std::move(operation).get()             waits; carried out by the calling thread itself
/// R is what the blocking call returns. Keys and values were copied or moved in.
///
/// Threads: an Operation belongs to one thread at a time. Callbacks run, and coroutines go on, on a
/// thread of the cache's own, or in `poll()` (Options::completion), or, if the cache has been
/// closed, in start itself; they may call the cache, should not block, must not throw, and must not
/// close or destroy the cache (in `poll()` they may).
/// Dropping it before it is begun: nothing happens. Destroying a coroutine that waits for one:
/// what was begun goes on (a lookup may be left out) and nobody is told; not while the coroutine is
/// being resumed by another thread. Closing or destroying the cache: what has been begun is
/// carried out and delivered before close returns; what is begun later ends with Errc::closed.
template <typename R>
class [[nodiscard("it is lazy: start it, get it or co_await it")]] Operation {
 public:
  using Outcome = R;

  explicit Operation(std::shared_ptr<detail::CallOf<R>> call) : call_(std::move(call)) {}
  Operation(Operation&&) noexcept = default;
  Operation& operator=(Operation&&) noexcept = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation() = default;

  template <typename Callback>
  void start(Callback callback) && {
    call_->done = [callback = std::move(callback)](R result, detail::Delivery&) mutable {
      callback(std::move(result));
    };
    auto call = std::move(call_);
    detail::Executor& executor = *call->executor;
    executor.start(std::move(call));
  }

  R get() && {
    const auto call = std::move(call_);
    detail::Call* const calls[] = {call.get()};
    call->executor->run(calls);
    return std::move(*call->result);
  }

  detail::Awaiter<R> operator co_await() && { return detail::Awaiter<R>(std::move(call_)); }

 private:
  friend struct detail::Access;
  std::shared_ptr<detail::CallOf<R>> call_;
};

namespace detail {
struct Access {
  template <typename R>
  static std::shared_ptr<CallOf<R>> take(Operation<R>&& operation) {
    return std::move(operation.call_);
  }
};
}  // namespace detail

/// Carries out operations of one cache together, in the calling thread: lookups as one
/// `lookup_batch`, stores under one commit, in order. The results are in the order of the
/// operations.
template <typename R>
std::vector<R> get_all(std::vector<Operation<R>> operations) {
  std::vector<std::shared_ptr<detail::CallOf<R>>> owners;
  std::vector<detail::Call*> calls;
  owners.reserve(operations.size());
  calls.reserve(operations.size());
  for (auto& operation : operations) {
    owners.push_back(detail::Access::take(std::move(operation)));
    calls.push_back(owners.back().get());
  }
  if (!calls.empty()) calls.front()->executor->run(calls);
  std::vector<R> results;
  results.reserve(owners.size());
  for (const auto& call : owners) results.push_back(std::move(*call->result));
  return results;
}

}  // namespace rawcache
