// Counters: what a cache counts while it works. Lookups on different processors share no cache line
// for it, writes count under the log's lock.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "base/histogram.h"

namespace rawcache {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  /// The same for less where a lock keeps other writers away.
  void add_alone(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Lookups, by the processor that they run on.
class LookupCounters {
 public:
  struct Counts {
    std::uint64_t asked = 0, hits = 0, misses = 0, bytes = 0;  ///< bytes: of values
  };
  struct alignas(64) Shard {
    Counter asked, hits, misses, bytes;
  };
  /// Returns where to count how they end.
  Shard& add_asked(std::uint64_t keys) {
    Shard& shard = shards_[static_cast<unsigned>(sched_getcpu()) % kShards];
    shard.asked.add(keys);
    return shard;
  }
  static void add_ended(Shard& shard, const Counts& counts) {
    if (counts.hits != 0) shard.hits.add(counts.hits);
    if (counts.misses != 0) shard.misses.add(counts.misses);
    if (counts.bytes != 0) shard.bytes.add(counts.bytes);
  }
  Counts sum() const {
    Counts sum;
    for (const Shard& shard : shards_) {
      sum.hits += shard.hits.get();
      sum.misses += shard.misses.get();
      sum.bytes += shard.bytes.get();
      sum.asked += shard.asked.get();
    }
    return sum;
  }

 private:
  static constexpr unsigned kShards = 16;

  std::array<Shard, kShards> shards_;
};

struct Counters {
  // Writing, under the log's lock.
  alignas(64) Counter stores;
  Counter buffered_stores;
  Counter removes;
  Counter user_bytes_stored;
  Counter appended_entry_bytes;
  Counter ghost_hits;
  Counter waiting_admitted;
  Counter waiting_dropped;
  Counter not_admitted;
  // Flushing.
  Counter flushes;
  Counter flushed_writes;
  Counter flush_failures;
  Counter background_flush_failures;
  // Reading.
  LookupCounters lookups;
  alignas(64) Counter batches;
  Counter expired;
  Counter collisions;
  Counter corruptions;
  // Rare.
  alignas(64) Counter evicted;
  Counter evicted_index_full;
  Counter evicted_cold;
  Counter evicted_hot;
  Counter copied;
  Counter copied_bytes;
  Counter segments_relabelled;
  Counter segments_rotated;
  Counter checkpoints;
  Counter checkpoint_failures;

  Histogram store_latency;
  Histogram store_buffered_latency;
  Histogram lookup_latency;
  Histogram lookup_batch_latency;
  Histogram flush_latency;
};

/// Nanoseconds of the monotonic clock.
std::uint64_t monotonic_ns();

/// Adds the time from its start to its end to a histogram, if it was started: reading the clock
/// twice costs a tenth of a call that does no I/O.
class LatencyTimer {
 public:
  explicit LatencyTimer(Histogram& histogram) : histogram_(histogram) {}
  ~LatencyTimer() {
    if (start_ns_ != 0) histogram_.add(monotonic_ns() - start_ns_);
  }
  LatencyTimer(const LatencyTimer&) = delete;
  LatencyTimer& operator=(const LatencyTimer&) = delete;

  void start() {
    if (start_ns_ == 0) start_ns_ = monotonic_ns();
  }
  /// One in 16 calls of a thread.
  void start_sometimes() {
    thread_local std::uint32_t calls = 0;
    if (++calls % 16 == 0) start();
  }

 private:
  Histogram& histogram_;
  std::uint64_t start_ns_ = 0;
};

}  // namespace rawcache
