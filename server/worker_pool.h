// WorkerPool: threads that call the cache, so that no event loop waits for a disk.
#pragma once

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
  CondVar wanted_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool stop_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rawcache::server
