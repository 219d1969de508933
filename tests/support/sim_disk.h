// SimDisk: a disk in memory with a volatile write cache, and power cuts.
//
// What a real disk may do to writes that were not synced: lose them, keep them, in any subset, and
// tear them between sectors. A later write of a sector is never undone by an earlier one.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/mutex.h"
#include "rawcache/disk.h"

namespace rawcache::testing {

/// What a power cut does to each write that was not synced.
enum class CrashPolicy : std::uint8_t {
  lose_all,   ///< nothing unsynced reached the medium
  keep_all,   ///< everything did
  any_whole,  ///< each write by itself is lost or kept
  any_torn,   ///< each write by itself is lost, kept or torn: any subset of its sectors is kept
};

/// Threads: any; one lock.
class SimDisk final : public Disk {
 public:
  static constexpr std::uint32_t kSectorBytes = 512;

  /// Zeroed. `size_bytes` is a multiple of kSectorBytes.
  explicit SimDisk(std::uint64_t size_bytes);
  /// With this content, all of it durable: the medium after a crash.
  explicit SimDisk(std::vector<std::byte> image);

  /// The medium as one of the power cuts at this moment would leave it; the disk itself goes on.
  /// The same state of `random` gives the same image.
  std::vector<std::byte> crash(std::mt19937_64& random, CrashPolicy policy) const;

  /// What reads see, and what is certain to survive.
  std::vector<std::byte> content() const;
  std::vector<std::byte> durable_content() const;
  std::size_t unsynced_writes() const;

 private:
  struct Write {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };

  const DiskInfo& do_info() const override { return info_; }
  void do_submit(IoBatch& batch) override;
  void do_wait(IoBatch&, std::size_t) override {}
  int do_sync() override;

  DiskInfo info_;
  mutable Mutex mutex_;
  std::vector<std::byte> content_ GUARDED_BY(mutex_);
  std::vector<std::byte> durable_ GUARDED_BY(mutex_);
  std::vector<Write> unsynced_ GUARDED_BY(mutex_);  ///< in the order in which they came
};

}  // namespace rawcache::testing
