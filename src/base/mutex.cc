#include "base/mutex.h"

namespace rawcache {
namespace {

/// Locks are held for nanoseconds, where they are fought for; a sleep costs microseconds.
constexpr int kSpins = 100;

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void Mutex::lock_slowly() {
  for (int spin = 0; spin < kSpins; ++spin) {
    pause_processor();
    std::uint32_t found = kFree;
    if (state_.load(std::memory_order_relaxed) == kFree &&
        state_.compare_exchange_strong(found, kTaken, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      return;
    }
  }
  // Others may sleep too: whoever has slept takes it as wanted, so that none of them is forgotten.
  while (state_.exchange(kWanted, std::memory_order_acquire) != kFree) state_.wait(kWanted);
}

}  // namespace rawcache
