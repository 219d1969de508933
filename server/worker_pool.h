// WorkerPool: threads that call the cache, so that no event loop waits for a disk.
#pragma once

#include <semaphore.h>

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace rawcache::server {

class WorkerPool {
 public:
  using Task = std::move_only_function<void()>;

  explicit WorkerPool(unsigned threads);
  /// Does what is queued, then ends.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// In the order of the calls, each by one of the threads. Any thread.
  void post(Task task);

 private:
  void work();

  Mutex mutex_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  /// Counts the tasks, and at the end once for each thread. A condition variable takes three times
  /// as many system calls to hand over a task.
  sem_t wanted_;
  std::vector<std::thread> threads_;
};

}  // namespace rawcache::server
