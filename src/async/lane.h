// Lane: threads that carry out calls, as many at a time as have come together.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "rawcache/async.h"

namespace rawcache {

using Calls = std::vector<std::shared_ptr<detail::Call>>;

/// A queue of calls and the threads that empty it. There is no thread before the first call; idle
/// threads sleep. Threads: any.
class Lane {
 public:
  using CarryOut = std::function<void(Calls)>;

  /// `carry_out` is given at most `calls_max` calls, in the order in which they were pushed, and is
  /// called by at most `threads_max` threads at a time.
  Lane(std::size_t threads_max, std::size_t calls_max, CarryOut carry_out);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// False, and nothing happens: it has been stopped, or no thread can be made.
  bool push(std::shared_ptr<detail::Call> call);
  /// Carries out what has been pushed and ends the threads. Not from one of them.
  void stop();
  /// Whether the calling thread is one of this lane's.
  bool is_here() const;

 private:
  void work();
  Calls take();
  bool add_thread() REQUIRES(mutex_);

  const std::size_t threads_max_;
  const std::size_t calls_max_;
  const CarryOut carry_out_;

  mutable Mutex mutex_;
  CondVar wanted_;
  Calls queue_ GUARDED_BY(mutex_);
  std::size_t idle_ GUARDED_BY(mutex_) = 0;
  /// A thread has been woken and has not taken anything yet: it will see what comes meanwhile.
  bool waking_ GUARDED_BY(mutex_) = false;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
};

}  // namespace rawcache
