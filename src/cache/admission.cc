// What is stored and not written, or not yet: values that wait in memory to be asked for, stores
// that are refused, and the budget of bytes that decides how many.
#include <new>

#include "cache/cache_impl.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// New values are all taken while at least this share of the budget is saved up, below in
/// proportion.
constexpr double kTakeAllAbove = 0.5;
/// What has waited needs one hit while this share is left, then two, then three.
constexpr double kTwoHitsBelow = 0.5;
constexpr double kThreeHitsBelow = 0.25;

unsigned hits_wanted(double budget_left) {
  if (budget_left < kThreeHitsBelow) return 3;
  return budget_left < kTwoHitsBelow ? 2 : 1;
}

/// The same for a key every time, evenly spread over 0 to 1.
double lot_of(std::uint64_t key_hash) {
  constexpr std::uint64_t kMask = 0xFFFFFFFF;
  return double(key_hash & kMask) / double(kMask);
}

}  // namespace

double RawDiskCache::Impl::budget_left() {
  if (budget_.bounded()) {
    const std::uint64_t written =
        disk_->counters().written_bytes - disk_counters_at_open_.written_bytes;
    budget_left_ = budget_.left(monotonic(), written);
  }
  return budget_left_;
}

RawDiskCache::Impl::Verdict RawDiskCache::Impl::judge(const Writing& writing, bool returns) {
  if (writing.entry.kind != EntryKind::value) return Verdict::log;
  const double left = budget_left();
  if (writing.direct != nullptr || returns) {
    if (left > 0) return Verdict::log;
    return writing.waiting ? Verdict::memory : Verdict::refuse;
  }
  if (writing.waiting) return Verdict::memory;
  if (waiting_) return Verdict::refuse;  // too large to wait; remembered
  const bool taken = left >= kTakeAllAbove || lot_of(writing.entry.key_hash) < left / kTakeAllAbove;
  return taken ? Verdict::log : Verdict::refuse;
}

/// Whether the log holds, or could after a crash or a failure hold again, what the key had before.
bool RawDiskCache::Impl::must_be_removed(std::uint64_t key_hash) {
  return index_->find(key_hash).has_value() || departed_->may_hold(key_hash) ||
         writer_->awaits(key_hash);
}

Result<LogWriter::Obstacle> RawDiskCache::Impl::keep_out(Writing& writing) {
  EntryFields& entry = writing.entry;
  const bool removes = must_be_removed(entry.key_hash);
  EntryFields gone{.kind = EntryKind::remove,
                   .encoding = {},
                   .key = entry.key,
                   .key_hash = entry.key_hash,
                   .value = {},
                   .value_hash = hash_value({})};
  Location location;
  if (removes) {
    const auto appended = writer_->append(gone, replay_from_.load(std::memory_order_relaxed),
                                          Stream::small, writing.direct);
    if (appended.obstacle != LogWriter::Obstacle::none) return appended.obstacle;
    location = appended.location();
    note_appended(location);
  }
  // Before the old value goes, so that no reader finds neither.
  if (writing.verdict == Verdict::memory) {
    writing.waiting->sequence = entry.sequence = writer_->take_sequence();
    sequence_.store(writer_->next_sequence(), std::memory_order_relaxed);
    if (!waiting_->insert(writing.waiting)) writing.verdict = Verdict::refuse;
  }
  if (writing.verdict == Verdict::refuse) {
    entry.sequence = 0;
    if (waiting_) waiting_->erase(entry.key_hash);
    if (ghost_) ghost_->remember(entry.key_hash, entry_bytes(entry));
    counters_.not_admitted.add_alone();
  }
  count_call(writing);
  if (!removes) {
    watch_.written(entry.key_hash);
    return LogWriter::Obstacle::none;
  }
  (void)publish(gone, location, 0, writing.direct);  // of a remove, which needs no memory
  writing.in_batch = writing.direct != nullptr;
  return LogWriter::Obstacle::none;
}

// --- Waiting ---

// Leaves writing.waiting null if the value may not wait, or has no room.
Result<void> RawDiskCache::Impl::make_copy_that_waits(Writing& writing) {
  const EntryFields& entry = writing.entry;
  if (!waiting_ || writing.direct != nullptr || entry.kind != EntryKind::value ||
      !waiting_->takes(entry.key.size(), entry.value.size())) {
    return {};
  }
  const std::uint64_t charge = WaitingRoom::charge_of(entry.key.size(), entry.value.size());
  // Callers may hold what leaves: that makes no room, and not all the others shall go for it.
  for (std::uint64_t left = 0; left <= 2 * charge;) {
    writing.waiting = waiting_->make(entry);
    if (writing.waiting) return {};
    const WaitingRoom::Pointer oldest = waiting_->oldest();
    if (!oldest) return {};
    left += WaitingRoom::charge_of(oldest->key.size(), oldest->value.size());
    if (auto settled = settle(oldest); !settled) return settled;
  }
  writing.waiting = waiting_->make(entry);
  return {};
}

Result<void> RawDiskCache::Impl::settle(const WaitingRoom::Pointer& item) try {
  for (;;) {
    if (index_->full()) {
      if (auto room = make_index_room(); !room) return room;
    }
    const auto obstacle = try_settle(*item);
    if (!obstacle) return std::unexpected(obstacle.error());
    Result<void> made;
    switch (*obstacle) {
      case LogWriter::Obstacle::none:
        return {};
      case LogWriter::Obstacle::buffer:
        made = make_buffer_room();
        break;
      case LogWriter::Obstacle::segment:
        made = make_segment_usable(1);
        break;
    }
    if (!made) return made;
  }
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<LogWriter::Obstacle> RawDiskCache::Impl::try_settle(const WaitingRoom::Item& item) {
  MutexLock lock(log_mutex_);
  // Somebody else has settled it, or the key has been written since.
  if (!waiting_->holds(item)) return LogWriter::Obstacle::none;
  EntryFields entry{.kind = EntryKind::value,
                    .sequence = item.sequence,
                    .expires_at = item.expires_at,
                    .user_flags = item.flags,
                    .stale = item.stale,
                    .encoding = item.encoding,
                    .key = item.key,
                    .key_hash = item.key_hash,
                    .value = item.value,
                    .value_hash = 0};
  const double left = budget_left();
  const bool expired = item.expires_at != 0 && item.expires_at <= now();
  if (expired || left == 0 || item.hits.load(std::memory_order_relaxed) < hits_wanted(left)) {
    waiting_->erase(item.key_hash);
    if (expired) {
      counters_.expired.add();
    } else {
      counters_.waiting_dropped.add_alone();
    }
    if (ghost_ && !expired) ghost_->remember(item.key_hash, entry_bytes(entry));
    return LogWriter::Obstacle::none;
  }
  entry.value_hash = hash_value(item.value);
  const Stream stream = proven_stream(entry_bytes(entry));
  const auto appended =
      writer_->append(entry, replay_from_.load(std::memory_order_relaxed), stream);
  if (appended.obstacle != LogWriter::Obstacle::none) return appended.obstacle;
  note_appended(appended.location());
  const unsigned hits = stream == Stream::small ? 1 : 0;
  if (auto published = publish(entry, appended.location(), hits, nullptr); !published) {
    writer_->withdraw_last(appended.location(), nullptr);
    return std::unexpected(std::move(published.error()));
  }
  waiting_->erase(item.key_hash);
  counters_.waiting_admitted.add_alone();
  return LogWriter::Obstacle::none;
}

Result<void> RawDiskCache::Impl::settle_all() {
  if (!waiting_) return {};
  while (const WaitingRoom::Pointer oldest = waiting_->oldest()) {
    const auto settled = settle(oldest);
    if (settled) continue;
    MutexLock lock(log_mutex_);
    counters_.waiting_dropped.add_alone(waiting_->counts().entries);
    waiting_->clear();
    return settled;
  }
  return {};
}

std::optional<Result<Value>> RawDiskCache::Impl::find_waiting(std::string_view key,
                                                              std::uint64_t key_hash) {
  const WaitingRoom::Pointer item = waiting_->find(key, key_hash);
  if (!item) return std::nullopt;
  if (item->expires_at != 0 && item->expires_at <= now()) {
    counters_.expired.add();
    MutexLock lock(log_mutex_);
    // Not if it has been stored anew.
    waiting_->erase_if(key_hash, item->sequence);
    return std::nullopt;
  }
  if (item->encoding.codec == Codec::none) {
    return Value(item, item->value, item->sequence, item->expires_at, item->flags, item->stale);
  }
  IoLease raw = lease_of(item->encoding.raw_bytes);
  if (!raw) return std::unexpected(Error(Errc::out_of_memory, "read_buffer_bytes"));
  const std::span<std::byte> value = raw.bytes.first(item->encoding.raw_bytes);
  const auto restored = compressor_.decompress(item->encoding, item->value, value);
  if (restored != Compressor::Restored::yes) {  // its dictionary is gone
    MutexLock lock(log_mutex_);
    waiting_->erase_if(key_hash, item->sequence);
    return std::nullopt;
  }
  return Value(std::move(raw.owner), value, item->sequence, item->expires_at, item->flags,
               item->stale);
}

bool RawDiskCache::Impl::visit_waiting(const Each& each, std::int64_t now,
                                       std::unordered_set<std::uint64_t>& told) {
  for (const WaitingRoom::Pointer& item : waiting_->items()) {
    if (!waiting_->holds(*item) || (item->expires_at != 0 && item->expires_at <= now)) continue;
    told.insert(item->sequence);
    const KeyInfo info{.key = item->key,
                       .value_bytes = raw_bytes(item->encoding, item->value),
                       .sequence = item->sequence,
                       .expires_at = item->expires_at,
                       .flags = item->flags};
    if (!each(info)) return false;
  }
  return true;
}

}  // namespace rawcache
