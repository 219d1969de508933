// Stats: one snapshot of all counters and gauges.
#include <algorithm>
#include <chrono>

#include "base/latency_stats.h"
#include "cache/cache_impl.h"

namespace rawcache {
namespace {

double ratio(double part, double whole) { return whole == 0 ? 0.0 : part / whole; }

/// Segments that do not count for the eviction distance beside the spares: the open one and the one
/// that the entry itself lies in, each in part.
constexpr std::uint64_t kSegmentsNotCounted = 3;

}  // namespace

std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

void RawDiskCache::Impl::add_content(Stats& s) const {
  s.entries = index_->entries();
  s.entries_max = index_->entries_max();
  s.index_bytes = index_->memory_bytes();
  s.index_load = ratio(double(s.entries), double(index_->slots()));
  s.block_bytes = superblock_.block_bytes;
  s.segment_bytes = superblock_.segment_bytes;
  s.segments = superblock_.segments;
  s.capacity_bytes = s.segments * s.segment_bytes;
  {
    MutexLock lock(log_mutex_);
    s.segments_free = log_->free_count();
    s.withdrawn = writer_->withdrawn();
    s.ghost_entries = ghost_ ? ghost_->entries() : 0;
    s.ghost_bytes = ghost_ ? ghost_->memory_bytes() : 0;
    s.write_budget_left = budget_left_;
  }
  s.blocks_free = s.segments_free * s.segment_bytes / s.block_bytes;
  s.blocks_used = s.capacity_bytes / s.block_bytes - s.blocks_free;
  const std::uint64_t distance = policy_->distance(s.segments);
  // The small queue of rc is shortened only by what is open, not by the spares.
  const std::uint64_t not_counted =
      kSegmentsNotCounted + (distance == s.segments ? spare_segments_ : 0);
  s.eviction_distance_bytes =
      !waiting_ && distance > not_counted ? (distance - not_counted) * s.segment_bytes : 0;

  if (memory_) {
    const MemoryTier::Counts memory = memory_->counts();
    s.memory_bytes_max = options_.memory_bytes;
    s.memory_bytes = memory.bytes;
    s.memory_entries = memory.entries;
    s.memory_hits = memory.hits;
    s.memory_evicted = memory.evicted;
  }

  if (waiting_) {
    const WaitingRoom::Counts waiting = waiting_->counts();
    s.waiting_bytes_max = options_.admission_memory_bytes;
    s.waiting_bytes = waiting.bytes;
    s.waiting_entries = waiting.entries;
    s.waiting_hits = waiting.hits;
  }

  const BatchIOCounts io = io_ ? io_->counts() : io_at_close_;
  s.pending_writes = io.pending_operations;
  s.in_flight_writes = io.in_flight_operations;
  s.flushes_in_flight = io.sealed_buffers;
  s.buffered_bytes = io.pending_bytes;
  s.buffer_bytes_max = batch_limits(options_).max_bytes;
  s.batch_target_bytes = io_ ? io_->target_bytes() : s.buffer_bytes_max;
  s.measured_bytes_per_s = measured_bytes_per_s_.load(std::memory_order_relaxed);
  s.measured_sync_ns = measured_sync_ns_.load(std::memory_order_relaxed);
  s.buffer_utilisation = ratio(double(s.buffered_bytes), double(s.buffer_bytes_max));
  s.buffer_memory_bytes = io.memory_bytes;
}

void RawDiskCache::Impl::add_calls(Stats& s) const {
  const Counters& c = counters_;
  const Compressor::Counts& compression = compressor_.counts();
  s.compressed = compression.values.get();
  s.compressed_bytes_before = compression.bytes_before.get();
  s.compressed_bytes_after = compression.bytes_after.get();
  s.compression_not_worth = compression.not_worth.get();
  s.dictionaries = compressor_.dictionaries().count();
  s.dictionary_misses = compression.without_dictionary.get();
  s.flushes = c.flushes.get();
  s.flushed_writes = c.flushed_writes.get();
  s.flush_failures = c.flush_failures.get();
  s.background_flush_failures = c.background_flush_failures.get();
  s.average_batch_operations = ratio(double(s.flushed_writes), double(s.flushes));
  s.flushes_per_second = ratio(double(s.flushes) * 1e9, double(monotonic_ns() - opened_ns_));
  s.stores = c.stores.get();
  s.buffered_stores = c.buffered_stores.get();
  const LookupCounters::Counts lookups = c.lookups.sum();
  s.lookups = lookups.asked;
  s.batches = c.batches.get();
  s.hits = lookups.hits;
  s.misses = lookups.misses;
  s.removes = c.removes.get();
  s.evicted = c.evicted.get();
  s.evicted_index_full = c.evicted_index_full.get();
  s.evicted_cold = c.evicted_cold.get();
  s.evicted_hot = c.evicted_hot.get();
  s.copied = c.copied.get();
  s.copied_bytes = c.copied_bytes.get();
  s.appended_entry_bytes = c.appended_entry_bytes.get();
  s.segments_relabelled = c.segments_relabelled.get();
  s.segments_rotated = c.segments_rotated.get();
  s.ghost_hits = c.ghost_hits.get();
  s.waiting_admitted = c.waiting_admitted.get();
  s.waiting_dropped = c.waiting_dropped.get();
  s.not_admitted = c.not_admitted.get();
  s.expired = c.expired.get();
  s.collisions = c.collisions.get();
  s.corruptions = c.corruptions.get();
  s.user_bytes_stored = c.user_bytes_stored.get();
  s.user_bytes_read = lookups.bytes;
  s.store_latency = latency_stats(c.store_latency);
  s.store_buffered_latency = latency_stats(c.store_buffered_latency);
  s.lookup_latency = latency_stats(c.lookup_latency);
  s.lookup_batch_latency = latency_stats(c.lookup_batch_latency);
  s.flush_latency = latency_stats(c.flush_latency);
  s.checkpoints = c.checkpoints.get();
  s.checkpoint_failures = c.checkpoint_failures.get();
}

void RawDiskCache::Impl::add_device(Stats& s) const {
  const DiskCounters disk = disk_ ? disk_->counters() : disk_counters_at_close_;
  const DiskCounters& before = disk_counters_at_open_;
  s.device_reads = disk.reads - before.reads;
  s.device_read_bytes = disk.read_bytes - before.read_bytes;
  s.device_writes = disk.writes - before.writes;
  s.device_written_bytes = disk.written_bytes - before.written_bytes;
  s.device_syncs = disk.syncs - before.syncs;
  s.engine = disk_info_.engine;
  s.direct = disk_info_.direct;
  s.fallback_reason = disk_info_.fallback_reason;
  s.read_buffer_bytes = arena_->memory().size();
  s.read_buffer_leased_bytes = arena_->leased_bytes();
  s.value_heap_bytes = arena_->heap_bytes();
}

Stats RawDiskCache::Impl::stats() const {
  Stats s;
  add_content(s);
  add_calls(s);
  add_device(s);
  s.recovery_ns = recovery_ns_;
  s.recovery_read_bytes = recovery_counts_.read_bytes;
  s.recovery_payload_bytes = recovery_counts_.payload_bytes;
  s.recovery_batches_replayed = recovery_counts_.batches;
  s.recovery_entries_replayed = recovery_counts_.entries;
  s.recovery_segments_by_footer = recovery_counts_.segments_by_footer;
  s.recovery_segments_scanned = recovery_counts_.segments_scanned;
  s.recovered_until = recovered_until_;
  return s;
}

std::uint64_t RawDiskCache::Impl::value_bytes_max(std::size_t key_bytes) const {
  const std::uint64_t overhead = entry_bytes(key_bytes, 0, kEntryHasAll);
  return entry_bytes_max_ > overhead ? entry_bytes_max_ - overhead : 0;
}

}  // namespace rawcache
