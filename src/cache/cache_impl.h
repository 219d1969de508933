// RawDiskCache::Impl: the pipelines. The only control flow that crosses modules.
//
//   store.cc        place -> encode -> publish
//   flush.cc        seal -> write -> sync -> tell
//   urgent.cc       what is done for those that must not wait
//   admission.cc    what is not written (yet): waits in memory, is refused
//   update.cc       look -> decide -> append, in one step
//   lookup.cc       locate -> read -> verify -> touch
//   memory_lookup.cc  the same from the memory tier
//   reclaim.cc      freeing segments: what is kept, copied and dropped
//   training.cc     dictionaries from the cache's own values
//   maintenance.cc  spare segments, checkpoint, clear
//   hints.cc        what eviction remembers across an orderly close
//   delayed_clear.cc  a clear at a time to come
//   watch.cc        what loads watch while they fetch
//   open.cc         open, recover, close
//   cache_stats.cc  Stats
//   segment_snapshot.cc  what each segment holds
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/io_arena.h"
#include "base/mutex.h"
#include "batch/batch_io_manager.h"
#include "batch/batch_sizer.h"
#include "cache/compressor.h"
#include "cache/counters.h"
#include "cache/departed.h"
#include "cache/eviction_policy.h"
#include "cache/flush_turns.h"
#include "cache/ghost.h"
#include "cache/index.h"
#include "cache/log_writer.h"
#include "cache/memory_tier.h"
#include "cache/recovery.h"
#include "cache/segment_log.h"
#include "cache/superblock_io.h"
#include "cache/waiting_room.h"
#include "cache/write_budget.h"
#include "cache/write_watch.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache {

class CheckpointWriter;

/// Free segments kept ahead of need are at most this share of all.
inline constexpr std::uint64_t kSpareShare = 8;

/// What a write buffer holds at most.
BatchLimits batch_limits(const Options& options);

class RawDiskCache::Impl {
 public:
  static Result<std::unique_ptr<Impl>> open(std::unique_ptr<Disk> disk, const Options& options);
  ~Impl();

  // store.cc
  struct WriteCall {
    EntryKind kind = EntryKind::value;
    std::string_view key;
    std::span<const std::byte> value;
    std::chrono::seconds ttl{0};
    std::uint32_t flags = 0;
    bool stale = false;
    std::optional<Compression> compression{};
    bool durable = false;
    bool urgent = false;
    StoreIf when = StoreIf::always;
    std::uint64_t expected_sequence = 0;
    std::optional<std::uint32_t> expires_at = {};  ///< whatever `ttl` says
    /// Of a load: nothing is appended if its key has been written meanwhile.
    const WriteWatch::Watched* unless_written = nullptr;
    StoredIn* stored_in = nullptr;
  };
  /// What becomes of a write.
  enum class Verdict : std::uint8_t {
    log,     ///< appended
    memory,  ///< the value waits in memory
    refuse,
    overtaken,  ///< somebody else has written the key
  };
  /// How a value was stored.
  struct StoredAs {
    std::uint64_t sequence = 0;  ///< 0: it was not
    std::uint32_t expires_at = 0;
    Verdict verdict = Verdict::log;
    bool in_batch = false;  ///< a durable call waits for its batch
  };
  static WriteCall store_call(std::string_view key, std::span<const std::byte> value,
                              const StoreOptions& options, bool durable) {
    return {.key = key,
            .value = value,
            .ttl = options.ttl,
            .flags = options.flags,
            .stale = options.stale,
            .compression = options.compression,
            .durable = durable,
            .urgent = options.priority == Priority::urgent,
            .when = options.when,
            .expected_sequence = options.sequence,
            .stored_in = options.stored_in};
  }
  Result<void> write(const WriteCall& call);
  std::vector<Result<void>> store_batch(std::span<const KeyValue> entries,
                                        const StoreOptions& options);
  std::vector<Result<void>> store_buffered_batch(std::span<const KeyValue> entries,
                                                 const StoreOptions& options);
  /// Whether calls are carried out behind one that the device has failed.
  enum class Rest : std::uint8_t { is_tried, fails_alike };
  /// The same for many, in order; the durable ones share a commit. `stored` is null or has one
  /// place per call.
  std::vector<Result<void>> write_group(std::span<const WriteCall> calls,
                                        StoredAs* stored = nullptr, Rest rest = Rest::is_tried);
  Result<std::uint64_t> flush_writes();

  // update.cc
  Result<Updated> update(std::string_view key, const Updater& updater, bool durable);
  Result<void> touch(std::string_view key, std::chrono::seconds ttl, bool durable);

  // lookup.cc
  Result<Value> lookup(std::string_view key);
  std::vector<Result<Value>> lookup_batch(std::span<const std::string_view> keys);
  Result<bool> contains(std::string_view key);
  /// As lookup_batch, but counts nothing.
  std::vector<Result<Value>> find_values(std::span<const std::string_view> keys);
  void find_values(std::span<const std::string_view> keys, std::span<Result<Value>> results);
  Result<void> for_each_key(const std::function<bool(const KeyInfo&)>& each);

  // watch.cc
  /// Between the two, `watched` notes whether its key is written.
  void begin_watch(std::string_view key, WriteWatch::Watched& watched);
  void end_watch(const WriteWatch::Watched& watched);

  Result<void> train_dictionary();  // training.cc

  // maintenance.cc
  Result<void> clear();
  Result<void> maintain();

  // delayed_clear.cc
  Result<void> clear_at(std::int64_t time);

  Stats stats() const;
  std::vector<SegmentInfo> segments() const;  // segment_snapshot.cc
  std::uint64_t value_bytes_max(std::size_t key_bytes) const;
  Result<void> close();

 private:
  Impl(std::unique_ptr<Disk> disk, const Options& options, const LoadedSuperblock& loaded);

  // cache_stats.cc
  void add_content(Stats& stats) const;
  void add_calls(Stats& stats) const;
  void add_device(Stats& stats) const;

  // open.cc
  Result<void> start();
  Result<void> erase_blocks(const std::vector<std::uint64_t>& offsets);
  Result<void> note_opened(std::uint64_t checkpoint_generation);
  void adopt(Recovered recovered) REQUIRES(checkpoint_mutex_);
  Result<void> make_last_checkpoint();

  // store.cc
  Result<void> check(const WriteCall& call) const;
  std::uint32_t expiry(const WriteCall& call);
  void prefetch(std::uint64_t key_hash) const NO_THREAD_SAFETY_ANALYSIS;
  Result<StoredAs> begin_write(const WriteCall& call, std::uint64_t key_hash, DirectWrite* direct);
  Result<void> start_due_flush(bool urgent = false);
  /// `direct` is that of a call that waits for its batch.
  Result<void> end_write(const WriteCall& call, const StoredAs& stored, DirectWrite* direct);
  void end_writes();
  /// A write between being called and being visible.
  struct Writing {
    EntryFields entry;
    DirectWrite* direct = nullptr;
    const WriteWatch::Watched* unless_written = nullptr;
    WaitingRoom::Pointer waiting;  ///< a copy of the value, if it may wait in memory
    Verdict verdict = Verdict::log;
    EntryPlace place;  ///< where it lies then, if it has been appended
    bool in_batch = false;
  };
  Result<void> append(Writing& writing);
  Result<LogWriter::Obstacle> try_append(Writing& writing);
  void count_call(const Writing& writing) REQUIRES(log_mutex_);
  /// Of an entry that has been appended.
  void note_appended(Location location) REQUIRES(log_mutex_);
  /// The stream of what has proved its worth.
  Stream proven_stream(std::uint64_t entry_bytes) REQUIRES(log_mutex_);
  Result<void> publish(const EntryFields& entry, Location location, unsigned hits,
                       DirectWrite* direct) REQUIRES(log_mutex_);
  // update.cc
  /// A key on watch for as long as this lives.
  class Watching {
   public:
    Watching(Impl& impl, std::string_view key);
    ~Watching();
    Watching(const Watching&) = delete;
    Watching& operator=(const Watching&) = delete;
    const WriteWatch::Watched& watched() const { return watched_; }

   private:
    Impl& impl_;
    WriteWatch::Watched watched_;
  };
  /// What is to be written, given what is there; nullopt: nothing.
  using Decide = std::function<std::optional<WriteCall>(const Value* now)>;
  /// begin_write of what `decide` says, in one step with looking. Sequence 0: nothing was written.
  Result<StoredAs> begin_decided(std::string_view key, std::uint64_t key_hash, const Decide& decide,
                                 DirectWrite* direct);
  Result<StoredAs> begin_conditional(const WriteCall& call, std::uint64_t key_hash,
                                     DirectWrite* direct);

  // flush.cc
  Result<void> make_buffer_room();
  Result<void> wait_until_durable(DirectWrite& direct);
  using FlushTurn = FlushTurns::Turn;
  enum class Wait : std::uint8_t { no, for_a_buffer, for_everything };
  /// With the turn: seals and submits the open batch, and completes as much as is to be waited for.
  /// Returns the operations made durable.
  Result<std::uint64_t> flush_in_turn(const FlushTurn& turn, Wait wait);
  /// Completes everything that is sealed, or else what has become durable since, waiting if need be
  /// until a buffer is free. Returns the operations made durable.
  Result<std::uint64_t> complete_in_turn(const FlushTurn& turn, Wait wait);
  /// Without the turn: what is sealed now becomes durable, in the hands of those who store if they
  /// go on storing.
  Result<void> complete_sealed();
  void note_durable(const Completed& completed, std::uint64_t start_ns);
  void fail_in_turn(const FlushTurn& turn, const Error& error);
  void fail_direct_writes(const Error& error) REQUIRES(log_mutex_);
  void note_flush(const Completed& completed);
  bool relocate(const Error& error);
  void feed_relocation();

  // urgent.cc
  /// An urgent write is about to be appended.
  void note_urgent(DirectWrite* direct);
  /// Batches are to be flushed at this size, or earlier while urgent writes come.
  void set_batch_target(std::uint64_t bytes);

  // admission.cc
  double budget_left() REQUIRES(log_mutex_);
  Verdict judge(const Writing& writing, bool returns) REQUIRES(log_mutex_);
  /// Does what Verdict::memory or refuse want instead of appending the value.
  Result<LogWriter::Obstacle> keep_out(Writing& writing) REQUIRES(log_mutex_);
  bool must_be_removed(std::uint64_t key_hash) REQUIRES(log_mutex_);
  Result<void> make_copy_that_waits(Writing& writing);
  /// Writes or drops a value that has waited for its time.
  Result<void> settle(const WaitingRoom::Pointer& item);
  Result<LogWriter::Obstacle> try_settle(const WaitingRoom::Item& item);
  Result<void> settle_all();
  std::optional<Result<Value>> find_waiting(std::string_view key, std::uint64_t key_hash);

  // lookup.cc
  /// Where an entry was found, and what its bytes must prove.
  struct Located {
    std::uint64_t key_hash = 0;
    Location location;
    unsigned hits = 0;  ///< that the index has counted
    std::uint32_t generation = 0;
    EntryPlace place() const { return {location.offset, generation}; }
  };
  inline std::optional<Located> locate(std::uint64_t key_hash) const;
  inline Located located_at(std::uint64_t key_hash, Location location, unsigned hits) const;
  /// Covers the entry.
  Extent extent_of(Location location) const;
  Result<void> check_key(std::string_view key) const;
  /// The value, if `read` holds the key's live entry; not_found if not. nullopt: the entry moved
  /// while it was being read, locate it again.
  std::optional<Result<Value>> verify(std::string_view key, const Located& located,
                                      ReadAnswer read);
  Result<Value> make_value(const EntryView& entry, ReadAnswer read);
  /// The value of an entry that is written compressed.
  Result<Value> decompressed(const EntryView& entry, const Located& located);
  Result<Value> unreadable(const Located& located);
  IoLease lease_of(std::size_t bytes);
  /// `hits`: those that the index is known to have counted already.
  void note_hit(std::uint64_t key_hash, Location location, unsigned hits);
  /// `timer`, if there is one, is started before the device is read.
  Result<Value> find_value(std::string_view key, LatencyTimer* timer);
  Result<Value> find_indexed(std::string_view key, std::uint64_t key_hash, LatencyTimer* timer);
  static void count_ended(LookupCounters::Shard& counters, std::span<const Result<Value>> results);
  using Each = std::function<bool(const KeyInfo&)>;
  Result<bool> visit_slots(std::uint32_t page, const std::vector<std::uint64_t>& slots,
                           const Each& each, std::int64_t now,
                           const std::unordered_set<std::uint64_t>& told);
  /// Adds the sequences of those told to `told`. False: `each` wants no more.
  bool visit_waiting(const Each& each, std::int64_t now, std::unordered_set<std::uint64_t>& told);

  // memory_lookup.cc
  EntryPlace place_of(Location location) const;
  /// The key's value, if the memory tier holds it.
  std::optional<Value> find_in_memory(std::string_view key, const Located& located);
  std::optional<Value> keep_in_memory(const EntryView& entry, std::span<const std::byte> value,
                                      const Located& located);
  void tell_memory(const WriteCall& call, const Writing& writing);

  // training.cc
  struct Samples;
  Result<Samples> take_samples(std::size_t bytes_wanted);

  // reclaim.cc
  /// Frees a segment as the policy says. False: none can be freed.
  Result<bool> reclaim_one() REQUIRES(checkpoint_mutex_);
  /// Frees the segment that was opened first, keeping nothing.
  Result<bool> reclaim_oldest(Counter& cause) REQUIRES(checkpoint_mutex_);
  std::optional<std::uint32_t> oldest_segment() const REQUIRES(log_mutex_);
  std::optional<EvictionStep> next_step(std::uint32_t rotations) REQUIRES(log_mutex_);
  /// A live entry of a segment that is being freed.
  struct Survivor {
    std::uint64_t key_hash = 0;
    Location location;
    unsigned hits = 0;
  };
  struct Victim {
    std::uint32_t segment = 0;
    std::uint32_t generation = 0;
    Stream label = Stream::small;
    std::optional<std::vector<FooterRecord>> records;
  };
  Result<Victim> read_victim(std::uint32_t segment);
  void keep_segment(const EvictionStep& step);
  Result<void> copy_hot(const Victim& victim);
  std::vector<Survivor> choose_hot(const Victim& victim);
  std::vector<Extent> next_piece(std::span<const Survivor> hot, std::uint64_t bytes_max) const;
  Result<bool> copy_entry(const EntryView& entry, const Survivor& survivor, const Victim& victim);
  void drop(const Victim& victim, Counter& cause);

  // maintenance.cc
  /// With checkpoint_mutex_ free: at least `wanted` free segments that may be reused at once.
  Result<void> make_segment_usable(std::uint64_t wanted);
  /// The same ahead of need: they may be reused after the next flush.
  Result<void> make_spares(std::uint64_t wanted) REQUIRES(checkpoint_mutex_);
  Result<void> make_index_room();
  Result<void> leave_open_segment() REQUIRES(checkpoint_mutex_);
  bool checkpoint_due() const;
  /// Takes a checkpoint. False: something was withdrawn meanwhile, so it was given up; try again.
  Result<bool> take_checkpoint(bool closing) REQUIRES(checkpoint_mutex_);
  struct Barrier;
  Result<Barrier> raise_barrier();
  Result<std::uint64_t> write_snapshot(CheckpointWriter& writer, const Barrier& barrier) const;
  bool is_disturbed(const Barrier& barrier);
  /// Makes durable what has been written and what is buffered.
  Result<void> sync_with_flushes();
  Result<void> clear_locked() REQUIRES(checkpoint_mutex_);

  // hints.cc
  Result<void> write_hints(CheckpointWriter& writer) const;
  void load_hints(int area);

  // delayed_clear.cc
  bool clear_is_due();
  Result<void> carry_out_clear();
  /// Called first by everything that reads or writes entries.
  Result<void> clear_if_due() {
    if (clear_at_.load(std::memory_order_relaxed) == 0) [[likely]]
      return {};
    return carry_out_clear();
  }
  /// With the turn: makes sure that a failed clear has not happened.
  Result<void> settle_superblock();
  /// With the turn.
  void write_other_superblock();
  void run_maintenance();
  Result<void> flush_if_late();
  void forget_background_failures();
  /// Nanoseconds until flush_interval wants a flush; nullopt: nothing waits for one.
  std::optional<std::uint64_t> until_late_ns() const;
  void note_buffered() REQUIRES(log_mutex_);
  void note_sealed() REQUIRES(log_mutex_);
  void note_durable() REQUIRES(log_mutex_);
  std::uint64_t monotonic() const;
  void wake_maintenance();

  /// max(clock, highest time ever persisted): a clock set back revives nothing.
  std::int64_t now();

  const Options options_;
  std::shared_ptr<IoArena> arena_;  ///< outlives the disk, which may have registered it
  std::unique_ptr<Disk> disk_;
  const Superblock superblock_;  ///< as opened: geometry and identity
  /// Free segments kept ahead of need, to go on in and for batches that must be placed elsewhere.
  /// None in caches of a few segments, which would lose much to them.
  const std::uint64_t spare_segments_;
  const std::uint64_t entry_bytes_max_;  ///< that fit a segment and the read buffer
  std::unique_ptr<BatchIOManager> io_;
  std::unique_ptr<Index> index_;
  std::unique_ptr<MemoryTier> memory_;    ///< null without memory_bytes
  const bool selective_;                  ///< not everything is written that is stored
  std::unique_ptr<WaitingRoom> waiting_;  ///< null without Admission::wanted_again
  std::unique_ptr<EvictionPolicy> policy_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> last_hits_;  ///< by segment, bytes appended by then
  const double tokens_per_byte_;
  const std::uint64_t tokens_max_;
  Compressor compressor_;
  Counters counters_;
  RecoveryCounts recovery_counts_;
  std::uint64_t recovery_ns_ = 0;
  std::uint64_t recovered_until_ = 0;  ///< Unix time
  const std::uint64_t opened_ns_;
  bool started_ = false;  ///< recovery went well
  std::atomic<bool> closed_{false};
  std::atomic<std::int64_t> time_high_{0};
  std::atomic<std::int64_t> clear_at_;  ///< Unix time of a clear that is noted; 0: none

  // Locks, in the order in which they are taken.
  Mutex training_mutex_;    ///< one dictionary at a time
  Mutex checkpoint_mutex_;  ///< one checkpoint, reclaim or clear at a time
  // These belong to whoever has the turn.
  LoadedSuperblock written_;  ///< what clear writes anew
  /// A clear, or the note of one, has failed and may have reached the device.
  bool superblock_uncertain_ = false;
  bool superblock_alone_ = false;  ///< the other copy has missed what was written last
  std::uint64_t checkpoint_generation_ GUARDED_BY(checkpoint_mutex_) = 0;
  int checkpoint_area_ GUARDED_BY(checkpoint_mutex_) = 0;

  FlushTurns turns_;
  // These belong to whoever has the turn.
  std::uint32_t failures_in_a_row_ = 0;  ///< of flushes
  FlushCosts flush_costs_;
  std::atomic<std::uint64_t> brief_batch_bytes_{std::uint64_t{1} << 20};  ///< while some are urgent
  std::uint64_t last_flush_ns_ = 0;
  std::atomic<std::uint64_t> measured_bytes_per_s_{0}, measured_sync_ns_{0};
  std::atomic<std::uint64_t> urgent_until_ns_{0};  ///< urgent writes are expected; 0: none has come

  mutable Mutex log_mutex_;
  std::unique_ptr<SegmentLog> log_;  ///< guarded by log_mutex_, but for generation() and constants
  std::unique_ptr<LogWriter> writer_ PT_GUARDED_BY(log_mutex_);

  std::unique_ptr<Ghost> ghost_ PT_GUARDED_BY(log_mutex_);  ///< null if the policy does not ask
  std::uint64_t tokens_ GUARDED_BY(log_mutex_) = 0;         ///< bytes that may be copied
  WriteWatch watch_ GUARDED_BY(log_mutex_);
  std::unique_ptr<Departed> departed_ PT_GUARDED_BY(log_mutex_);  ///< null unless selective_
  WriteBudget budget_ GUARDED_BY(log_mutex_);
  double budget_left_ GUARDED_BY(log_mutex_) = 1;  ///< when it was looked at last

  std::atomic<std::uint64_t> replay_from_{0};  ///< of the durable checkpoint
  std::atomic<std::uint64_t> appended_at_checkpoint_{0};
  std::atomic<std::uint64_t> appended_{0};      ///< bytes of the log, for checkpoint_due
  std::atomic<bool> checkpoint_wanted_{false};  ///< whatever the log's growth
  std::atomic<bool> segments_wanted_{false};
  std::atomic<std::uint64_t> segments_missing_{0};  ///< to place a batch elsewhere
  std::atomic<std::uint64_t> sequence_{0};          ///< of entries, for checkpoint_due
  std::atomic<std::uint64_t> sequence_at_checkpoint_{0};

  // For flush_interval: since when the oldest entry has been buffered, and the oldest one that is
  // sealed and not durable; 0: none. Written under log_mutex_.
  std::atomic<std::uint64_t> filling_since_ns_{0}, sealed_since_ns_{0};
  std::atomic<std::uint64_t> retry_flush_ns_{0};  ///< not before, after failures
  std::atomic<bool> timer_set_{false};            ///< the maintenance thread looks again in time
  std::atomic<bool> background_failed_{false};    ///< to be told to the next call
  std::atomic<std::uint32_t> background_failures_{0};  ///< in a row

  Mutex maintenance_mutex_;
  CondVar maintenance_wanted_;
  bool maintenance_due_ GUARDED_BY(maintenance_mutex_) = false;
  bool maintenance_stop_ GUARDED_BY(maintenance_mutex_) = false;
  std::thread maintenance_;

  const DiskInfo disk_info_;
  const DiskCounters disk_counters_at_open_;
  // For stats after close.
  DiskCounters disk_counters_at_close_;
  BatchIOCounts io_at_close_;
};

}  // namespace rawcache
