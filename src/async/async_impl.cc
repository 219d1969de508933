#include "async/async_impl.h"

#include <new>
#include <utility>

namespace rawcache {
namespace {

/// While one reader hands over what it has read, another one reads what has come meanwhile.
constexpr std::size_t kReaders = 2;
/// Keys that are wanted together are read together; more at once would not be read any faster.
constexpr std::size_t kReadsMax = 256;
constexpr std::size_t kWritesMax = 1024;

}  // namespace

RawDiskCache::Async::Async(Impl& impl, Completion completion)
    : impl_(impl),
      completion_(completion),
      reads_(kReaders, kReadsMax, [this](Calls calls) { read(std::move(calls)); }),
      // One, so that writes keep the order in which they were begun.
      writes_(1, kWritesMax, [this](Calls calls) { write(std::move(calls)); }),
      rest_(1, 1, [this](Calls calls) { do_the_rest(std::move(calls)); }) {}

Result<void> RawDiskCache::Async::open() {
  if (completion_ == Completion::poll && !ready_.open()) {
    return std::unexpected(Error(Errc::too_many_files, "eventfd for Completion::poll"));
  }
  return {};
}

void RawDiskCache::Async::start(std::shared_ptr<detail::Call> call) {
  begun_.add();
  if (push(call)) return;
  call->fail(closed_.load() ? Errc::closed : Errc::out_of_memory);
  hand_over({std::move(call)});
}

bool RawDiskCache::Async::push(const std::shared_ptr<detail::Call>& call) {
  if (closed_.load()) return false;
  if (is_read(call->verb)) return reads_.push(call);
  return (is_at_leisure(call->verb) ? rest_ : writes_).push(call);
}

void RawDiskCache::Async::run(std::span<detail::Call* const> calls) try {
  if (closed_.load()) {
    for (detail::Call* const call : calls) call->fail(Errc::closed);
    return;
  }
  // All have the same type of result: they are reads, or writes that keep their order.
  if (!calls.empty() && is_read(calls.front()->verb)) {
    std::vector<detail::Call*> reads;
    for (detail::Call* const call : calls) {
      if (call->verb == Verb::lookup_or_load) {
        run_load(static_cast<LoadCall&>(*call));
      } else {
        reads.push_back(call);
      }
    }
    return carry_out_reads(reads);
  }
  while (!calls.empty()) calls = calls.subspan(carry_out_writes(calls));
} catch (const std::bad_alloc&) {
  for (detail::Call* const call : calls) {
    if (!call->has_result()) call->fail(Errc::out_of_memory);
  }
}

// --- Handing over ---

void RawDiskCache::Async::deliver(Calls calls) {
  if (completion_ == Completion::poll) return ready_.push(std::move(calls));
  hand_over(calls);
}

void RawDiskCache::Async::deliver_later(std::shared_ptr<detail::Call> call) {
  if (completion_ == Completion::poll) {
    Calls calls;
    calls.push_back(std::move(call));
    return ready_.push(std::move(calls));
  }
  // A call that has its result is only handed over there.
  if (!reads_.push(call)) hand_over({std::move(call)});
}

void RawDiskCache::Async::hand_over(const Calls& calls) {
  detail::Delivery delivery;
  for (const auto& call : calls) {
    const bool absent =
        call->verb == Verb::lookup_or_load && !static_cast<LoadCall&>(*call).result.has_value();
    if (absent && ask(std::static_pointer_cast<LoadCall>(call))) continue;
    ended_.add();
    call->deliver(delivery);
  }
}

std::size_t RawDiskCache::Async::poll() {
  if (completion_ != Completion::poll) return 0;
  const auto keep = shared_from_this();  // a callback may destroy the cache
  const Calls calls = ready_.take();
  hand_over(calls);
  return calls.size();
}

// --- Closing ---

void RawDiskCache::Async::close() {
  if (closed_.exchange(true)) return;
  reads_.stop();
  rest_.stop();
  end_loads();  // loaders that have not replied are not waited for
  writes_.stop();
  while (poll() > 0) {
  }
}

void RawDiskCache::Async::add_stats(Stats& stats) const {
  const std::uint64_t ended = ended_.get();
  stats.async_calls = begun_.get();
  stats.async_in_flight = stats.async_calls - ended;
  stats.loads = loads_.get();
  stats.load_waits = load_waits_.get();
  stats.load_failures = load_failures_.get();
  stats.loads_not_stored = loads_not_stored_.get();
}

}  // namespace rawcache
