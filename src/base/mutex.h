// Mutex, MutexLock and CondVar, annotated for clang's thread-safety analysis.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>

#if defined(__clang__)
#define RAWCACHE_TSA(x) __attribute__((x))
#else
#define RAWCACHE_TSA(x)
#endif

#define GUARDED_BY(m) RAWCACHE_TSA(guarded_by(m))
#define PT_GUARDED_BY(m) RAWCACHE_TSA(pt_guarded_by(m))
#define REQUIRES(...) RAWCACHE_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) RAWCACHE_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) RAWCACHE_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) RAWCACHE_TSA(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) RAWCACHE_TSA(try_acquire_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS RAWCACHE_TSA(no_thread_safety_analysis)

// The thread sanitizer is told that this is a lock, so that it finds those taken in two orders.
#if defined(__SANITIZE_THREAD__)
#define RAWCACHE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RAWCACHE_TSAN 1
#endif
#endif
#if defined(RAWCACHE_TSAN)
#include <sanitizer/tsan_interface.h>
#define RAWCACHE_TSAN_LOCK(event, ...) __tsan_mutex_##event(this, __VA_ARGS__)
#else
#define RAWCACHE_TSAN_LOCK(event, ...) static_cast<void>(0)
#endif

namespace rawcache {

/// A lock for the hot paths: one atomic instruction to take and one to let go while nobody else
/// wants it, inlined; who finds it taken spins for a few microseconds and then sleeps.
class RAWCACHE_TSA(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
#if defined(RAWCACHE_TSAN)
  ~Mutex() { RAWCACHE_TSAN_LOCK(destroy, 0); }
#endif

  void lock() ACQUIRE() {
    RAWCACHE_TSAN_LOCK(pre_lock, 0);
    std::uint32_t found = kFree;
    if (!state_.compare_exchange_strong(found, kTaken, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
      lock_slowly();
    }
    RAWCACHE_TSAN_LOCK(post_lock, 0, 0);
  }
  void unlock() RELEASE() {
    RAWCACHE_TSAN_LOCK(pre_unlock, 0);
    if (state_.exchange(kFree, std::memory_order_release) == kWanted) state_.notify_one();
    RAWCACHE_TSAN_LOCK(post_unlock, 0);
  }
  bool try_lock() TRY_ACQUIRE(true) {
    RAWCACHE_TSAN_LOCK(pre_lock, __tsan_mutex_try_lock);
    std::uint32_t found = kFree;
    const bool taken = state_.compare_exchange_strong(found, kTaken, std::memory_order_acquire,
                                                      std::memory_order_relaxed);
    RAWCACHE_TSAN_LOCK(
        post_lock,
        taken ? __tsan_mutex_try_lock : __tsan_mutex_try_lock | __tsan_mutex_try_lock_failed, 0);
    return taken;
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kTaken = 1;
  static constexpr std::uint32_t kWanted = 2;  ///< taken, and somebody may sleep until it is free

  void lock_slowly();

  std::atomic<std::uint32_t> state_{kFree};
};

class RAWCACHE_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) { condition_.wait(mutex); }
  /// Returns false on time-out.
  bool wait_for(Mutex& mutex, std::chrono::nanoseconds limit) REQUIRES(mutex) {
    return condition_.wait_for(mutex, limit) == std::cv_status::no_timeout;
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace rawcache
