#include "cli/forwarding_disk.h"

#include <cerrno>
#include <thread>

#include "cli/output.h"

namespace rawcache::cli {

namespace {

void fail_all(IoBatch& batch, int os_error) {
  for (IoRequest& request : batch.requests) {
    request.done = true;
    request.os_error = os_error;
  }
}

}  // namespace

void ForwardingDisk::do_submit(IoBatch& batch) {
  // The requests have passed the same check in this disk.
  if (!disk_->submit(batch)) fail_all(batch, EINVAL);
}

int ForwardingDisk::do_sync() {
  const Result<void> synced = disk_->sync();
  if (synced) return 0;
  return synced.error().os_error() != 0 ? synced.error().os_error() : EIO;
}

struct DelayingDisk::Delayed {
  IoBatch inner;
  std::chrono::steady_clock::time_point over;  ///< not before
};

int DelayingDisk::do_sync() {
  const int error = ForwardingDisk::do_sync();
  std::this_thread::sleep_for(delay_);
  return error;
}

void DelayingDisk::do_start_sync(IoBatch& batch) {
  auto delayed = std::make_shared<Delayed>();
  delayed->over = std::chrono::steady_clock::now() + delay_;
  ForwardingDisk::do_start_sync(delayed->inner);
  batch.engine_state = std::move(delayed);
  batch.under_way = 1;
}

void DelayingDisk::do_wait(IoBatch& batch, std::size_t at_least) {
  IoRequest& request = batch.requests.front();
  if (request.kind != IoRequest::Kind::sync) return ForwardingDisk::do_wait(batch, at_least);
  auto& delayed = *static_cast<Delayed*>(batch.engine_state.get());
  ForwardingDisk::do_wait(delayed.inner, at_least);
  if (at_least > 0) std::this_thread::sleep_until(delayed.over);
  const bool over = std::chrono::steady_clock::now() >= delayed.over;
  if (delayed.inner.under_way > 0 || !over) return;
  request.os_error = delayed.inner.requests.front().os_error;
  request.done = true;
  batch.under_way = 0;
}

void InterruptibleDisk::do_submit(IoBatch& batch) {
  if (interrupted()) return fail_all(batch, EINTR);
  ForwardingDisk::do_submit(batch);
}

}  // namespace rawcache::cli
