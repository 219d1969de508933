// Stats: a snapshot of everything a cache counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace rawcache {

/// LatencyStats::below counts up to these bounds: 2^k and 1.5 * 2^k ns, from 1.024 us to 17.2 s.
inline constexpr std::size_t kLatencyBounds = 49;
constexpr std::uint64_t latency_bound_ns(std::size_t i) {
  return std::uint64_t{i % 2 == 0 ? 2u : 3u} << (9 + i / 2);
}

/// Latencies of one kind of call, in nanoseconds, from a histogram with at most 6 % error.
struct LatencyStats {
  std::uint64_t count = 0;
  std::uint64_t mean_ns = 0, p50_ns = 0, p99_ns = 0, p999_ns = 0, max_ns = 0;
  std::uint64_t sum_ns = 0;
  /// below[i]: calls that took less than latency_bound_ns(i). The difference of two snapshots tells
  /// the percentiles of the time between them.
  std::array<std::uint64_t, kLatencyBounds> below{};
};

/// Counters run from open; gauges are of the moment. A snapshot is consistent per field, not across
/// fields, while other threads work.
struct Stats {
  // Content.
  std::uint64_t entries = 0;      ///< index slots in use
  std::uint64_t entries_max = 0;  ///< room for entries, fixed when formatted
  std::uint64_t index_bytes = 0;  ///< memory of the index, allocator overhead included
  double index_load = 0;          ///< entries / slots
  std::uint64_t capacity_bytes = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t segments = 0, segments_free = 0;
  std::uint64_t blocks_used = 0;  ///< in segments that hold entries
  std::uint64_t blocks_free = 0;
  /// Bytes that are appended to the log, at least, between the storing of an entry and its
  /// eviction. rc: what an eighth of the segments holds, less three; lru: 0.
  std::uint64_t eviction_distance_bytes = 0;

  // Write buffer.
  std::uint64_t pending_writes = 0;       ///< operations buffered and not yet handed to the device
  std::uint64_t in_flight_writes = 0;     ///< operations handed to the device and not yet durable
  std::uint64_t buffered_bytes = 0;       ///< bytes of the pending operations
  std::uint64_t buffer_bytes_max = 0;     ///< the limit they run up to
  double buffer_utilisation = 0;          ///< buffered_bytes / buffer_bytes_max
  std::uint64_t buffer_memory_bytes = 0;  ///< memory of all write buffers

  // Flushes.
  std::uint64_t flushes_in_flight = 0;  ///< batches closed and not yet durable
  std::uint64_t flushes = 0;            ///< batches made durable
  std::uint64_t flushed_writes = 0;     ///< operations made durable
  std::uint64_t flush_failures = 0;
  std::uint64_t background_flush_failures = 0;  ///< of flush_interval's flushes
  std::uint64_t batch_target_bytes = 0;         ///< size at which a batch is flushed now
  std::uint64_t measured_bytes_per_s = 0;       ///< adaptive: what the device has shown to take
  std::uint64_t measured_sync_ns = 0;           ///< adaptive: of one sync
  double average_batch_operations = 0;
  double flushes_per_second = 0;  ///< since open

  // Calls.
  std::uint64_t stores = 0;  ///< store, remove, entries of store_batch; appended to the log
  std::uint64_t buffered_stores = 0;  ///< the same of store_buffered, remove_buffered
  std::uint64_t lookups = 0;          ///< keys asked for, single and in batches
  std::uint64_t batches = 0;          ///< lookup_batch calls
  std::uint64_t hits = 0, misses = 0;
  std::uint64_t removes = 0;
  double hit_ratio() const { return lookups == 0 ? 0.0 : double(hits) / double(lookups); }

  // Asynchronous calls and loads.
  std::uint64_t async_calls = 0;      ///< begun
  std::uint64_t async_in_flight = 0;  ///< begun and not yet handed over
  std::uint64_t loads = 0;            ///< keys that loaders were asked for
  std::uint64_t load_waits = 0;       ///< calls that waited for somebody else's load
  std::uint64_t load_failures = 0;    ///< of loads
  /// Loaded and handed out, but not stored: written meanwhile, or the store failed.
  std::uint64_t loads_not_stored = 0;

  // What left the cache, by cause.
  std::uint64_t evicted = 0;  ///< with a reclaimed segment
  std::uint64_t evicted_index_full =
      0;                           ///< with a segment reclaimed early because the index was full
  std::uint64_t evicted_cold = 0;  ///< of `evicted`: not asked for
  std::uint64_t evicted_hot = 0;   ///< of `evicted`: asked for, but wa_cap or space forbade a copy
  std::uint64_t expired = 0;       ///< found past their time
  std::uint64_t collisions = 0;    ///< looked up and found to be another key of the same index tag
  std::uint64_t corruptions = 0;   ///< looked up and found unreadable
  std::uint64_t withdrawn = 0;     ///< direct stores and removes that failed

  // Memory tier (Options::memory_bytes).
  std::uint64_t memory_bytes_max = 0;
  std::uint64_t memory_bytes = 0;    ///< in use, tables and values in callers' hands included
  std::uint64_t memory_entries = 0;  ///< held
  std::uint64_t memory_hits = 0;     ///< of `hits`: without a read
  std::uint64_t memory_evicted = 0;  ///< left it for others; they stay on the device

  // Admission (Options::admission, Options::device_bytes_per_day).
  std::uint64_t waiting_bytes_max = 0;
  std::uint64_t waiting_bytes = 0;     ///< in use, values in callers' hands included
  std::uint64_t waiting_entries = 0;   ///< readable from memory only
  std::uint64_t waiting_hits = 0;      ///< of `hits`: of values that waited
  std::uint64_t waiting_admitted = 0;  ///< written, because they were asked for
  std::uint64_t waiting_dropped = 0;   ///< left unasked, or the budget forbade to write them
  std::uint64_t not_admitted = 0;      ///< stores that were told so
  double write_budget_left = 1;        ///< share of what may be saved up; 1 without a budget

  // Compression, since open.
  std::uint64_t compressed = 0;               ///< values stored compressed
  std::uint64_t compressed_bytes_before = 0;  ///< of those, as they were given
  std::uint64_t compressed_bytes_after = 0;   ///< of those, as they are written
  std::uint64_t compression_not_worth = 0;    ///< values that it would not have made smaller enough
  std::uint64_t dictionaries = 0;             ///< on the device, usable
  std::uint64_t dictionary_misses = 0;        ///< of `misses`: the entry's dictionary was gone

  // What eviction kept.
  std::uint64_t copied = 0;                ///< entries copied on
  std::uint64_t copied_bytes = 0;          ///< of the log
  std::uint64_t appended_entry_bytes = 0;  ///< of the log, by stores and removes
  std::uint64_t segments_relabelled = 0, segments_rotated = 0;  ///< kept without a write
  std::uint64_t ghost_entries = 0;  ///< evicted keys that are remembered
  std::uint64_t ghost_bytes = 0;    ///< memory for that
  std::uint64_t ghost_hits = 0;     ///< stores of such keys
  /// Bytes of entries appended per byte of entries stored.
  double logical_write_amplification() const {
    return appended_entry_bytes == 0
               ? 1.0
               : double(appended_entry_bytes + copied_bytes) / double(appended_entry_bytes);
  }

  // Bytes.
  std::uint64_t user_bytes_stored = 0;  ///< keys and values given to store and store_buffered
  std::uint64_t user_bytes_read = 0;    ///< values handed out
  std::uint64_t device_reads = 0, device_read_bytes = 0;
  std::uint64_t device_writes = 0, device_written_bytes = 0;
  std::uint64_t device_syncs = 0;
  /// Bytes written to the device per byte stored.
  double write_amplification() const {
    return user_bytes_stored == 0 ? 0.0 : double(device_written_bytes) / double(user_bytes_stored);
  }
  std::uint64_t read_buffer_bytes = 0;         ///< memory for reading
  std::uint64_t read_buffer_leased_bytes = 0;  ///< of it in callers' hands or in use
  std::uint64_t value_heap_bytes = 0;          ///< values copied to the heap, in callers' hands

  // Latencies.
  LatencyStats store_latency;  ///< store and remove, one call; of a batch each entry counts
  LatencyStats
      store_buffered_latency;   ///< one call, flushes that it triggers included; 1 in 16 measured
  LatencyStats lookup_latency;  ///< one lookup; of those that read no device 1 in 16 is measured
  LatencyStats lookup_batch_latency;  ///< one lookup_batch call
  LatencyStats flush_latency;  ///< one wait for flushes; short where syncs are in the background

  // Checkpoints and recovery.
  std::uint64_t checkpoints = 0, checkpoint_failures = 0;
  std::uint64_t recovery_ns = 0;             ///< time that open took to rebuild the index
  std::uint64_t recovery_read_bytes = 0;     ///< all bytes read by open
  std::uint64_t recovery_payload_bytes = 0;  ///< of them in segments scanned block by block
  std::uint64_t recovery_batches_replayed = 0;
  std::uint64_t recovery_entries_replayed = 0;
  std::uint64_t recovery_segments_by_footer = 0;  ///< replayed from their footer alone
  std::uint64_t recovery_segments_scanned = 0;
  /// Unix time, seconds, of the newest write or checkpoint that open found; how long a cache has
  /// not been in use, at most, is what has passed since.
  std::uint64_t recovered_until = 0;

  // Engine and modes really in use.
  std::string engine;           ///< "io_uring", "posix", ...
  bool direct = false;          ///< the page cache is bypassed
  std::string fallback_reason;  ///< why not the preferred ones; empty if they are
};

/// One segment of the log: what eviction frees as a whole.
struct SegmentInfo {
  enum class State : std::uint8_t {
    free,    ///< holds no entries, or none that count
    open,    ///< the log is at its end, or was when it was opened
    sealed,  ///< full
  };
  State state = State::free;
  /// rc: counted to the entries that have been asked for; else to the new ones.
  bool main = false;
  /// Of the order in which segments were opened, across restarts; 0: never.
  std::uint32_t generation = 0;
  /// Of the order in which segments of one kind come up for eviction; lower ones first.
  std::uint64_t queue_position = 0;
  std::uint64_t live_bytes = 0;  ///< of entries that would be found, rounded up by a few per cent
  std::uint64_t hot_bytes = 0;   ///< of them entries that have been asked for since they came
};

}  // namespace rawcache
