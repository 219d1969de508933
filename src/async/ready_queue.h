// ReadyQueue: what waits for poll(), and the file descriptor that says so.
#pragma once

#include "async/lane.h"
#include "base/mutex.h"

namespace rawcache {

/// Threads: any.
class ReadyQueue {
 public:
  ReadyQueue() = default;
  ~ReadyQueue();
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;

  /// Makes the file descriptor. False if the limit of them is reached.
  bool open();
  /// One wake-up, however many there are.
  void push(Calls calls);
  /// Everything that has been pushed since.
  Calls take();
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;  ///< an eventfd: readable while something waits
  Mutex mutex_;
  Calls ready_ GUARDED_BY(mutex_);
};

}  // namespace rawcache
