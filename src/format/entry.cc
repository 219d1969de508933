#include "format/entry.h"

#include <bit>
#include <cstring>

#include "format/bytes.h"
#include "rawcache/options.h"

namespace rawcache {

namespace {

/// What an entry's checksum is the hash of: all that the entry says, at a fixed size, so that the
/// bytes of a value are passed over once, whenever its hash is wanted.
struct EntryDigest {
  std::uint64_t value_hash;
  std::uint64_t key_hash;
  std::uint64_t sequence;
  std::uint32_t value_bytes;
  std::uint16_t key_bytes;
  std::uint8_t kind;
  std::uint8_t flags;
  std::uint32_t expires_at;
  std::uint32_t zero;
};

std::uint64_t entry_checksum(const EntryHeader& header, std::uint32_t expires_at,
                             std::uint64_t key_hash, std::uint64_t value_hash, const Place& place) {
  return hash_struct(EntryDigest{value_hash, key_hash, header.sequence, header.value_bytes,
                                 header.key_bytes, header.kind, header.flags, expires_at, 0},
                     place_seed(place));
}

bool well_formed(const EntryHeader& header) {
  if ((header.flags & ~kEntryHasExpiry) != 0) return false;
  if (header.key_bytes == 0 || header.key_bytes > kKeyBytesMax) return false;
  if (header.value_bytes > kEntryValueBytesMax) return false;
  switch (static_cast<EntryKind>(header.kind)) {
    case EntryKind::value:
    case EntryKind::withdrawn:
      return true;
    case EntryKind::remove:
      return header.value_bytes == 0 && header.flags == 0;
  }
  return false;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::uint64_t hash_key(std::string_view key, const CacheId& id) {
  return hash64(std::as_bytes(std::span(key)), id.hi ^ std::rotl(id.lo, 32));
}

std::uint64_t hash_value(std::span<const std::byte> value) { return hash64(value); }

std::size_t entry_bytes(std::size_t key_bytes, std::size_t value_bytes, bool has_expiry) {
  return sizeof(EntryHeader) + (has_expiry ? kEntryExpiryBytes : 0) + key_bytes + value_bytes;
}

std::uint64_t encode_entry(std::span<std::byte> out, const EntryFields& entry, const Place& place) {
  const bool has_expiry = entry.expires_at != 0;
  RAWCACHE_ASSERT(out.size() >= entry_bytes(entry.key.size(), entry.value.size(), has_expiry));
  RAWCACHE_ASSERT(entry.value.size() <= kEntryValueBytesMax && entry.key.size() <= kKeyBytesMax);
  EntryHeader header{
      .checksum = 0,
      .sequence = entry.sequence,
      .value_bytes = static_cast<std::uint32_t>(entry.value.size()),
      .key_bytes = static_cast<std::uint16_t>(entry.key.size()),
      .kind = static_cast<std::uint8_t>(entry.kind),
      .flags = has_expiry ? kEntryHasExpiry : std::uint8_t{0},
  };
  RAWCACHE_ASSERT(well_formed(header));
  header.checksum =
      entry_checksum(header, entry.expires_at, entry.key_hash, entry.value_hash, place);
  save(out, header);
  out = out.subspan(sizeof(header));
  if (has_expiry) {
    save(out, entry.expires_at);
    out = out.subspan(kEntryExpiryBytes);
  }
  std::memcpy(out.data(), entry.key.data(), entry.key.size());
  if (!entry.value.empty()) {
    std::memcpy(out.data() + entry.key.size(), entry.value.data(), entry.value.size());
  }
  return header.checksum;
}

std::expected<EntryView, EntryError> decode_entry(std::span<const std::byte> bytes,
                                                  const Place& place) {
  if (bytes.size() < sizeof(EntryHeader)) return std::unexpected(EntryError::truncated);
  const auto header = load<EntryHeader>(bytes);
  if (!well_formed(header)) return std::unexpected(EntryError::malformed);
  const bool has_expiry = (header.flags & kEntryHasExpiry) != 0;
  const std::size_t size = entry_bytes(header.key_bytes, header.value_bytes, has_expiry);
  if (size > bytes.size()) return std::unexpected(EntryError::truncated);

  EntryView view;
  auto rest = bytes.first(size).subspan(sizeof(EntryHeader));
  if (has_expiry) {
    view.expires_at = load<std::uint32_t>(rest);
    if (view.expires_at == 0) return std::unexpected(EntryError::malformed);
    rest = rest.subspan(kEntryExpiryBytes);
  }
  view.kind = static_cast<EntryKind>(header.kind);
  view.sequence = header.sequence;
  view.key = as_text(rest.first(header.key_bytes));
  view.key_hash = hash_key(view.key, place.id);
  view.value = rest.subspan(header.key_bytes);
  view.checksum = header.checksum;
  view.bytes = size;
  if (entry_checksum(header, view.expires_at, view.key_hash, hash_value(view.value), place) !=
      header.checksum) {
    return std::unexpected(EntryError::checksum);
  }
  return view;
}

std::uint64_t withdraw_entry(std::span<std::byte> bytes, const Place& place) {
  const auto entry = decode_entry(bytes, place);
  RAWCACHE_ASSERT(entry.has_value());
  auto header = load<EntryHeader>(bytes);
  header.kind = static_cast<std::uint8_t>(EntryKind::withdrawn);
  header.checksum =
      entry_checksum(header, entry->expires_at, entry->key_hash, hash_value(entry->value), place);
  save(bytes, header);
  return header.checksum;
}

}  // namespace rawcache
