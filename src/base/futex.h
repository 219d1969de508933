// Sleeping until a number changes. As std::atomic's wait() and notify_all(), which look and yield
// the processor a dozen times before they sleep: that is for waits of nanoseconds, and where a
// device is waited for costs more than the sleep.
#pragma once

#include <atomic>
#include <cstdint>

namespace rawcache {

/// Sleeps while `number` is `seen` and nobody wakes all. May return early.
void sleep_while(const std::atomic<std::uint32_t>& number, std::uint32_t seen);

/// To be called after `number` has changed.
void wake_all(const std::atomic<std::uint32_t>& number);

}  // namespace rawcache
