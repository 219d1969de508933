// SimDisk: a disk in memory with a volatile write cache, and power cuts.
//
// What a real disk may do to writes that were not synced: lose them, keep them, in any subset, tear
// them between sectors or inside one, and leave garbage. A later write of a sector is never undone
// by an earlier one. What it does besides only on command: forget writes whose sync failed, put
// a write somewhere else, lose it for good.
//
// The atlas of what may come together, because the cache claims to survive it: any one of the crash
// policies, any number of times, also during recovery, with failing requests and syncs and with
// writes forgotten by a failed sync; or, without crashes and failures, any number of silent faults
// in the log (rot, stale sectors, misdirected or lost writes, misdirected reads); or one of them in
// a checkpoint or superblock, of which there are two. Two rotten checkpoints or superblocks are an
// error when opening, not a wrong answer. Not claimed: a sync that lies about writes of which none
// failed, and a request that never completes and is not given up by the kernel either (its caller
// waits, and so does close).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "rawcache/disk.h"

namespace rawcache::testing {

/// What a power cut does to each write that was not synced.
enum class CrashPolicy : std::uint8_t {
  lose_all,     ///< nothing unsynced reached the medium
  keep_all,     ///< everything did
  any_whole,    ///< each write by itself is lost or kept
  any_torn,     ///< each write by itself is lost, kept or torn: any subset of its sectors is kept
  any_shorn,    ///< as any_torn, and one sector of a torn write is torn at a byte
  any_garbage,  ///< each sector by itself is lost, kept or garbage
};

/// What becomes of a sector by itself.
enum class Rot : std::uint8_t {
  bit,      ///< one bit of it is another
  zeros,    ///< it is all 0x00
  ones,     ///< it is all 0xFF
  garbage,  ///< it is random
  stale,    ///< it is what it was before it was last written
};

/// A sector whose content a power cut leaves open, and what it may be.
struct OpenSector {
  std::uint64_t offset = 0;
  /// Oldest first, the durable one in front. Valid until the next call to the disk.
  std::vector<const std::byte*> contents;
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

  /// All that the next power cut may leave: every choice of one content per sector is possible.
  std::vector<OpenSector> open_sectors() const;

  /// From now on requests complete when they are waited for, in a random order, and reads and
  /// writes look at their memory no earlier, syncs in the background are not over before: what is
  /// not complete when a sync begins is not durable after it.
  void complete_late(std::uint64_t seed);
  /// From now on every request and sync fails and changes nothing.
  void cut();

  /// What a kernel does after a failed write-back: what was not synced still reads as written,
  /// counts as synced, and is not durable.
  void forget_unsynced();

  // Silent faults. `faults_met` counts those that a read or recovery has come across since.

  /// The k-th write that begins in `zone` from now on (1: the next) succeeds and goes to `to`
  /// instead; nullopt: nowhere.
  void misdirect_write(std::uint64_t k, std::optional<std::uint64_t> to, Extent zone = kAnywhere);
  /// The k-th read that begins in `zone` from now on finds what is at `from`.
  void misdirect_read(std::uint64_t k, std::uint64_t from, Extent zone = kAnywhere);
  /// Keeps what is overwritten from now on, for Rot::stale.
  void keep_overwritten();
  /// Damages the sector, durably. False: it would be what it is.
  bool rot(std::uint64_t sector, Rot rot, std::mt19937_64& random);
  std::uint64_t faults_met() const;
  static constexpr Extent kAnywhere{0, std::numeric_limits<std::uint64_t>::max()};

  /// Overwrites the range durably.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes);

  /// What reads see, and what is certain to survive.
  std::vector<std::byte> content() const;
  std::vector<std::byte> durable_content() const;
  std::size_t unsynced_writes() const;

 private:
  struct Write {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
    std::uint64_t number = 0;  ///< in the order in which they were completed
  };

  struct UnderWay;  // the requests of a batch that complete late, or a sync

  const DiskInfo& do_info() const override { return info_; }
  void do_submit(IoBatch& batch) override;
  void do_wait(IoBatch& batch, std::size_t at_least) override;
  int do_sync() override;
  void do_start_sync(IoBatch& batch) override;

  /// The k-th request of a kind that begins in a zone.
  struct Misdirection {
    std::uint64_t in = 0;  ///< requests; 0: none
    std::optional<std::uint64_t> other;
    Extent zone;
    bool is_due(std::uint64_t offset) {
      return in > 0 && offset >= zone.offset && offset - zone.offset < zone.size && --in == 0;
    }
  };

  void carry_out(IoRequest& request) REQUIRES(mutex_);
  void sync_through(std::uint64_t write) REQUIRES(mutex_);
  void carry_out_read(const IoRequest& request) REQUIRES(mutex_);
  void carry_out_write(const IoRequest& request) REQUIRES(mutex_);
  /// A silent fault now lies in these sectors.
  void note_fault(std::initializer_list<Extent> places) REQUIRES(mutex_);
  /// Unsynced writes, and after them those under way.
  std::vector<Write> volatile_writes() const REQUIRES(mutex_);

  DiskInfo info_;
  mutable Mutex mutex_;
  std::vector<std::byte> content_ GUARDED_BY(mutex_);
  std::vector<std::byte> durable_ GUARDED_BY(mutex_);
  std::vector<Write> unsynced_ GUARDED_BY(mutex_);  ///< in the order in which they came
  std::uint64_t writes_ GUARDED_BY(mutex_) = 0;     ///< completed so far
  std::vector<UnderWay*> under_way_ GUARDED_BY(mutex_);
  std::optional<std::mt19937_64> late_ GUARDED_BY(mutex_);
  bool cut_ GUARDED_BY(mutex_) = false;
  Misdirection misdirected_write_ GUARDED_BY(mutex_), misdirected_read_ GUARDED_BY(mutex_);
  std::vector<std::byte> overwritten_ GUARDED_BY(mutex_);  ///< empty: not kept
  /// Sectors in which silent faults lie, and the number of the fault.
  std::map<std::uint64_t, std::uint64_t> faulty_sectors_ GUARDED_BY(mutex_);
  std::uint64_t faults_ GUARDED_BY(mutex_) = 0;
  std::set<std::uint64_t> faults_met_ GUARDED_BY(mutex_);
};

}  // namespace rawcache::testing
