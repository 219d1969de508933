#include "async/ready_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <iterator>
#include <utility>

namespace rawcache {

bool ReadyQueue::open() {
  descriptor_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return descriptor_ >= 0;
}

ReadyQueue::~ReadyQueue() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ReadyQueue::push(Calls calls) {
  if (calls.empty()) return;
  MutexLock lock(mutex_);
  if (ready_.empty()) (void)::eventfd_write(descriptor_, 1);
  ready_.insert(ready_.end(), std::move_iterator(calls.begin()), std::move_iterator(calls.end()));
}

Calls ReadyQueue::take() {
  MutexLock lock(mutex_);
  if (ready_.empty()) return {};
  eventfd_t count = 0;
  (void)::eventfd_read(descriptor_, &count);
  return std::exchange(ready_, {});
}

}  // namespace rawcache
