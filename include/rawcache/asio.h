// as_async: an Operation with any completion token of Asio, on the caller's executor. Header only;
// nothing else of rawcache needs Asio. Standalone Asio, or Boost.Asio if RAWCACHE_BOOST_ASIO is
// defined.
#pragma once

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#ifdef RAWCACHE_BOOST_ASIO
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#else
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#endif

#include "rawcache/async.h"

namespace rawcache {
namespace detail {

#ifdef RAWCACHE_BOOST_ASIO
namespace net = ::boost::asio;
#else
namespace net = ::asio;
#endif

/// Handlers of one executor that are called one after another, in one job.
template <typename Executor>
class HandlerOutbox final : public Delivery::Outbox {
 public:
  using Handler = std::move_only_function<void()>;

  explicit HandlerOutbox(const Executor& executor) : executor_(executor) {}
  const Executor& executor() const { return executor_; }
  void add(Handler handler) { handlers_.push_back(std::move(handler)); }
  void send() override { post(executor_, std::move(handlers_), 0); }

 private:
  static void post(const Executor& executor, std::vector<Handler> handlers, std::size_t first) {
    auto job = [executor, handlers = std::move(handlers), first]() mutable {
      // A handler may throw out of run(); those after it are called all the same.
      struct Rest {
        const Executor& executor;
        std::vector<Handler>& handlers;
        std::size_t next;
        ~Rest() {
          if (next < handlers.size()) post(executor, std::move(handlers), next);
        }
      } rest{executor, handlers, first};
      while (rest.next < handlers.size()) {
        Handler handler = std::move(handlers[rest.next++]);
        handler();
      }
    };
    net::post(executor, std::move(job));
  }

  Executor executor_;
  std::vector<Handler> handlers_;
};

/// The outbox of this executor in this delivery.
template <typename Executor>
HandlerOutbox<Executor>& outbox_for(Delivery& delivery, const Executor& executor) {
  for (auto& outbox : delivery.outboxes()) {
    auto* same = dynamic_cast<HandlerOutbox<Executor>*>(outbox.get());
    if (same != nullptr && same->executor() == executor) return *same;
  }
  auto fresh = std::make_unique<HandlerOutbox<Executor>>(executor);
  HandlerOutbox<Executor>& result = *fresh;
  delivery.outboxes().push_back(std::move(fresh));
  return result;
}

}  // namespace detail

/// Begins the operation when the token says so, and completes with its result, R: on the executor
/// that is associated with the handler (a coroutine's own with use_awaitable; bind_executor for
/// others; the system's if there is none). Completions of one batch for one executor are posted to
/// it together, and run one after another.
///
/// The execution context has work as long as the operation is under way; it must outlive it: close
/// the cache first. Cancellation slots are not heeded.
template <typename R, typename CompletionToken>
auto as_async(Operation<R> operation, CompletionToken&& token) {
  return detail::net::async_initiate<CompletionToken, void(R)>(
      [](auto handler, Operation<R> begun) {
        const auto executor = detail::net::get_associated_executor(handler);
        auto call = detail::Access::take(std::move(begun));
        call->done = [handler = std::move(handler), executor,
                      work = detail::net::make_work_guard(executor)](
                         R result, detail::Delivery& delivery) mutable {
          detail::outbox_for(delivery, executor)
              .add([handler = std::move(handler), work = std::move(work),
                    result = std::move(result)]() mutable {
                work.reset();
                std::move(handler)(std::move(result));
              });
        };
        detail::Executor& begins = *call->executor;
        begins.start(std::move(call));
      },
      token, std::move(operation));
}

}  // namespace rawcache
