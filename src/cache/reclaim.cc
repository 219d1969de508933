// Freeing segments: which one, what of it is kept as it is or copied, what is dropped. All of it
// under checkpoint_mutex_.
#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "base/mutant.h"
#include "cache/cache_impl.h"
#include "cache/segment_scan.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// What is read at once to copy entries. Bounds the memory, and how long lookups wait behind it.
constexpr std::uint64_t kCopyBytes = std::uint64_t{256} << 10;

}  // namespace

std::optional<std::uint32_t> RawDiskCache::Impl::oldest_segment() const {
  std::optional<std::uint32_t> oldest;
  const std::vector<SegmentRecord>& table = log_->table();
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    if (table[i].state != static_cast<std::uint8_t>(SegmentState::sealed)) continue;
    if (!oldest || table[i].generation < table[*oldest].generation) oldest = i;
  }
  return oldest;
}

std::optional<EvictionStep> RawDiskCache::Impl::next_step(std::uint32_t rotations) {
  std::vector<SegmentUse> uses(log_->segments());
  for (std::uint32_t i = 0; i < uses.size(); ++i) {
    uses[i].live = index_->live_bytes(i);
    uses[i].hot = index_->hot_bytes(i);
    uses[i].last_hit = std::max(last_hits_[i].load(std::memory_order_relaxed), log_->opened_at(i));
  }
  return policy_->next({.segments = log_->table(),
                        .uses = uses,
                        .segment_bytes = superblock_.segment_bytes,
                        .tokens = tokens_,
                        .rotations = rotations});
}

Result<bool> RawDiskCache::Impl::reclaim_one() {
  for (std::uint32_t rotations = 0;; ++rotations) {
    std::optional<EvictionStep> step;
    {
      MutexLock lock(log_mutex_);
      step = next_step(rotations);
    }
    if (!step) return false;
    if (step->action != EvictionStep::Action::evict) {
      keep_segment(*step);
      continue;
    }
    auto victim = read_victim(step->segment);
    if (!victim) return std::unexpected(victim.error());
    if (policy_->keeps_hot() && victim->records) {
      if (auto copied = copy_hot(*victim); !copied) return std::unexpected(copied.error());
    }
    drop(*victim, counters_.evicted);
    MutexLock lock(log_mutex_);
    log_->release(step->segment);
    return true;
  }
}

Result<bool> RawDiskCache::Impl::reclaim_oldest(Counter& cause) {
  std::optional<std::uint32_t> oldest;
  {
    MutexLock lock(log_mutex_);
    oldest = oldest_segment();
  }
  if (!oldest) return false;
  auto victim = read_victim(*oldest);
  if (!victim) return std::unexpected(victim.error());
  drop(*victim, cause);
  MutexLock lock(log_mutex_);
  log_->release(*oldest);
  return true;
}

Result<RawDiskCache::Impl::Victim> RawDiskCache::Impl::read_victim(std::uint32_t segment) {
  Victim victim{.segment = segment, .generation = 0, .label = Stream::small, .records = {}};
  bool durable = true;
  {
    MutexLock lock(log_mutex_);
    const SegmentRecord& record = log_->table()[segment];
    victim.generation = record.generation;
    victim.label = static_cast<Stream>(record.label);
    durable = record.last_batch < writer_->first_volatile_batch();
  }
  if (!durable) {
    // Only caches of a few segments come here: the oldest is still on its way to the device.
    if (auto flushed = flush_writes(); !flushed) return std::unexpected(flushed.error());
  }
  const auto trailer = read_footer_trailer(*disk_, superblock_, segment);
  std::uint64_t bytes_read = 0;
  if (trailer && trailer->generation == victim.generation) {
    victim.records = read_footer_records(*disk_, superblock_, segment, *trailer, bytes_read);
  }
  return victim;
}

void RawDiskCache::Impl::keep_segment(const EvictionStep& step) {
  const bool relabel = step.action == EvictionStep::Action::relabel;
  const std::uint64_t start = log_->segment_offset(step.segment);
  const auto trailer = read_footer_trailer(*disk_, superblock_, step.segment);
  std::uint64_t bytes_read = 0;
  const auto records =
      trailer ? read_footer_records(*disk_, superblock_, step.segment, *trailer, bytes_read)
              : std::nullopt;
  const unsigned faded = relabel ? std::numeric_limits<unsigned>::max() : 1;
  if (records) {
    for (const FooterRecord& record : *records) {
      index_->fade(record.key_hash, start + record.offset, faded);
    }
  } else {
    index_->fade_range(start, start + superblock_.segment_bytes, faded);
  }
  (relabel ? counters_.segments_relabelled : counters_.segments_rotated).add();
  MutexLock lock(log_mutex_);
  log_->label(step.segment, Stream::main);
}

// --- Copying ---

std::vector<RawDiskCache::Impl::Survivor> RawDiskCache::Impl::choose_hot(const Victim& victim) {
  const std::uint64_t start = log_->segment_offset(victim.segment);
  std::vector<Survivor> hot;
  for (const FooterRecord& record : *victim.records) {
    if (record.kind != EntryKind::value) continue;
    const std::uint64_t offset = start + record.offset;
    const unsigned hits = index_->hits_at(record.key_hash, offset).value_or(0);
    if (hits > 0) hot.push_back({record.key_hash, {offset, size_class(record.bytes)}, hits});
  }
  // What has been asked for most is kept first, while there are tokens.
  std::ranges::sort(hot, std::greater(), [](const Survivor& survivor) {
    return std::pair(survivor.hits, survivor.location.offset);
  });
  std::uint64_t tokens = 0;
  {
    MutexLock lock(log_mutex_);
    tokens = budget_left() > 0 ? tokens_ : 0;
  }
  std::erase_if(hot, [&](const Survivor& survivor) {
    const std::uint64_t bytes = size_class_bytes(survivor.location.size_class);
    if (bytes > tokens) return true;
    tokens -= bytes;
    return false;
  });
  std::ranges::sort(hot, {}, [](const Survivor& survivor) { return survivor.location.offset; });
  return hot;
}

// At least one, and as many as can be read by so many bytes, what lies between them included.
std::vector<Extent> RawDiskCache::Impl::next_piece(std::span<const Survivor> hot,
                                                   std::uint64_t bytes_max) const {
  std::vector<Extent> extents;
  std::uint64_t bytes = 0;
  for (const Survivor& next : hot) {
    const Extent extent = extent_of(next.location);
    if (!extents.empty()) {
      const std::uint64_t gap = extent.offset - std::min(extent.offset, extents.back().end());
      bytes += gap <= options_.read_gap_bytes ? gap : 0;
      if (bytes + extent.size > bytes_max) break;
    }
    bytes += extent.size;
    extents.push_back(extent);
  }
  return extents;
}

Result<void> RawDiskCache::Impl::copy_hot(const Victim& victim) {
  const std::vector<Survivor> hot = choose_hot(victim);
  const std::uint64_t piece_bytes =
      std::min<std::uint64_t>(kCopyBytes, arena_->memory().size() / 4);
  const std::int64_t time = now();
  for (std::size_t first = 0; first < hot.size();) {
    const std::vector<Extent> extents = next_piece(std::span(hot).subspan(first), piece_bytes);
    const std::vector<ReadAnswer> answers = io_->read(extents, BatchIOManager::Whole::start);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const Survivor& survivor = hot[first + i];
      if (!answers[i].bytes) continue;
      const auto entry = decode_entry(
          *answers[i].bytes, {superblock_.id, survivor.location.offset, victim.generation});
      if (!entry || entry->kind != EntryKind::value || entry->key_hash != survivor.key_hash) {
        continue;
      }
      const bool expired = entry->expires_at != 0 && entry->expires_at <= time;
      if (expired && !mutated(Mutant::kExpiredCopied)) {
        counters_.expired.add();
        index_->erase_if_at(survivor.key_hash, survivor.location.offset);
        continue;
      }
      auto room = copy_entry(*entry, survivor, victim);
      if (!room) return std::unexpected(room.error());
      if (!*room) first = hot.size();  // the rest is dropped
      if (first == hot.size()) break;
    }
    if (first < hot.size()) first += extents.size();
    if (io_->flush_due()) {
      if (auto room = make_buffer_room(); !room) return std::unexpected(room.error());
    }
  }
  return {};
}

// False: no segment to copy into.
Result<bool> RawDiskCache::Impl::copy_entry(const EntryView& entry, const Survivor& survivor,
                                            const Victim& victim) {
  EntryFields copy = fields_of(entry);
  if (mutated(Mutant::kCopyCountsAsNew)) copy.sequence = 0;
  for (;;) {
    {
      MutexLock lock(log_mutex_);
      // Whoever overwrites or removes does it under this lock, so that a copy is never newer.
      const bool gone = index_->find(survivor.key_hash) != survivor.location;
      if (gone && !mutated(Mutant::kCopyOverwritesNewer)) return true;
      const auto appended =
          writer_->append(copy, replay_from_.load(std::memory_order_relaxed), Stream::main);
      if (appended.obstacle == LogWriter::Obstacle::segment) return false;
      if (appended.obstacle == LogWriter::Obstacle::none) {
        log_->note_copy(victim.segment, writer_->next_batch() - 1);
        const unsigned hits = victim.label == Stream::small ? 0 : survivor.hits - 1;
        index_->replace(survivor.key_hash, survivor.location, appended.location(), hits);
        if (mutated(Mutant::kCopyOverwritesNewer)) {
          (void)index_->put(survivor.key_hash, appended.location());
        }
        if (memory_ && !mutated(Mutant::kMovedNotTold)) {
          memory_->moved(survivor.key_hash, place_of(survivor.location),
                         place_of(appended.location()));
        }
        const std::uint64_t bytes = size_class_bytes(appended.location().size_class);
        tokens_ -= std::min(tokens_, bytes);
        appended_.store(log_->appended_bytes(), std::memory_order_relaxed);
        counters_.copied.add();
        counters_.copied_bytes.add(bytes);
        return true;
      }
    }
    if (auto room = make_buffer_room(); !room) return std::unexpected(room.error());
  }
}

void RawDiskCache::Impl::drop(const Victim& victim, Counter& cause) {
  const std::uint64_t start = log_->segment_offset(victim.segment);
  if (!victim.records) {
    if (departed_) {
      MutexLock lock(log_mutex_);
      departed_->add_any();
    }
    cause.add(index_->erase_range(start, start + log_->segment_bytes()));
    return;
  }
  if (departed_) {
    // Before they are gone: whoever stores one anew from here on must know.
    MutexLock lock(log_mutex_);
    for (const FooterRecord& record : *victim.records) departed_->add(record.key_hash);
  }
  std::uint64_t erased = 0;
  std::uint64_t hot = 0;
  std::vector<FooterRecord> forgotten;
  forgotten.reserve(victim.records->size());  // what has been erased must be counted
  for (const FooterRecord& record : *victim.records) {
    if (record.kind != EntryKind::value) continue;
    const std::uint64_t offset = start + record.offset;
    const auto hits = index_->hits_at(record.key_hash, offset);
    if (!hits || mutated(Mutant::kEvictedNotErased)) continue;
    if (!index_->erase_if_at(record.key_hash, offset)) continue;
    ++erased;
    hot += *hits > 0;
    if (policy_->remembers() && victim.label == Stream::small) forgotten.push_back(record);
  }
  cause.add(erased);
  if (&cause == &counters_.evicted) {
    counters_.evicted_hot.add(hot);
    counters_.evicted_cold.add(erased - hot);
  }
  if (forgotten.empty()) return;
  MutexLock lock(log_mutex_);
  for (const FooterRecord& record : forgotten) {
    ghost_->remember(record.key_hash, size_class_bytes(size_class(record.bytes)));
  }
}

}  // namespace rawcache
