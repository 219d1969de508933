#include "base/mutex.h"

namespace rawcache {
namespace {

/// Locks are held for nanoseconds, where they are fought for; a sleep costs microseconds. Between
/// two looks at a lock more and more time passes: what it guards comes with it from one processor's
/// cache to the other's, and that pays only if its holder does more than one thing in between.
constexpr int kPausesMax = 64;

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

}  // namespace

void Mutex::lock_slowly() {
  for (int pauses = 1; pauses <= kPausesMax; pauses *= 2) {
    for (int i = 0; i < pauses; ++i) pause_processor();
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
