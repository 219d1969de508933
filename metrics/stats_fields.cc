#include "metrics/stats_fields.h"

namespace rawcache::metrics {

namespace {

using enum Kind;
using Unit::bytes;
using Unit::count;
using Unit::nanoseconds;
using Unit::share;

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

StatsGroup content(const Stats& s) {
  return {"Content",
          true,
          {{"entries", gauge, count, "Entries in the index", s.entries},
           {"entries_max", gauge, count, "Room for entries in the index", s.entries_max},
           {"index_bytes", gauge, bytes, "Memory of the index", s.index_bytes},
           {"index_bytes_per_entry", derived, Unit::ratio, "Memory of the index per entry",
            ratio(s.index_bytes, s.entries)},
           {"index_load", gauge, share, "Slots of the index in use", s.index_load},
           {"capacity_bytes", gauge, bytes, "Size of all segments", s.capacity_bytes},
           {"block_bytes", gauge, bytes, "Unit of writing", s.block_bytes},
           {"segment_bytes", gauge, bytes, "Size of a segment", s.segment_bytes},
           {"segments", gauge, count, "Segments", s.segments},
           {"segments_free", gauge, count, "Segments that hold no entries", s.segments_free},
           {"blocks_used", derived, count, "Blocks in segments that hold entries", s.blocks_used},
           {"blocks_free", derived, count, "Blocks in free segments", s.blocks_free},
           {"eviction_distance_bytes", gauge, bytes,
            "Bytes appended, at least, between the storing of an entry and its eviction",
            s.eviction_distance_bytes}}};
}

StatsGroup write_buffer(const Stats& s) {
  return {
      "Write buffer",
      true,
      {{"pending_writes", gauge, count, "Writes buffered and not yet handed to the device",
        s.pending_writes},
       {"in_flight_writes", gauge, count, "Writes handed to the device and not yet durable",
        s.in_flight_writes},
       {"flushes_in_flight", gauge, count, "Batches closed and not yet durable",
        s.flushes_in_flight},
       {"buffered_bytes", gauge, bytes, "Bytes of the pending writes", s.buffered_bytes},
       {"buffer_bytes_max", gauge, bytes, "Limit of the pending bytes", s.buffer_bytes_max},
       {"buffer_utilisation", derived, share, "Share of that limit in use", s.buffer_utilisation},
       {"buffer_memory_bytes", gauge, bytes, "Memory of all write buffers", s.buffer_memory_bytes},
       {"flushes", counter, count, "Batches made durable", s.flushes},
       {"flushed_writes", counter, count, "Writes made durable", s.flushed_writes},
       {"flush_failures", counter, count, "Flushes that failed", s.flush_failures},
       {"background_flush_failures", counter, count, "Of them flushes of the flush interval",
        s.background_flush_failures},
       {"batch_target_bytes", gauge, bytes, "Size at which a batch is flushed",
        s.batch_target_bytes},
       {"measured_bytes_per_s", derived, bytes, "What the device has shown to take per second",
        s.measured_bytes_per_s},
       {"measured_sync_ns", derived, nanoseconds, "What a sync has shown to cost",
        s.measured_sync_ns},
       {"average_batch_operations", derived, Unit::ratio, "Writes per batch",
        s.average_batch_operations},
       {"flushes_per_second", derived, Unit::ratio, "Batches per second since open",
        s.flushes_per_second}}};
}

StatsGroup recovery(const Stats& s) {
  return {
      "Recovery at this opening",
      true,
      {{"recovery_ns", gauge, nanoseconds, "Time that opening took to rebuild the index",
        s.recovery_ns},
       {"recovery_read_bytes", gauge, bytes, "Bytes read by opening", s.recovery_read_bytes},
       {"recovery_payload_bytes", gauge, bytes, "Of them in segments scanned block by block",
        s.recovery_payload_bytes},
       {"recovery_batches_replayed", gauge, count, "Batches replayed by opening",
        s.recovery_batches_replayed},
       {"recovery_entries_replayed", gauge, count, "Entries replayed by opening",
        s.recovery_entries_replayed},
       {"recovery_segments_by_footer", gauge, count, "Segments replayed from their footer alone",
        s.recovery_segments_by_footer},
       {"recovery_segments_scanned", gauge, count, "Segments scanned by opening",
        s.recovery_segments_scanned},
       {"recovered_until", gauge, count, "Unix time of the newest write that opening found",
        s.recovered_until},
       {"checkpoints", counter, count, "Checkpoints written", s.checkpoints},
       {"checkpoint_failures", counter, count, "Checkpoints that failed", s.checkpoint_failures}}};
}

StatsGroup calls(const Stats& s) {
  return {
      "Calls",
      false,
      {{"stores", counter, count, "Durable stores and removes", s.stores},
       {"buffered_stores", counter, count, "Buffered stores and removes", s.buffered_stores},
       {"removes", counter, count, "Removes of either kind", s.removes},
       {"lookups", counter, count, "Keys asked for, single and in batches", s.lookups},
       {"batches", counter, count, "Batch lookups", s.batches},
       {"hits", counter, count, "Keys found", s.hits},
       {"misses", counter, count, "Keys not found", s.misses},
       {"hit_ratio", derived, share, "Hits per lookup since open", s.hit_ratio()},
       {"async_calls", counter, count, "Asynchronous calls begun", s.async_calls},
       {"async_in_flight", gauge, count, "Asynchronous calls that have not ended",
        s.async_in_flight},
       {"loads", counter, count, "Keys that loaders were asked for", s.loads},
       {"load_waits", counter, count, "Calls that waited for the load of another", s.load_waits},
       {"load_failures", counter, count, "Loads that failed", s.load_failures},
       {"loads_not_stored", counter, count,
        "Loaded values that were not stored: written meanwhile, or the store failed",
        s.loads_not_stored}}};
}

StatsGroup departures(const Stats& s) {
  return {
      "Entries that left, by cause",
      false,
      {{"evicted", counter, count, "Entries evicted with their segment", s.evicted},
       {"evicted_index_full", counter, count, "Entries evicted because the index was full",
        s.evicted_index_full},
       {"evicted_cold", counter, count, "Evicted entries that had not been asked for",
        s.evicted_cold},
       {"evicted_hot", counter, count, "Evicted entries that had been asked for", s.evicted_hot},
       {"expired", counter, count, "Entries found past their time", s.expired},
       {"collisions", counter, count, "Lookups that found another key of the same index tag",
        s.collisions},
       {"corruptions", counter, count, "Lookups that found an unreadable entry", s.corruptions},
       {"withdrawn", counter, count, "Durable stores and removes that failed", s.withdrawn}}};
}

StatsGroup kept(const Stats& s) {
  return {
      "What eviction kept",
      false,
      {{"copied", counter, count, "Entries copied on by eviction", s.copied},
       {"copied_bytes", counter, bytes, "Bytes of the log that these copies took", s.copied_bytes},
       {"appended_entry_bytes", counter, bytes, "Bytes of the log taken by stores and removes",
        s.appended_entry_bytes},
       {"segments_relabelled", counter, count, "Segments kept as main without a write",
        s.segments_relabelled},
       {"segments_rotated", counter, count, "Segments kept for another round", s.segments_rotated},
       {"ghost_entries", gauge, count, "Evicted keys that are remembered", s.ghost_entries},
       {"ghost_bytes", gauge, bytes, "Memory for remembering them", s.ghost_bytes},
       {"ghost_hits", counter, count, "Stores of such keys", s.ghost_hits},
       {"logical_write_amplification", derived, Unit::ratio,
        "Bytes appended per byte of entries stored", s.logical_write_amplification()}}};
}

StatsGroup compression(const Stats& s) {
  return {"Compression",
          false,
          {{"compressed", counter, count, "Values stored compressed", s.compressed},
           {"compressed_bytes_before", counter, bytes, "Their bytes as they were given",
            s.compressed_bytes_before},
           {"compressed_bytes_after", counter, bytes, "Their bytes as they are written",
            s.compressed_bytes_after},
           {"compression_not_worth", counter, count,
            "Values that compression would not have made smaller enough", s.compression_not_worth},
           {"dictionaries", gauge, count, "Dictionaries on the device", s.dictionaries},
           {"dictionary_misses", counter, count, "Misses because a dictionary was gone",
            s.dictionary_misses}}};
}

StatsGroup memory(const Stats& s) {
  return {
      "Memory tier",
      false,
      {{"memory_bytes_max", gauge, bytes, "Memory for hot values", s.memory_bytes_max},
       {"memory_bytes", gauge, bytes, "Of it in use", s.memory_bytes},
       {"memory_entries", gauge, count, "Entries held in it", s.memory_entries},
       {"memory_hits", counter, count, "Hits that it answered", s.memory_hits},
       {"memory_evicted", counter, count, "Entries that left it for others", s.memory_evicted}}};
}

StatsGroup admission(const Stats& s) {
  return {"Admission",
          false,
          {{"waiting_bytes_max", gauge, bytes, "Memory for values that wait to be asked for",
            s.waiting_bytes_max},
           {"waiting_bytes", gauge, bytes, "Of it in use", s.waiting_bytes},
           {"waiting_entries", gauge, count, "Values that wait", s.waiting_entries},
           {"waiting_hits", counter, count, "Hits of values that waited", s.waiting_hits},
           {"waiting_admitted", counter, count, "Of them written", s.waiting_admitted},
           {"waiting_dropped", counter, count, "Of them dropped", s.waiting_dropped},
           {"not_admitted", counter, count, "Stores refused to spare the device", s.not_admitted},
           {"write_budget_left", gauge, Unit::ratio,
            "Share left of what may be saved up for writing", s.write_budget_left}}};
}

StatsGroup byte_counts(const Stats& s) {
  return {"Bytes",
          false,
          {{"user_bytes_stored", counter, bytes, "Keys and values stored", s.user_bytes_stored},
           {"user_bytes_read", counter, bytes, "Values handed out", s.user_bytes_read},
           {"device_reads", counter, count, "Reads of the device", s.device_reads},
           {"device_read_bytes", counter, bytes, "Bytes read from the device", s.device_read_bytes},
           {"device_writes", counter, count, "Writes to the device", s.device_writes},
           {"device_written_bytes", counter, bytes, "Bytes written to the device",
            s.device_written_bytes},
           {"device_syncs", counter, count, "Syncs of the device", s.device_syncs},
           {"write_amplification", derived, Unit::ratio,
            "Bytes written to the device per byte stored", s.write_amplification()},
           {"read_buffer_bytes", gauge, bytes, "Memory for reading", s.read_buffer_bytes},
           {"read_buffer_leased_bytes", gauge, bytes, "Of it in callers' hands or in use",
            s.read_buffer_leased_bytes},
           {"value_heap_bytes", gauge, bytes, "Values on the heap, in callers' hands",
            s.value_heap_bytes}}};
}

StatsGroup latencies(const Stats& s) {
  return {
      "Latencies",
      false,
      {{"store_latency", counter, nanoseconds, "Durable stores and removes", s.store_latency},
       {"store_buffered_latency", counter, nanoseconds,
        "Buffered stores and removes, one in 16 measured", s.store_buffered_latency},
       {"lookup_latency", counter, nanoseconds,
        "Lookups of one key; of those that read no device one in 16 measured", s.lookup_latency},
       {"lookup_batch_latency", counter, nanoseconds, "Lookups of many keys",
        s.lookup_batch_latency},
       {"flush_latency", counter, nanoseconds, "Flushes", s.flush_latency}}};
}

}  // namespace

std::vector<StatsGroup> stats_groups(const Stats& stats) {
  return {content(stats),     write_buffer(stats), recovery(stats), calls(stats),
          departures(stats),  kept(stats),         memory(stats),   admission(stats),
          compression(stats), byte_counts(stats),  latencies(stats)};
}

void write_latency(JsonWriter& json, const LatencyStats& latency) {
  json.begin_object().field("count", latency.count).field("mean_ns", latency.mean_ns);
  json.field("p50_ns", latency.p50_ns).field("p99_ns", latency.p99_ns);
  json.field("p999_ns", latency.p999_ns).field("max_ns", latency.max_ns);
  json.name("below").begin_array();
  for (const std::uint64_t calls : latency.below) json.value(calls);
  json.end_array().end_object();
}

void write_fields(JsonWriter& json, const std::vector<StatsGroup>& groups) {
  for (const StatsGroup& group : groups) {
    for (const StatsField& field : group.fields) {
      json.name(field.name);
      if (const auto* latency = std::get_if<LatencyStats>(&field.value)) {
        write_latency(json, *latency);
      } else if (const auto* number = std::get_if<double>(&field.value)) {
        json.value(*number);
      } else {
        json.value(std::get<std::uint64_t>(field.value));
      }
    }
  }
}

}  // namespace rawcache::metrics
