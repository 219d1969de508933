#include "async/lane.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <system_error>
#include <utility>

#include "base/assert.h"

namespace rawcache {

Lane::Lane(std::size_t threads_max, std::size_t calls_max, CarryOut carry_out)
    : threads_max_(threads_max), calls_max_(calls_max), carry_out_(std::move(carry_out)) {}

Lane::~Lane() { stop(); }

bool Lane::push(std::shared_ptr<detail::Call> call) {
  MutexLock lock(mutex_);
  if (stopped_) return false;
  if (idle_ == 0 && threads_.size() < threads_max_ && !waking_) {
    if (!add_thread() && threads_.empty()) return false;
  }
  try {
    queue_.push_back(std::move(call));
  } catch (const std::bad_alloc&) {
    return false;
  }
  if (idle_ > 0 && !waking_) {
    waking_ = true;
    wanted_.notify_one();
  }
  return true;
}

bool Lane::add_thread() {
  try {
    threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  waking_ = true;
  return true;
}

void Lane::work() {
  for (;;) {
    Calls calls = take();
    if (calls.empty()) return;
    carry_out_(std::move(calls));
  }
}

Calls Lane::take() {
  MutexLock lock(mutex_);
  ++idle_;
  while (queue_.empty() && !stopped_) {
    waking_ = false;  // of a thread that was woken for what another has taken
    wanted_.wait(mutex_);
  }
  --idle_;
  waking_ = false;
  if (queue_.size() <= calls_max_) return std::exchange(queue_, {});
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(calls_max_);
  Calls calls(std::move_iterator(queue_.begin()), std::move_iterator(end));
  queue_.erase(queue_.begin(), end);
  if (idle_ > 0) {
    waking_ = true;
    wanted_.notify_one();
  }
  return calls;
}

void Lane::stop() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    threads.swap(threads_);
    wanted_.notify_all();
  }
  for (std::thread& thread : threads) {
    RAWCACHE_ASSERT(thread.get_id() != std::this_thread::get_id());
    thread.join();
  }
}

bool Lane::is_here() const {
  MutexLock lock(mutex_);
  return std::ranges::any_of(threads_, [](const std::thread& thread) {
    return thread.get_id() == std::this_thread::get_id();
  });
}

}  // namespace rawcache
