// Clients that call one small cache at the same time, and what they saw.
#pragma once

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "history/history.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::testing {

/// How often each kind of call is made, relative to the others.
struct CallMix {
  std::uint32_t store = 8, store_buffered = 30, remove = 3, remove_buffered = 6;
  std::uint32_t lookup = 24, lookup_batch = 12, contains = 2, asynchronous = 6;
  std::uint32_t flush = 2, maintain = 1;
  std::uint32_t clears_per_mille = 2;  ///< of all calls, apart from the weights
};

struct Clients {
  std::uint32_t threads = 4;
  std::uint32_t keys = 48;
  std::uint32_t calls = 1000;  ///< of each thread, in each life
  std::uint32_t lives = 2;     ///< the cache is closed and opened again in between
  std::uint64_t value_bytes = 1000;
  CallMix mix;
};

/// A disk in memory, a cache on it, threads that call it, and what they did to each key.
class HistoryRun {
 public:
  /// Draws the cache from the seed.
  HistoryRun(std::uint64_t seed, const Clients& clients);
  ~HistoryRun();

  /// Runs all lives and judges. What is wrong, or "".
  std::string go();
  /// Calls on keys that were judged: a lookup_batch is one for each of its keys.
  std::uint64_t calls() const { return judged_; }
  std::uint64_t evicted() const { return evicted_; }
  std::string words() const;

 private:
  class Client;

  std::string live();
  std::string judge();

  const Clients clients_;
  std::mt19937_64 random_;
  FormatOptions format_;
  Options options_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<RawDiskCache> cache_;
  std::atomic<std::uint64_t> moment_{0};
  std::vector<std::unique_ptr<Client>> threads_;
  std::uint64_t judged_ = 0;
  std::uint64_t evicted_ = 0;
};

}  // namespace rawcache::testing
