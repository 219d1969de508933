// SharedMutex: a lock that readers take often and writers seldom.
#pragma once

#include <sched.h>

#include <array>
#include <cstddef>

#include "base/mutex.h"

#define ACQUIRE_SHARED(...) RAWCACHE_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) RAWCACHE_TSA(release_shared_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) RAWCACHE_TSA(requires_shared_capability(__VA_ARGS__))

namespace rawcache {

/// Several locks, each in a cache line of its own. A reader takes the one of the processor that it
/// runs on, so readers on different processors do not meet; a writer takes all of them.
class RAWCACHE_TSA(capability("mutex")) SharedMutex {
 public:
  void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
    for (Shard& shard : shards_) shard.mutex.lock();
  }
  void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
    for (Shard& shard : shards_) shard.mutex.unlock();
  }
  /// Says what unlock_shared wants to know.
  std::size_t lock_shared() ACQUIRE_SHARED() NO_THREAD_SAFETY_ANALYSIS {
    const std::size_t shard = static_cast<unsigned>(sched_getcpu()) % kShards;
    shards_[shard].mutex.lock();
    return shard;
  }
  void unlock_shared(std::size_t shard) RELEASE_SHARED() NO_THREAD_SAFETY_ANALYSIS {
    shards_[shard].mutex.unlock();
  }

 private:
  static constexpr std::size_t kShards = 8;
  struct alignas(64) Shard {
    Mutex mutex;
  };
  std::array<Shard, kShards> shards_;
};

class RAWCACHE_TSA(scoped_lockable) WriteLock {
 public:
  explicit WriteLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriteLock() RELEASE() { mutex_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class RAWCACHE_TSA(scoped_lockable) ReadLock {
 public:
  explicit ReadLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex)
      : mutex_(mutex), shard_(mutex.lock_shared()) {}
  ~ReadLock() RELEASE() { mutex_.unlock_shared(shard_); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  SharedMutex& mutex_;
  const std::size_t shard_;
};

}  // namespace rawcache
