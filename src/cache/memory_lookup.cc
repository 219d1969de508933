// Lookups that the memory tier answers: locate -> find -> touch.
#include "base/mutant.h"
#include "cache/cache_impl.h"

namespace rawcache {

EntryPlace RawDiskCache::Impl::place_of(Location location) const {
  return {location.offset, log_->generation(log_->segment_of(location.offset))};
}

std::optional<Value> RawDiskCache::Impl::find_in_memory(std::string_view key,
                                                        std::uint64_t key_hash) {
  const auto found = index_->find_with_hits(key_hash);
  if (!found) return std::nullopt;
  auto value = memory_->find(key, key_hash, place_of(found->location));
  if (!value) return std::nullopt;
  // Whoever reads it from the device counts it as expired and forgets it.
  const bool expired = value->expires_at() != 0 && value->expires_at() <= now();
  if (expired && !mutated(Mutant::kMemoryOutlivesExpiry)) return std::nullopt;
  note_hit(key_hash, found->location, found->hits);
  return value;
}

std::optional<Value> RawDiskCache::Impl::keep_in_memory(const EntryView& entry,
                                                        std::span<const std::byte> value,
                                                        const Located& located) {
  return memory_->fill({.key = entry.key,
                        .key_hash = entry.key_hash,
                        .value = value,
                        .sequence = entry.sequence,
                        .expires_at = entry.expires_at,
                        .flags = entry.user_flags,
                        .stale = entry.stale},
                       {located.location.offset, located.generation});
}

void RawDiskCache::Impl::tell_memory(const WriteCall& call, const Writing& writing) {
  const EntryFields& entry = writing.entry;
  if (call.kind == EntryKind::remove || writing.verdict != Verdict::log) {
    memory_->removed(call.key, entry.key_hash);
    return;
  }
  memory_->stored({.key = call.key,
                   .key_hash = entry.key_hash,
                   .value = call.value,
                   .sequence = entry.sequence,
                   .expires_at = entry.expires_at,
                   .flags = call.flags,
                   .stale = call.stale},
                  writing.place);
}

}  // namespace rawcache
