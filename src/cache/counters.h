// Counters: what a cache counts while it works. One cache line of contention per kind of call at
// most.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/histogram.h"

namespace rawcache {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct Counters {
  // Writing.
  alignas(64) Counter stores;
  Counter buffered_stores;
  Counter removes;
  Counter user_bytes_stored;
  Counter appended_entry_bytes;
  Counter ghost_hits;
  Counter flushes;
  Counter flushed_writes;
  Counter flush_failures;
  Counter background_flush_failures;
  // Reading.
  alignas(64) Counter lookups;
  Counter batches;
  Counter hits;
  Counter misses;
  Counter user_bytes_read;
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

/// Adds the time until its end to a histogram.
class LatencyTimer {
 public:
  explicit LatencyTimer(Histogram& histogram) : histogram_(histogram), start_(monotonic_ns()) {}
  ~LatencyTimer() { histogram_.add(monotonic_ns() - start_); }
  LatencyTimer(const LatencyTimer&) = delete;
  LatencyTimer& operator=(const LatencyTimer&) = delete;

 private:
  Histogram& histogram_;
  const std::uint64_t start_;
};

}  // namespace rawcache
