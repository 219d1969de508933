// SharedMutex: a lock that readers take often and writers seldom.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.h"

#define ACQUIRE_SHARED(...) RAWCACHE_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) RAWCACHE_TSA(release_shared_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) RAWCACHE_TSA(requires_shared_capability(__VA_ARGS__))

namespace rawcache {

/// Readers are counted, each on the processor that it runs on, so that readers on different
/// processors do not meet. A writer says that it is there and waits until all counts are zero; it
/// only looks at them, so that it costs little where nobody reads. Readers that come meanwhile wait
/// for it.
class RAWCACHE_TSA(capability("mutex")) SharedMutex {
 public:
  void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
    writer_.lock();
    // In one order with the readers' counting, as seen by all: either they see the writer, or it
    // sees them.
    writing_.store(true, std::memory_order_seq_cst);
    for (Shard& shard : shards_) {
      std::uint32_t readers = shard.readers.load(std::memory_order_seq_cst);
      for (; readers != 0; readers = shard.readers.load(std::memory_order_seq_cst)) {
        shard.readers.wait(readers, std::memory_order_seq_cst);
      }
    }
  }
  void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
    writing_.store(false, std::memory_order_release);
    writer_.unlock();
  }
  /// Says what unlock_shared wants to know.
  std::size_t lock_shared() ACQUIRE_SHARED() NO_THREAD_SAFETY_ANALYSIS {
    const std::size_t shard = static_cast<unsigned>(sched_getcpu()) % kShards;
    shards_[shard].readers.fetch_add(1, std::memory_order_seq_cst);
    while (writing_.load(std::memory_order_seq_cst)) {
      unlock_shared(shard);
      writer_.lock();
      writer_.unlock();
      shards_[shard].readers.fetch_add(1, std::memory_order_seq_cst);
    }
    return shard;
  }
  void unlock_shared(std::size_t shard) RELEASE_SHARED() NO_THREAD_SAFETY_ANALYSIS {
    const std::uint32_t before = shards_[shard].readers.fetch_sub(1, std::memory_order_seq_cst);
    if (before == 1 && writing_.load(std::memory_order_seq_cst)) {
      shards_[shard].readers.notify_one();
    }
  }

 private:
  static constexpr std::size_t kShards = 8;
  struct alignas(64) Shard {
    std::atomic<std::uint32_t> readers{0};
  };
  std::array<Shard, kShards> shards_;
  alignas(64) std::atomic<bool> writing_{false};
  Mutex writer_;
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
