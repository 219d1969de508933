// The lives of real processes on one cache: a child works on it and is killed, the next one
// recovers, judges what it finds by the ledger of what was acknowledged, goes on and is killed in
// turn. The ledger is in shared memory, so the kill does not take it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "crash/workload.h"

namespace rawcache::testing {

inline constexpr std::uint32_t kLivesKeys = 240;

/// What ends a life beside a signal.
class PowerSwitch {
 public:
  virtual ~PowerSwitch() = default;
  /// In the child, before it opens the device.
  virtual void child_starts() = 0;
  /// Kills the child and cuts the power at its k-th write or sync.
  virtual void cut_at(std::uint64_t k) = 0;
  /// The child is dead. Cuts the power, if that has not happened; returns where the device is now,
  /// or "" if it is lost.
  virtual std::string restart(std::uint64_t seed) = 0;
};

/// A cache and everything that is known about it.
struct Series {
  Series(std::uint64_t seed, IoEngine engine);

  std::mt19937_64 random;
  Scene scene;
  std::size_t threads = 1;
  std::string path;
  CacheInfo info;
  std::deque<Oracle> oracles;  ///< one for each thread's share of the keys
};

class SharedLedger;

class Lives {
 public:
  /// What happens depends on the seed and on the moments at which signals come.
  Lives(std::uint64_t seed, IoEngine engine);
  ~Lives();

  /// Of the device that it wants.
  std::uint64_t device_bytes() const { return series_.scene.format.capacity; }
  /// Formats what is there, or a new file.
  std::string format(const std::string& path);
  /// Without a switch the child is killed and the device keeps what it was given.
  std::string one_life(PowerSwitch* power);
  /// Recovers and judges a last time.
  std::string end();

  std::uint64_t calls() const { return calls_; }
  std::uint64_t ends_in_recovery() const { return in_recovery_; }

 private:
  Series series_;
  const std::unique_ptr<SharedLedger> ledger_;
  std::uint64_t calls_ = 0;
  std::uint64_t in_recovery_ = 0;
};

}  // namespace rawcache::testing
