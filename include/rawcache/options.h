// Options: every limit and choice of a cache, with its unit and default.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "rawcache/disk.h"

namespace rawcache {

inline namespace literals {
constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
constexpr std::uint64_t operator""_TiB(unsigned long long n) { return n << 40; }
}  // namespace literals

/// Longest key, in bytes.
inline constexpr std::size_t kKeyBytesMax = 8192;

/// What is fixed when a cache is formatted and kept in its superblock.
struct FormatOptions {
  /// Bytes used. 0: all of a block device or existing file. Rounded down to whole segments.
  std::uint64_t capacity = 0;
  /// Unit of writing, bytes: a power of two from 512 to 65536, a multiple of the device's own.
  std::uint32_t block_bytes = 4096;
  /// What eviction frees at once, bytes; a multiple of block_bytes, at most 64 MiB. An entry never
  /// spans segments, so this bounds the value size. 0: capacity / 256, at most 64 MiB.
  std::uint64_t segment_bytes = 0;
  /// Entries to make room for, in the index and in the checkpoints. Beyond it (and a reserve of a
  /// quarter) the oldest segment is evicted early, counted as evicted_index_full. 0: capacity /
  /// 512, which costs 3 % of the capacity for checkpoints.
  std::uint64_t expected_entries = 0;
  /// A file that is newly made is written once, so that no later write waits for the file system to
  /// note that its blocks are in use now (which halves the rate of durable stores). Costs the time
  /// of writing `capacity` bytes. Block devices and existing files are left as they are.
  bool prewrite = true;
};

/// When the write buffer is flushed by itself.
enum class BatchMode : std::uint8_t {
  fixed,     ///< at Options::max_operations or Options::max_buffer_bytes
  adaptive,  ///< at a size chosen from what flushes cost, within Options::write_buffer_bytes
};

/// What is evicted when space is needed.
enum class EvictionPolicyKind : std::uint8_t {
  /// Entries that are not asked for leave early; those that are move to the main part of the log,
  /// by
  /// copies that Options::wa_cap bounds. A cache of fewer than 16 segments evicts like fifo.
  rc,
  fifo,  ///< the oldest segment
  lru,   ///< the segment that was asked for longest ago
};

/// Which values are written to the device.
enum class Admission : std::uint8_t {
  all,  ///< every one that is stored
  /// Those that are wanted again. What store_buffered gets first waits in memory, where it is
  /// readable at once: if it is asked for before Options::admission_memory_bytes are used up by
  /// newer ones, it is written then, else dropped (Stats::waiting_dropped) and its key remembered,
  /// so that it is written when it is stored again. What waits is not durable: flush_writes does
  /// not write it, a crash loses it, close writes what was asked for and drops the rest. `store` is
  /// durable as ever.
  wanted_again,
};

/// How long a store may wait for others.
enum class Priority : std::uint8_t {
  normal,
  /// It goes ahead of those who wait to flush, and as long as such stores come (within two seconds
  /// of each other), others are flushed in batches of 1 MiB (or what is written in the time of
  /// a few syncs, if they take long), so that little is ahead of it. What was buffered before still
  /// becomes durable with it. An asynchronous call keeps its place behind those begun before it.
  urgent,
};

/// Where a value is that has been stored.
enum class StoredIn : std::uint8_t {
  log,     ///< on the device, or in a write buffer that the next flush makes durable
  memory,  ///< it waits there to be asked for: Admission::wanted_again
};

/// Where callbacks of asynchronous calls run and coroutines go on.
enum class Completion : std::uint8_t {
  thread,  ///< on a thread of the cache's own, which exists from the first such call on
  poll,    ///< in RawDiskCache::poll, for loops of the caller's own
};

/// How values are written.
enum class Compression : std::uint8_t {
  none,  ///< as they are
  lz4,   ///< fast, above all when read
  zstd,  ///< smaller
};

/// Which values are compressed when they are stored, and how. Lookups hand out what was stored,
/// whatever the options are then.
struct CompressionOptions {
  Compression codec = Compression::none;
  /// lz4: 1 (fast) to 12; zstd: -7 (fast) to 19. 0: the codec's default, which is 1.
  int level = 0;
  /// Smaller values are left as they are, bytes.
  std::uint32_t min_bytes = 128;
  /// A value is written as it is if compression would save neither this share of it nor a block;
  /// from 0 to 0.9. A value whose bytes look random is not even tried.
  double min_saving = 0.125;
  /// zstd: values of up to 4 KiB are compressed with a dictionary of what they have in common. It
  /// is made by maintenance from those that the cache holds when some 2,000 have been stored, kept
  /// on the device and used from then on; RawDiskCache::train_dictionary makes a new one.
  bool dictionary = false;
};

/// What a cache does with its memory, time and threads; may differ at every open.
struct Options {
  /// Used only if the cache is made by this open; else 0 or the same as when it was formatted.
  FormatOptions format;

  /// Make a cache (a file of format.capacity bytes) if nothing exists at the path. What exists is
  /// never formatted by open.
  bool create_if_missing = false;
  /// If no checkpoint is valid: rebuild the index from the log, keeping only what provably is the
  /// newest. Without it open fails with checkpoint_lost.
  bool rebuild_if_checkpoint_lost = false;
  /// If not empty: the cache's id (32 hex digits, see CacheInfo::id) must be this one.
  std::string expected_id;
  /// If blocks that recovery needs cannot be read: go on without what is only there (misses).
  /// Without it open fails with io_error and changes nothing, since the device may come back.
  bool accept_unreadable = false;
  /// Opens a device that has grown since it was formatted; the added space stays unused.
  bool accept_grown = false;

  BatchMode batch_mode = BatchMode::fixed;
  /// fixed: a flush is due when this many operations are buffered ...
  std::uint32_t max_operations = 32;
  /// ... or this many bytes. Up to five buffers of this size are held: one filling, the
  /// others on their way to the device.
  std::uint64_t max_buffer_bytes = 4_MiB;
  /// adaptive: memory for all write buffers together, bytes, taken as it is needed. A batch holds a
  /// fifth of it at most.
  std::uint64_t write_buffer_bytes = 64_MiB;
  /// Nothing stays buffered longer than this and the time that a flush takes, also when nothing
  /// more is stored; 0: no such bound. Kept by the maintenance thread, or by calls of maintain()
  /// where there is none. A flush that fails is tried again with growing pauses and told to the
  /// next store_buffered or remove_buffered as flush_failed.
  std::chrono::milliseconds flush_interval{0};
  /// Memory for reading, bytes; values in callers' hands are leases on it, and as much again may be
  /// taken from the heap when leases hold most of it.
  std::uint64_t read_buffer_bytes = 64_MiB;
  /// Reads closer together than this are merged into one, bytes (at most 64 KiB).
  std::uint32_t read_gap_bytes = 16384;

  /// Memory for values that are asked for again and again, bytes; from 64 KiB, 0: none. Values are
  /// copied into it when they are read from the device and handed out as leases on it, which count
  /// as long as they are held. Of two equally popular values the one that came later leaves first
  /// (S3-FIFO). Where hardly anything is read twice, values are copied when they are read for the
  /// second time. One that takes more than an eighth of it is not held. Where sizes differ, what
  /// values leave between them may come to an eighth of it more.
  std::uint64_t memory_bytes = 0;

  EvictionPolicyKind eviction = EvictionPolicyKind::rc;
  /// rc: bytes appended to the log, copies included, per byte stored, at most; from 1 (no copies)
  /// to 4.
  double wa_cap = 1.20;

  Admission admission = Admission::all;
  /// wanted_again: memory for values that wait, bytes, from 4 KiB; never exceeded, also not while
  /// callers hold such values. One that takes more than an eighth of it is written when it is
  /// stored for the second time. A few per cent of the capacity do well.
  std::uint64_t admission_memory_bytes = 64_MiB;
  /// What the device is written per day, bytes, checkpoints included; 0: no bound. Up to an hour's
  /// share is saved up. The less of that is left, the fewer new values are taken; `store` and
  /// `store_buffered` say not_admitted for the others. Removes are always written. Kept over time,
  /// from open on: a full set of write buffers may go beyond it and is then saved again.
  std::uint64_t device_bytes_per_day = 0;

  /// Of values that are stored without StoreOptions::compression. Costs the time of the call that
  /// stores, and memory for as many codecs as threads store or look up at once, up to some 2 MiB
  /// each at the default levels.
  CompressionOptions compression;

  /// Life of entries stored without a TTL of their own; zero: they do not expire.
  std::chrono::seconds default_ttl{0};

  /// A thread of the cache's own that writes checkpoints off the callers' path. Without it call
  /// maintain() now and then; what cannot wait is done by the call that needs it.
  bool maintenance_thread = true;

  Completion completion = Completion::thread;

  IoEngine engine = IoEngine::automatic;
  DirectIo direct = DirectIo::automatic;

  /// Wall clock, seconds of Unix time, read once per call. Empty: the system's. For tests.
  std::function<std::int64_t()> now;
  /// The clock of flush_interval, nanoseconds from any start, never set back. Empty: the system's.
  /// For tests, which then call maintain() themselves.
  std::function<std::uint64_t()> monotonic_now;
};

/// What must be under the key for a store to take place. Checked in one step with storing: of two
/// concurrent stores that want the key absent one is refused.
enum class StoreIf : std::uint8_t {
  always,     ///< anything or nothing
  absent,     ///< nothing; else the call ends with condition_failed
  present,    ///< an entry; else it ends with not_found
  unchanged,  ///< the entry of StoreOptions::sequence; else condition_failed, or not_found
};

/// How an entry is stored, or each of a batch.
struct StoreOptions {
  /// Life of the entry in whole seconds; zero: Options::default_ttl; negative: never expires.
  std::chrono::seconds ttl{0};
  /// Kept with the value and handed out with it; mean nothing to the cache.
  std::uint32_t flags = 0;
  /// If not null: told where the value is, when the call returns ok. Must live until then, or until
  /// an asynchronous call has ended. Not of batches, see KeyValue.
  StoredIn* stored_in = nullptr;
  /// Kept and handed out like `flags`: that the value is known to be out of date.
  bool stale = false;
  StoreIf when = StoreIf::always;
  /// StoreIf::unchanged: Value::sequence() of what was read.
  std::uint64_t sequence = 0;
  /// In place of Options::compression's codec, at its level if it is the same, else at the default
  /// one. Then the value's size and looks do not matter, only what is saved. Errors of the call:
  /// not_supported if the library was built without the codec.
  std::optional<Compression> compression{};
  /// Of store_buffered, Priority::urgent: its flush is started at once and not waited for.
  Priority priority = Priority::normal;
};
static_assert(std::is_trivially_destructible_v<StoreOptions>);

}  // namespace rawcache
