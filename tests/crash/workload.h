// A random cache and random calls on it, each told to an Oracle (or to whoever keeps the story).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "rawcache/raw_disk_cache.h"
#include "support/oracle.h"

namespace rawcache::testing {

/// Lends a disk, so that it survives the cache.
class LentDisk final : public Disk {
 public:
  explicit LentDisk(Disk& disk) : disk_(disk) {}

 private:
  const DiskInfo& do_info() const override { return disk_.info(); }
  void do_submit(IoBatch& batch) override { (void)disk_.submit(batch); }
  void do_wait(IoBatch& batch, std::size_t at_least) override { disk_.wait(batch, at_least); }
  int do_sync() override {
    const auto synced = disk_.sync();
    return synced ? 0 : synced.error().os_error();
  }
  void do_start_sync(IoBatch& batch) override { disk_.start_sync(batch); }
  Disk& disk_;
};

/// What a run is made of; drawn from its seed.
struct Scene {
  FormatOptions format;
  Options options;
  std::uint64_t device_bytes = 0;
  std::uint32_t keys = 1;
  std::uint64_t value_bytes = 0;  ///< sizes are drawn up to this
  bool clears = true;             ///< clear is among the calls
  /// Keys are drawn from those that leave this remainder, so that threads can share them out.
  std::uint32_t key_step = 1;
  std::uint32_t key_remainder = 0;
  std::string words() const;
};

/// Draws what becomes of values that are stored: whether they are compressed, wait in memory, or
/// are refused when a budget is used up.
void draw_storing(std::mt19937_64& random, Options& options);
std::string storing_words(const Options& options);

/// A cache of a few KiB to a few hundred, on a simulated disk.
Scene tiny_scene(std::mt19937_64& random);

/// Formats the disk as a cache with a drawn id: where keys lie and what a budget admits follow from
/// it, so that a seed tells the whole story.
Result<CacheInfo> format_drawn(std::mt19937_64& random, Disk& disk, const FormatOptions& format);

/// Segments that must be opened after an entry before it may be evicted, as Stats promises.
std::uint64_t segments_kept(const CacheInfo& info, const Stats& stats);

/// Counts the segments that a write of this extent opens.
std::uint64_t segments_opened_by(const CacheInfo& info, std::uint64_t offset, std::uint64_t size);

/// With RAWCACHE_TRACE in the environment what is told is printed, too.
std::function<void(const Oracle::Event&)> traced(std::function<void(const Oracle::Event&)> tell);

/// Makes random calls.
class Workload {
 public:
  using Tell = std::function<void(const Oracle::Event&)>;

  /// `next_version`: of the first call. With `exact_batches` it finds out which calls end a batch,
  /// which wants one thread and no maintenance thread; without, every call may.
  Workload(const Scene& scene, std::mt19937_64& random, std::uint64_t next_version,
           bool exact_batches, Tell tell)
      : scene_(scene),
        random_(random),
        next_version_(next_version),
        exact_batches_(exact_batches),
        tell_(traced(std::move(tell))) {}

  /// Told before (true) and after (false) each call of the cache, which is all that happens in
  /// between.
  void set_around(std::function<void(bool)> around) { around_ = std::move(around); }

  /// One call that changes something. The error, if it failed; not counted: those which say that
  /// nothing was accepted because the cache is full of work.
  Result<void> step(RawDiskCache& cache);

  // Single calls, told to the oracle in the same way.
  Result<void> store(RawDiskCache& cache, std::uint32_t key, bool durable,
                     std::chrono::seconds ttl = {});
  Result<void> remove(RawDiskCache& cache, std::uint32_t key, bool durable);
  Result<void> clear(RawDiskCache& cache);
  Result<void> flush(RawDiskCache& cache);
  Result<void> close(RawDiskCache& cache);

 private:
  void watch_batches(RawDiskCache& cache, const Stats& before, bool failed);
  Result<void> tell_end(RawDiskCache& cache, const Stats& before, Result<void> result, bool durable,
                        StoredIn where = StoredIn::log);
  std::size_t value_size();
  template <typename Call>
  auto inside(const Call& call);

  const Scene& scene_;
  std::mt19937_64& random_;
  std::uint64_t next_version_;
  const bool exact_batches_;
  bool troubled_ = false;  ///< a flush has failed and has not been made good
  const Tell tell_;
  std::function<void(bool)> around_;
};

/// Looks up every key. `wrong` gets a complaint for each value that was never stored there; a read
/// that failed makes `failed` true and counts as nothing found.
Content content_of(RawDiskCache& cache, std::uint32_t keys, std::string& wrong,
                   bool* failed = nullptr);

}  // namespace rawcache::testing
