// store, store_buffered, remove, remove_buffered, and batches of them: place -> encode -> publish.
#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "base/mutant.h"
#include "cache/cache_impl.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// Other threads may fill the buffer again and again before an entry that needs all of it.
constexpr int kDryFlushesMax = 100;

// Of a batch: so many entries ahead keys are hashed and their pages of the index fetched, and so
// many the lines in the pages, and values. All lie behind the processor's caches where entries are
// many.
constexpr std::size_t kHashedAhead = 16;
constexpr std::size_t kFetchedAhead = 8;
constexpr std::size_t kFetchedValueBytes = 256;  ///< the processor sees then where it goes
constexpr std::size_t kLineBytes = 64;
/// Of a batch, after so many entries: what single calls do each time for the maintenance thread.
constexpr std::size_t kEntriesBetweenLooks = 64;

/// Whether the rest of a batch would fare alike, each entry after a wait of its own. A condition
/// may fail to read what it asks for, which says nothing of other keys.
bool ends_a_batch(StoreIf when, const Error& error) {
  if (when != StoreIf::always) return error == Errc::closed;
  return error == Errc::io_error || error == Errc::sync_failed || error == Errc::no_space ||
         error == Errc::buffer_full || error == Errc::closed;
}

/// Without the words, for which memory might be missing after others have been stored.
void fail_alike(std::span<Result<void>> rest, const Error& error) {
  for (Result<void>& result : rest) {
    result = std::unexpected(Error(error.code(), {}, error.os_error()));
  }
}

}  // namespace

Result<void> RawDiskCache::Impl::check(const WriteCall& call) const try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (call.key.empty()) return std::unexpected(Errc::key_empty);
  if (call.key.size() > kKeyBytesMax) {
    return std::unexpected(
        Error(Errc::key_too_long,
              std::to_string(call.key.size()) + " bytes; at most " + std::to_string(kKeyBytesMax)));
  }
  const std::uint64_t limit = value_bytes_max(call.key.size());
  if (call.value.size() > limit) {
    return std::unexpected(
        Error(Errc::value_too_large, std::to_string(call.value.size()) + " bytes; at most " +
                                         std::to_string(limit) + " beside this key"));
  }
  if (call.compression) return check_compression(*call.compression);
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

std::uint32_t RawDiskCache::Impl::expiry(const WriteCall& call) {
  if (call.kind != EntryKind::value) return 0;
  if (call.expires_at) return *call.expires_at;
  const std::chrono::seconds ttl = call.ttl.count() == 0 ? options_.default_ttl : call.ttl;
  if (ttl.count() <= 0) return 0;
  const std::int64_t now = this->now();
  constexpr std::int64_t kLatest = std::numeric_limits<std::uint32_t>::max();
  // Beyond 2106 is as good as never.
  if (ttl.count() >= kLatest - now) return 0;
  return static_cast<std::uint32_t>(now + ttl.count());
}

Result<void> RawDiskCache::Impl::write(const WriteCall& call) {
  if (auto checked = check(call); !checked) return checked;
  LatencyTimer timer(call.durable ? counters_.store_latency : counters_.store_buffered_latency);
  if (call.durable) {
    timer.start();
  } else {
    timer.start_sometimes();
  }
  std::optional<DirectWrite> direct;
  if (call.durable) direct.emplace();
  const std::uint64_t key_hash = hash_key(call.key, superblock_.id);
  prefetch(key_hash);  // the value is hashed meanwhile
  auto begun = begin_write(call, key_hash, direct ? &*direct : nullptr);
  if (!begun && begun.error() != Errc::flush_failed) {
    return std::unexpected(std::move(begun.error()));
  }
  auto result = begun ? end_write(call, *begun, direct ? &*direct : nullptr)
                      : Result<void>(std::unexpected(std::move(begun.error())));
  end_writes();
  return result;
}

Result<void> RawDiskCache::Impl::end_write(const WriteCall& call, const StoredAs& stored,
                                           DirectWrite* direct) {
  if (stored.in_batch) {
    if (auto waited = wait_until_durable(*direct); !waited) return waited;
  }
  if (stored.verdict == Verdict::refuse) return std::unexpected(Errc::not_admitted);
  if (call.stored_in != nullptr) {
    *call.stored_in = stored.verdict == Verdict::memory ? StoredIn::memory : StoredIn::log;
  }
  return {};
}

std::vector<Result<void>> RawDiskCache::Impl::write_group(std::span<const WriteCall> calls,
                                                          StoredAs* stored, Rest rest) {
  std::vector<Result<void>> results(calls.size());
  // They stay where they are until their batch has ended.
  const auto direct = std::make_unique<DirectWrite[]>(calls.size());
  std::vector<StoredAs> begun(calls.size());
  const std::uint64_t start = monotonic_ns();
  std::uint64_t unflushed = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    results[i] = check(calls[i]);
    if (!results[i]) continue;
    const std::uint64_t key_hash = hash_key(calls[i].key, superblock_.id);
    prefetch(key_hash);
    auto written = begin_write(calls[i], key_hash, calls[i].durable ? &direct[i] : nullptr);
    if (!written) {
      const bool is_last =
          rest == Rest::fails_alike && ends_a_batch(calls[i].when, written.error());
      results[i] = std::unexpected(std::move(written.error()));
      if (!is_last) continue;
      fail_alike(std::span(results).subspan(i + 1), results[i].error());
      break;
    }
    begun[i] = *written;
    // The device need not wait until all have been encoded. How it goes each call is told.
    unflushed += calls[i].key.size() + calls[i].value.size();
    if (std::exchange(unflushed, unflushed % io_->target_bytes()) >= io_->target_bytes()) {
      (void)make_buffer_room();
    }
    if ((i + 1) % kEntriesBetweenLooks == 0) end_writes();
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!results[i]) continue;
    results[i] = end_write(calls[i], begun[i], &direct[i]);
    if (begun[i].in_batch) counters_.store_latency.add(monotonic_ns() - start);
    if (stored != nullptr) stored[i] = begun[i];
  }
  if (!closed_.load(std::memory_order_relaxed)) end_writes();
  return results;
}

std::vector<Result<void>> RawDiskCache::Impl::store_batch(std::span<const KeyValue> entries,
                                                          const StoreOptions& options) {
  std::vector<WriteCall> calls;
  calls.reserve(entries.size());
  for (const KeyValue& entry : entries) {
    calls.push_back(store_call(entry.key, entry.value, options, true));
    calls.back().stored_in = entry.stored_in;
  }
  return write_group(calls, nullptr, Rest::fails_alike);
}

std::vector<Result<void>> RawDiskCache::Impl::store_buffered_batch(
    std::span<const KeyValue> entries, const StoreOptions& options) {
  std::vector<Result<void>> results(entries.size());
  std::array<std::uint64_t, kHashedAhead> hashes{};
  const auto hash = [&](std::size_t i) {
    if (i >= entries.size()) return;
    hashes[i % kHashedAhead] = hash_key(entries[i].key, superblock_.id);
    index_->prefetch_page(hashes[i % kHashedAhead]);
  };
  const auto fetch = [&](std::size_t i) {
    if (i >= entries.size()) return;
    prefetch(hashes[i % kHashedAhead]);
    const std::span<const std::byte> value = entries[i].value;
    for (std::size_t at = 0; at < std::min(value.size(), kFetchedValueBytes); at += kLineBytes) {
      __builtin_prefetch(value.data() + at);
    }
  };
  for (std::size_t i = 0; i < kHashedAhead; ++i) hash(i);
  for (std::size_t i = 0; i < kFetchedAhead; ++i) fetch(i);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    fetch(i + kFetchedAhead);
    const std::uint64_t key_hash = hashes[i % kHashedAhead];
    hash(i + kHashedAhead);
    WriteCall call = store_call(entries[i].key, entries[i].value, options, false);
    call.stored_in = entries[i].stored_in;
    call.urgent = call.urgent && i + 1 == entries.size();
    results[i] = check(call);
    if (!results[i]) continue;
    LatencyTimer timer(counters_.store_buffered_latency);
    timer.start_sometimes();
    auto begun = begin_write(call, key_hash, nullptr);
    results[i] = begun ? end_write(call, *begun, nullptr)
                       : Result<void>(std::unexpected(std::move(begun.error())));
    if (!results[i] && ends_a_batch(call.when, results[i].error())) {
      fail_alike(std::span(results).subspan(i + 1), results[i].error());
      break;
    }
    if ((i + 1) % kEntriesBetweenLooks == 0) end_writes();
  }
  if (!closed_.load(std::memory_order_relaxed)) end_writes();
  return results;
}

// Reads nothing that changes, and so needs no lock.
void RawDiskCache::Impl::prefetch(std::uint64_t key_hash) const {
  index_->prefetch(key_hash);
  if (ghost_) ghost_->prefetch(key_hash);
}

/// Up to where a durable call waits. On flush_failed the entry has been stored all the same; on any
/// other error, also for want of memory, it has not, and `direct` waits for nothing.
Result<RawDiskCache::Impl::StoredAs> RawDiskCache::Impl::begin_write(const WriteCall& call,
                                                                     std::uint64_t key_hash,
                                                                     DirectWrite* direct) try {
  if (auto cleared = clear_if_due(); !cleared) return std::unexpected(cleared.error());
  if (call.urgent) note_urgent(direct);
  if (call.when != StoreIf::always) return begin_conditional(call, key_hash, direct);
  const Compressor::Stored stored = compressor_.is_off(call.compression)
                                        ? Compressor::Stored(call.value)
                                        : compressor_.compress(call.value, call.compression);
  Writing writing{.entry = {.kind = call.kind,
                            .sequence = 0,
                            .expires_at = expiry(call),
                            .user_flags = call.flags,
                            .stale = call.stale,
                            .encoding = stored.encoding,
                            .key = call.key,
                            .key_hash = key_hash,
                            .value = stored.bytes,
                            .value_hash = hash_value(stored.bytes)},
                  .direct = direct,
                  .unless_written = call.unless_written,
                  .waiting = nullptr,
                  .place = {}};

  // A full buffer that could not be flushed takes nothing more: memory is bounded.
  if (!call.durable && io_->flush_due()) {
    if (auto room = make_buffer_room(); !room) {
      feed_relocation();
      return std::unexpected(room.error());
    }
  }
  if (waiting_) {
    if (auto copied = make_copy_that_waits(writing); !copied) {
      return std::unexpected(copied.error());
    }
  }
  if (auto appended = append(writing); !appended) return std::unexpected(appended.error());
  if (memory_ && writing.verdict != Verdict::overtaken) tell_memory(call, writing);
  const bool urgent = call.urgent && !mutated(Mutant::kUrgentNotStarted);
  const bool due = background_failed_.load(std::memory_order_relaxed) || io_->flush_due() || urgent;
  // What is refused is told that, and not how the flush went.
  if (!call.durable && due && writing.verdict != Verdict::refuse) {
    if (auto started = start_due_flush(urgent); !started) {
      return std::unexpected(std::move(started.error()));
    }
  }
  return StoredAs{.sequence = writing.entry.sequence,
                  .expires_at = writing.entry.expires_at,
                  .verdict = writing.verdict,
                  .in_batch = writing.in_batch};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

/// After a buffered write, which is accepted whatever becomes of this.
Result<void> RawDiskCache::Impl::start_due_flush(bool urgent) try {
  Result<void> result;
  if (background_failed_.exchange(false)) {
    result = std::unexpected(Error(Errc::flush_failed, "an earlier flush in the background"));
  }
  if (io_->flush_due() || urgent) {
    if (auto started = make_buffer_room(); !started) {
      feed_relocation();
      result = std::unexpected(
          Error(Errc::flush_failed, started.error().detail(), started.error().os_error()));
    }
  }
  return result;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::flush_failed);
}

void RawDiskCache::Impl::end_writes() {
  const bool late = options_.flush_interval.count() > 0 && maintenance_.joinable() &&
                    !timer_set_.load() && !timer_set_.exchange(true);
  if (late || segments_wanted_.load(std::memory_order_relaxed) || checkpoint_due() ||
      (compressor_.wants_dictionary() && maintenance_.joinable())) {
    wake_maintenance();
  }
}

Result<void> RawDiskCache::Impl::append(Writing& writing) {
  int dry_flushes = 0;
  for (;;) {
    if (writing.entry.kind == EntryKind::value && index_->full()) {
      if (auto room = make_index_room(); !room) return std::unexpected(room.error());
    }
    const auto obstacle = try_append(writing);
    if (!obstacle) return std::unexpected(obstacle.error());
    Result<void> removed;
    switch (*obstacle) {
      case LogWriter::Obstacle::none:
        return {};
      case LogWriter::Obstacle::buffer:
        // An empty buffer takes an entry of any size, if there is memory.
        if (io_->counts().pending_bytes == 0 && ++dry_flushes > kDryFlushesMax) {
          return std::unexpected(Error(Errc::out_of_memory, "write buffer"));
        }
        removed = make_buffer_room();
        break;
      case LogWriter::Obstacle::segment:
        removed = make_segment_usable(1);
        break;
    }
    if (!removed) return std::unexpected(removed.error());
  }
}

Result<LogWriter::Obstacle> RawDiskCache::Impl::try_append(Writing& writing) {
  EntryFields& entry = writing.entry;
  MutexLock lock(log_mutex_);
  const bool overtaken = writing.unless_written != nullptr && writing.unless_written->written;
  if (overtaken && !mutated(Mutant::kLoadUndoesWrite)) {
    writing.verdict = Verdict::overtaken;
    return LogWriter::Obstacle::none;
  }
  // What is wanted again after it had gone has proved its worth: it joins the main stream, or has a
  // hit and is copied there in its time.
  const bool returns = entry.kind == EntryKind::value && ghost_ && ghost_->knows(entry.key_hash);
  if (selective_) writing.verdict = judge(writing, returns);
  if (writing.verdict != Verdict::log) return keep_out(writing);
  const Stream stream = returns ? proven_stream(entry_bytes(entry)) : Stream::small;
  const auto appended =
      writer_->append(entry, replay_from_.load(std::memory_order_relaxed), stream, writing.direct);
  if (appended.obstacle != LogWriter::Obstacle::none) return appended.obstacle;
  const Location location = appended.location();
  note_appended(location);
  count_call(writing);
  if (returns) {
    ghost_->take(entry.key_hash);
    counters_.ghost_hits.add_alone();
  }
  const unsigned hits = returns && stream == Stream::small ? 1 : 0;
  if (auto published = publish(entry, location, hits, writing.direct); !published) {
    writer_->withdraw_last(location, writing.direct);
    return std::unexpected(std::move(published.error()));
  }
  if (waiting_) waiting_->erase(entry.key_hash);
  writing.in_batch = writing.direct != nullptr;
  if (memory_) writing.place = place_of(location);
  return LogWriter::Obstacle::none;
}

void RawDiskCache::Impl::count_call(const Writing& writing) {
  const EntryFields& entry = writing.entry;
  (writing.direct != nullptr ? counters_.stores : counters_.buffered_stores).add_alone();
  if (entry.kind == EntryKind::remove) counters_.removes.add_alone();
  if (writing.verdict == Verdict::refuse) return;
  counters_.user_bytes_stored.add_alone(entry.key.size() + raw_bytes(entry.encoding, entry.value));
}

void RawDiskCache::Impl::note_appended(Location location) {
  appended_.store(log_->appended_bytes(), std::memory_order_relaxed);
  sequence_.store(writer_->next_sequence(), std::memory_order_relaxed);
  if (log_->free_count() < spare_segments_) {
    segments_wanted_.store(true, std::memory_order_relaxed);
  }
  const std::uint64_t bytes = size_class_bytes(location.size_class);
  counters_.appended_entry_bytes.add_alone(bytes);
  tokens_ = std::min(tokens_ + std::uint64_t(double(bytes) * tokens_per_byte_), tokens_max_);
  note_buffered();
}

Stream RawDiskCache::Impl::proven_stream(std::uint64_t entry_bytes) {
  return policy_->remembers() ? writer_->main_if_cheap(entry_bytes) : Stream::small;
}

Result<void> RawDiskCache::Impl::publish(const EntryFields& entry, Location location, unsigned hits,
                                         DirectWrite* direct) {
  std::optional<Location> before;
  if (entry.kind == EntryKind::value) {
    auto put = index_->put(entry.key_hash, location, hits);
    if (!put) return std::unexpected(std::move(put.error()));
    if (direct != nullptr) before = *put;
  } else {
    before = index_->erase(entry.key_hash);
  }
  watch_.written(entry.key_hash);
  if (direct == nullptr) return {};
  direct->key_hash = entry.key_hash;
  direct->sequence = entry.sequence;
  direct->location = location;
  direct->remove = entry.kind == EntryKind::remove;
  direct->before = before;
  if (before) direct->before_generation = log_->generation(log_->segment_of(before->offset));
  return {};
}

}  // namespace rawcache
