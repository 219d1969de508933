#include "cli/forwarding_disk.h"

#include <cerrno>
#include <ctime>

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

int DelayingDisk::do_sync() {
  const int error = ForwardingDisk::do_sync();
  if (delay_.count() <= 0) return error;
  timespec end{};
  ::clock_gettime(CLOCK_MONOTONIC, &end);
  const long long nanoseconds = end.tv_nsec + delay_.count();
  end.tv_sec += static_cast<time_t>(nanoseconds / 1'000'000'000);
  end.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == EINTR) {
  }
  return error;
}

void InterruptibleDisk::do_submit(IoBatch& batch) {
  if (interrupted()) return fail_all(batch, EINTR);
  ForwardingDisk::do_submit(batch);
}

}  // namespace rawcache::cli
