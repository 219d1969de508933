// A random run on a device that has many faults, one after the other, each judged before the next.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "crash/power_cut.h"

namespace rawcache::testing {

/// A small cache, so that a fault is soon met and judged.
Scene scene_for_faults(std::mt19937_64& random);

/// The device works again: everything can be flushed, and then the content is what was accepted.
/// What is wrong, or "".
std::string check_healed(Workload& calls, RawDiskCache& cache, const Oracle& oracle,
                         const Scene& scene);

/// What runs of both kinds share: a cache on a simulated disk in virtual time, and its oracle.
class FaultRun {
 public:
  explicit FaultRun(std::uint64_t seed);
  FaultRun(const FaultRun&) = delete;
  FaultRun& operator=(const FaultRun&) = delete;

  /// Requests and syncs fail, once or for ever, late or soon, with any part of what they should
  /// do done; the power goes now and then. What is wrong, or "".
  std::string with_errors();
  /// No request fails, but the log rots, and writes and reads of it go elsewhere or nowhere.
  std::string with_silent_faults();

  /// Faults that the cache has met: a fault that lasts counts once.
  std::uint64_t faults() const { return faults_; }
  /// Requests and syncs that have failed, and silent faults met.
  std::uint64_t failures() const { return failures_; }
  std::uint64_t recoveries() const { return recoveries_; }
  std::string words() const { return scene_.words(); }

 private:
  std::string open();
  std::string meet_error();
  void break_device();
  std::string call();
  std::string look(const char* when);
  std::string heal();
  std::string cut_power();
  std::string close_and_open(bool silent);
  std::string meet_error_at_open();
  std::string meet_silent_fault();
  void damage();
  std::string check_silent();
  void note_stats();
  Extent log() const;
  void attach();

  std::mt19937_64 random_;
  Scene scene_;
  std::uint64_t virtual_ns_ = 1;
  std::uint64_t latency_ns_max_ = 1;
  std::unique_ptr<CutDisk> disk_;
  Oracle oracle_;
  CacheInfo info_;
  std::unique_ptr<RawDiskCache> cache_;
  std::unique_ptr<Workload> calls_;
  bool index_was_full_ = false;
  std::uint64_t faults_ = 0;
  std::uint64_t failures_ = 0;
  std::uint64_t recoveries_ = 0;
};

}  // namespace rawcache::testing
