// Sleeping until a number changes. As std::atomic's wait() and notify_all(), which look and yield
// the processor a dozen times before they sleep: that is for waits of nanoseconds, and where a
// device is waited for costs more than the sleep.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace rawcache {

/// Sleeps while `number` is `seen` and nobody wakes all. May return early.
inline void sleep_while(const std::atomic<std::uint32_t>& number, std::uint32_t seen) {
  static_assert(sizeof number == sizeof seen);
  ::syscall(SYS_futex, &number, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

/// To be called after `number` has changed.
inline void wake_all(const std::atomic<std::uint32_t>& number) {
  ::syscall(SYS_futex, &number, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace rawcache
