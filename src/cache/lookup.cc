// lookup, lookup_batch, contains, for_each_key: locate -> memory or read -> verify -> touch.
#include <algorithm>
#include <new>
#include <string>

#include "base/copy.h"
#include "base/mutant.h"
#include "cache/cache_impl.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// An entry can move while it is being read (its segment is reclaimed and it has been stored anew,
/// or its batch is placed elsewhere). That often in a row means that something else is wrong.
constexpr int kAttemptsMax = 4;

/// A value is handed out as a view if it fills at least this share of the memory that it keeps
/// alive.
constexpr std::size_t kViewShare = 4;

/// Entries read at once by for_each_key.
constexpr std::size_t kVisitBatch = 64;

}  // namespace

// --- Locate ---

inline RawDiskCache::Impl::Located RawDiskCache::Impl::located_at(std::uint64_t key_hash,
                                                                  Location location,
                                                                  unsigned hits) const {
  return {key_hash, location, hits, log_->generation(log_->segment_of(location.offset))};
}

inline std::optional<RawDiskCache::Impl::Located> RawDiskCache::Impl::locate(
    std::uint64_t key_hash) const {
  const auto found = index_->find_with_hits(key_hash);
  if (!found) return std::nullopt;
  return located_at(key_hash, found->location, found->hits);
}

Extent RawDiskCache::Impl::extent_of(Location location) const {
  const std::uint32_t segment = log_->segment_of(location.offset);
  const std::uint64_t end = log_->segment_offset(segment) + log_->segment_bytes();
  return {location.offset, std::min(size_class_bytes(location.size_class), end - location.offset)};
}

// --- Verify ---

std::optional<Result<Value>> RawDiskCache::Impl::verify(std::string_view key,
                                                        const Located& located, ReadAnswer read) {
  const Place place{superblock_.id, located.location.offset, located.generation};
  if (memory_) memory_->prefetch_fill(located.key_hash);
  const auto entry = decode_entry(*read.bytes, place);
  const bool other_key = entry && entry->key != key && !mutated(Mutant::kKeyNotCompared);
  if (!entry || entry->kind != EntryKind::value || other_key) {
    // Under the log's lock no batch is half way to another place.
    MutexLock lock(log_mutex_);
    const auto current = index_->find(located.key_hash);
    const bool moved = !current || *current != located.location ||
                       log_->generation(log_->segment_of(current->offset)) != located.generation;
    if (moved) return std::nullopt;
    if (!entry || entry->kind != EntryKind::value) {
      return unreadable(located);
    }
    counters_.collisions.add();
    return std::unexpected(Errc::not_found);
  }
  const bool expired = entry->expires_at != 0 && entry->expires_at <= now();
  if (expired && !mutated(Mutant::kExpiryIgnored)) {
    counters_.expired.add();
    index_->erase_if_at(located.key_hash, located.location.offset);
    return std::unexpected(Errc::not_found);
  }
  if (entry->encoding.codec != Codec::none) return decompressed(*entry, located);
  note_hit(located.key_hash, located.location, located.hits);
  if (memory_) {
    if (auto kept = keep_in_memory(*entry, entry->value, located)) return std::move(*kept);
  }
  return make_value(*entry, std::move(read));
}

/// It is where it should be and cannot be read. Never an older value: a miss, from now on.
Result<Value> RawDiskCache::Impl::unreadable(const Located& located) {
  counters_.corruptions.add();
  index_->erase_if_at(located.key_hash, located.location.offset);
  return std::unexpected(Errc::not_found);
}

Result<Value> RawDiskCache::Impl::decompressed(const EntryView& entry, const Located& located) {
  if (!has_codec(entry.encoding.codec)) {
    return std::unexpected(Error(Errc::not_supported,
                                 "the value was compressed by a codec that "
                                 "this build does not have"));
  }
  // The size has been verified with the entry, so it is what somebody wrote. Still nothing is
  // taken for it that no value of this cache can need.
  const std::size_t size = entry.encoding.raw_bytes;
  if (size == 0 || size > value_bytes_max(entry.key.size())) return unreadable(located);
  IoLease raw = lease_of(size);
  if (!raw) return std::unexpected(Error(Errc::out_of_memory, "read_buffer_bytes"));
  const std::span<std::byte> value = raw.bytes.first(size);
  const auto restored = compressor_.decompress(entry.encoding, entry.value, value);
  if (restored == Compressor::Restored::no) return unreadable(located);
  if (restored == Compressor::Restored::no_dictionary) {
    index_->erase_if_at(located.key_hash, located.location.offset);
    return std::unexpected(Errc::not_found);
  }
  note_hit(located.key_hash, located.location, located.hits);
  if (memory_) {
    if (auto kept = keep_in_memory(entry, value, located)) return std::move(*kept);
  }
  return Value(std::move(raw.owner), value, entry.sequence, entry.expires_at, entry.user_flags,
               entry.stale);
}

/// Memory for a value that is handed out; false: there is none.
IoLease RawDiskCache::Impl::lease_of(std::size_t bytes) {
  IoLease lease = arena_->heap_lease(bytes, false);
  return lease ? std::move(lease) : arena_->lease(bytes);
}

void RawDiskCache::Impl::note_hit(std::uint64_t key_hash, Location location, unsigned hits) {
  const std::uint32_t segment = log_->segment_of(location.offset);
  const std::uint64_t appended = appended_.load(std::memory_order_relaxed);
  // Not written without need: other threads read here.
  if (last_hits_[segment].load(std::memory_order_relaxed) != appended) {
    last_hits_[segment].store(appended, std::memory_order_relaxed);
  }
  if (hits < Index::kHitsMax && !log_->is_young(segment, appended)) {
    index_->touch(key_hash, location.offset);
  }
}

Result<Value> RawDiskCache::Impl::make_value(const EntryView& entry, ReadAnswer read) {
  const bool view = entry.value.size() * kViewShare >= read.lease_bytes && !arena_->nearly_empty();
  if (!view && !entry.value.empty()) {
    // A small value must not keep a large buffer alive.
    if (IoLease copy = arena_->heap_lease(entry.value.size(), false)) {
      copy_bytes(copy.bytes.data(), entry.value.data(), entry.value.size());
      return Value(std::move(copy.owner), copy.bytes.first(entry.value.size()), entry.sequence,
                   entry.expires_at, entry.user_flags, entry.stale);
    }
  }
  return Value(std::move(read.lease), entry.value, entry.sequence, entry.expires_at,
               entry.user_flags, entry.stale);
}

// --- One key ---

Result<void> RawDiskCache::Impl::check_key(std::string_view key) const {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (key.empty()) return std::unexpected(Errc::key_empty);
  if (key.size() > kKeyBytesMax) return std::unexpected(Errc::key_too_long);
  return {};
}

Result<Value> RawDiskCache::Impl::find_value(std::string_view key, LatencyTimer* timer) {
  if (auto checked = check_key(key); !checked) return std::unexpected(checked.error());
  if (auto cleared = clear_if_due(); !cleared) return std::unexpected(cleared.error());
  const std::uint64_t key_hash = hash_key(key, superblock_.id);
  if (!waiting_) return find_indexed(key, key_hash, timer);
  auto found = find_indexed(key, key_hash, timer);
  if (found || found.error() != Errc::not_found) return found;
  if (auto waiting = find_waiting(key, key_hash)) return std::move(*waiting);
  return find_indexed(key, key_hash, timer);  // it may have been admitted meanwhile
}

Result<Value> RawDiskCache::Impl::find_indexed(std::string_view key, std::uint64_t key_hash,
                                               LatencyTimer* timer) {
  if (memory_) memory_->prefetch_find(key_hash);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const auto located = locate(key_hash);
    if (!located) return std::unexpected(Errc::not_found);
    if (auto held = find_in_memory(key, *located)) return std::move(*held);
    ReadAnswer read;
    const Extent extent = extent_of(located->location);
    if (!io_->read_buffered(extent, read)) {
      if (timer != nullptr) timer->start();
      read = io_->read(extent, BatchIOManager::Whole::start);
    }
    if (!read.bytes) return std::unexpected(read.bytes.error());
    if (auto result = verify(key, *located, std::move(read))) return std::move(*result);
  }
  return std::unexpected(Errc::not_found);
}

void RawDiskCache::Impl::count_ended(LookupCounters::Shard& counters,
                                     std::span<const Result<Value>> results) {
  LookupCounters::Counts counts;
  for (const Result<Value>& result : results) {
    if (result) {
      ++counts.hits;
      counts.bytes += result->size();
    } else if (result.error() == Errc::not_found) {
      ++counts.misses;
    }
  }
  LookupCounters::add_ended(counters, counts);
}

Result<Value> RawDiskCache::Impl::lookup(std::string_view key) try {
  LatencyTimer timer(counters_.lookup_latency);
  timer.start_sometimes();
  LookupCounters::Shard& counters = counters_.lookups.add_asked(1);
  auto result = find_value(key, &timer);
  count_ended(counters, {&result, 1});
  return result;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<bool> RawDiskCache::Impl::contains(std::string_view key) try {
  const auto found = find_value(key, nullptr);
  if (found) return true;
  if (found.error() == Errc::not_found) return false;
  return std::unexpected(found.error());
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

// --- Many keys ---

std::vector<Result<Value>> RawDiskCache::Impl::lookup_batch(
    std::span<const std::string_view> keys) {
  LatencyTimer timer(counters_.lookup_batch_latency);
  timer.start();
  counters_.batches.add();
  LookupCounters::Shard& counters = counters_.lookups.add_asked(keys.size());
  auto results = find_values(keys);
  count_ended(counters, results);
  return results;
}

std::vector<Result<Value>> RawDiskCache::Impl::find_values(std::span<const std::string_view> keys) {
  std::vector<Result<Value>> results(keys.size(), std::unexpected(Errc::not_found));
  try {
    find_values(keys, results);
  } catch (const std::bad_alloc&) {
    for (Result<Value>& result : results) {
      if (!result && result.error() == Errc::not_found) {
        result = std::unexpected(Errc::out_of_memory);
      }
    }
  }
  return results;
}

/// All results are not_found before.
void RawDiskCache::Impl::find_values(std::span<const std::string_view> keys,
                                     std::span<Result<Value>> results) {
  if (!closed_.load(std::memory_order_relaxed)) {
    if (auto cleared = clear_if_due(); !cleared) {
      std::ranges::fill(results, std::unexpected(cleared.error()));
      return;
    }
  }
  std::vector<std::uint64_t> hashes(keys.size());
  std::vector<bool> valid(keys.size(), true);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (auto checked = check_key(keys[i]); !checked) {
      results[i] = std::unexpected(checked.error());
      valid[i] = false;
      continue;
    }
    hashes[i] = hash_key(keys[i], superblock_.id);
    index_->prefetch(hashes[i]);
    if (memory_) memory_->prefetch_find(hashes[i]);
  }
  std::vector<Located> located;
  std::vector<Extent> extents;
  std::vector<std::uint32_t> askers;  // keys[askers[i]] is at located[i]
  located.reserve(keys.size());
  extents.reserve(keys.size());
  askers.reserve(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    if (!valid[i]) continue;
    const auto at = locate(hashes[i]);
    if (!at) continue;
    if (auto held = find_in_memory(keys[i], *at)) {
      results[i] = std::move(*held);
      continue;
    }
    extents.push_back(extent_of(at->location));
    located.push_back(*at);
    askers.push_back(i);
  }
  const auto answer = [&](std::size_t i, ReadAnswer& read) {
    Result<Value>& result = results[mutated(Mutant::kAnswersShifted) ? i : askers[i]];
    if (!read.bytes) {
      result = std::unexpected(read.bytes.error());
    } else if (auto verified = verify(keys[askers[i]], located[i], std::move(read))) {
      result = std::move(*verified);
    } else {
      result = find_value(keys[askers[i]], nullptr);  // it moved meanwhile
    }
  };
  // Nothing to read when all are misses, and nothing to read with when the cache is closed.
  if (!extents.empty()) io_->read(extents, BatchIOManager::Whole::start, answer);
  if (!waiting_) return;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!valid[i] || results[i] || results[i].error() != Errc::not_found) continue;
    if (auto waiting = find_waiting(keys[i], hashes[i])) {
      results[i] = std::move(*waiting);
    } else {
      results[i] = find_indexed(keys[i], hashes[i], nullptr);  // admitted meanwhile?
    }
  }
}

// --- All keys ---

Result<void> RawDiskCache::Impl::for_each_key(const std::function<bool(const KeyInfo&)>& each) try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (auto cleared = clear_if_due(); !cleared) return cleared;
  const std::int64_t time = now();
  // What waits comes first: it may be admitted meanwhile, and must not be told twice.
  std::unordered_set<std::uint64_t> told;
  if (waiting_ && !visit_waiting(each, time, told)) return {};
  std::vector<std::uint64_t> slots;
  for (std::uint32_t page = 0; page < index_->pages(); ++page) {
    slots.clear();
    index_->copy_page(page, slots);
    auto go_on = visit_slots(page, slots, each, time, told);
    if (!go_on) return std::unexpected(go_on.error());
    if (!*go_on) break;
  }
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<bool> RawDiskCache::Impl::visit_slots(std::uint32_t page,
                                             const std::vector<std::uint64_t>& slots,
                                             const Each& each, std::int64_t now,
                                             const std::unordered_set<std::uint64_t>& told) {
  for (std::size_t first = 0; first < slots.size();) {
    std::vector<Located> located;
    std::vector<Extent> extents;
    for (std::uint64_t bytes = 0; first + located.size() < slots.size();) {
      const Located next =
          located_at(0, index_->layout().location(slots[first + located.size()]), 0);
      const Extent extent = extent_of(next.location);
      bytes += extent.size;
      const bool fits = located.size() < kVisitBatch && bytes <= arena_->memory().size() / 4;
      if (!located.empty() && !fits) break;
      located.push_back(next);
      extents.push_back(extent);
    }
    const auto some = std::span(slots).subspan(first, located.size());
    first += located.size();
    const std::vector<ReadAnswer> answers = io_->read(extents, BatchIOManager::Whole::start);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (!answers[i].bytes) {
        if (answers[i].bytes.error() == Errc::io_error) continue;  // unreadable: left out
        return std::unexpected(answers[i].bytes.error());
      }
      const Place place{superblock_.id, located[i].location.offset, located[i].generation};
      const auto entry = decode_entry(*answers[i].bytes, place);
      // Moved, removed or overwritten since the page was copied?
      if (!entry || entry->kind != EntryKind::value ||
          !index_->matches(entry->key_hash, page, some[i]) ||
          index_->find(entry->key_hash) != located[i].location) {
        continue;
      }
      if (entry->expires_at != 0 && entry->expires_at <= now) continue;
      if (told.contains(entry->sequence)) continue;
      const KeyInfo info{.key = entry->key,
                         .value_bytes = raw_bytes(entry->encoding, entry->value),
                         .sequence = entry->sequence,
                         .expires_at = entry->expires_at,
                         .flags = entry->user_flags};
      if (!each(info)) return false;
    }
  }
  return true;
}

}  // namespace rawcache
