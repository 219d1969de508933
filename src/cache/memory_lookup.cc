// What the memory tier answers and what it is told.
#include "base/mutant.h"
#include "cache/cache_impl.h"

namespace rawcache {

EntryPlace RawDiskCache::Impl::place_of(Location location) const {
  return {location.offset, log_->generation(log_->segment_of(location.offset))};
}

std::optional<Value> RawDiskCache::Impl::find_in_memory(std::string_view key,
                                                        const Located& located) {
  if (!memory_) return std::nullopt;
  auto value = memory_->find(key, located.key_hash, located.place());
  if (!value) return std::nullopt;
  // Whoever reads it from the device counts it as expired and forgets it.
  const bool expired = value->expires_at() != 0 && value->expires_at() <= now();
  if (expired && !mutated(Mutant::kMemoryOutlivesExpiry)) return std::nullopt;
  note_hit(located.key_hash, located.location, located.hits);
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
                       located.place());
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
