#include "server/worker_pool.h"

#include <cerrno>

namespace rawcache::server {

WorkerPool::WorkerPool(unsigned threads) {
  sem_init(&wanted_, 0, 0);
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() {
  for (std::size_t i = 0; i < threads_.size(); ++i) sem_post(&wanted_);
  for (std::thread& thread : threads_) thread.join();
  sem_destroy(&wanted_);
}

void WorkerPool::post(Task task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  sem_post(&wanted_);
}

void WorkerPool::work() {
  for (;;) {
    while (sem_wait(&wanted_) != 0 && errno == EINTR) {
    }
    Task task;
    {
      MutexLock lock(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace rawcache::server
