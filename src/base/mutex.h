// Mutex, MutexLock and CondVar: the standard ones, annotated for clang's thread-safety analysis.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

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

namespace rawcache {

class RAWCACHE_TSA(capability("mutex")) Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
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
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// Returns false on time-out.
  bool wait_for(Mutex& mutex, std::chrono::nanoseconds limit) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_for(lock, limit) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace rawcache
