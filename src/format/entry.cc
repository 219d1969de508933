#include "format/entry.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "base/copy.h"
#include "base/mutant.h"
#include "format/bytes.h"
#include "rawcache/options.h"

namespace rawcache {

namespace {

/// What an entry's checksum is the hash of: all that the entry says, at a fixed size, so that the
/// bytes of a value are passed over once, whenever its hash is wanted. In words: what is written
/// field by field and hashed word by word would wait for the fields to leave the store buffer.
struct EntryDigest {
  std::uint64_t value_hash;
  std::uint64_t key_hash;
  std::uint64_t sequence;
  std::uint64_t sizes;
  std::uint64_t expires_at_and_user_flags;
  std::uint64_t encoding;
};

struct OptionalFields {
  std::uint32_t expires_at = 0;
  std::uint32_t user_flags = 0;
  std::uint32_t encoding = 0;
};

/// The header's last 8 bytes: sizes, kind and flags.
std::uint64_t sizes_word(const EntryHeader& header) {
  static_assert(offsetof(EntryHeader, value_bytes) == 16 &&
                offsetof(EntryHeader, key_bytes) == 20 && offsetof(EntryHeader, kind) == 22 &&
                offsetof(EntryHeader, flags) == 23 && std::endian::native == std::endian::little);
  return header.value_bytes | std::uint64_t{header.key_bytes} << 32 |
         std::uint64_t{header.kind} << 48 | std::uint64_t{header.flags} << 56;
}

std::uint64_t entry_checksum(const EntryHeader& header, const OptionalFields& optional,
                             std::uint64_t key_hash, std::uint64_t value_hash, const Place& place) {
  return hash_struct(EntryDigest{value_hash, key_hash, header.sequence, sizes_word(header),
                                 optional.expires_at | std::uint64_t{optional.user_flags} << 32,
                                 optional.encoding},
                     place_seed(place));
}

/// Writes a field if it is there. What is left of `out` follows it.
void save_optional(std::span<std::byte>& out, std::uint32_t field) {
  if (field == 0) return;
  save(out, field);
  out = out.subspan(kEntryFieldBytes);
}

/// Reads the field if `flag` announces it; false if it is zero then, which is not written.
bool load_optional(std::span<const std::byte>& rest, const EntryHeader& header, std::uint8_t flag,
                   std::uint32_t& field) {
  if ((header.flags & flag) == 0) return true;
  field = load<std::uint32_t>(rest);
  rest = rest.subspan(kEntryFieldBytes);
  return field != 0;
}

// The word of an encoding: codec (2 bits) | dictionary (3) | raw size (27), from the highest bit.
constexpr int kCodecShift = 30;
constexpr int kDictionaryShift = 27;
constexpr std::uint32_t kRawBytesMask = (std::uint32_t{1} << kDictionaryShift) - 1;
static_assert(kEntryValueBytesMax <= kRawBytesMask);
static_assert(kDictionarySlots == 1 << (kCodecShift - kDictionaryShift));

bool well_formed(const EntryHeader& header) {
  if ((header.flags & ~(kEntryHasAll | kEntryIsStale)) != 0) return false;
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

std::uint32_t encoding_word(const Encoding& encoding) {
  if (encoding.codec == Codec::none) return 0;
  return static_cast<std::uint32_t>(encoding.codec) << kCodecShift |
         static_cast<std::uint32_t>(encoding.dictionary) << kDictionaryShift | encoding.raw_bytes;
}

std::optional<Encoding> parse_encoding(std::uint32_t word) {
  const Encoding encoding{
      .codec = static_cast<Codec>(word >> kCodecShift),
      .dictionary = static_cast<std::uint8_t>((word >> kDictionaryShift) & (kDictionarySlots - 1)),
      .raw_bytes = word & kRawBytesMask};
  if (encoding.codec == Codec::none || encoding.raw_bytes > kEntryValueBytesMax) {
    return std::nullopt;
  }
  if (encoding.dictionary != 0 && encoding.codec != Codec::zstd_dictionary) return std::nullopt;
  return encoding;
}

EntryFields fields_of(const EntryView& view) {
  return {.kind = view.kind,
          .sequence = view.sequence,
          .expires_at = view.expires_at,
          .user_flags = view.user_flags,
          .stale = view.stale,
          .encoding = view.encoding,
          .key = view.key,
          .key_hash = view.key_hash,
          .value = view.value,
          .value_hash = hash_value(view.value)};
}

std::uint64_t encode_entry(std::span<std::byte> out, const EntryFields& entry, const Place& place) {
  RAWCACHE_ASSERT(out.size() >= entry_bytes(entry));
  RAWCACHE_ASSERT(entry.value.size() <= kEntryValueBytesMax && entry.key.size() <= kKeyBytesMax);
  EntryHeader header{
      .checksum = 0,
      .sequence = entry.sequence,
      .value_bytes = static_cast<std::uint32_t>(entry.value.size()),
      .key_bytes = static_cast<std::uint16_t>(entry.key.size()),
      .kind = static_cast<std::uint8_t>(entry.kind),
      .flags = flags_of(entry),
  };
  const OptionalFields optional{entry.expires_at, entry.user_flags, encoding_word(entry.encoding)};
  RAWCACHE_ASSERT(well_formed(header));
  RAWCACHE_ASSERT(optional.encoding == 0 || parse_encoding(optional.encoding) == entry.encoding);
  header.checksum = entry_checksum(header, optional, entry.key_hash, entry.value_hash, place);
  save(out, header.checksum);
  save(out.subspan(offsetof(EntryHeader, sequence)), header.sequence);
  save(out.subspan(offsetof(EntryHeader, value_bytes)), sizes_word(header));
  out = out.subspan(sizeof(header));
  save_optional(out, optional.expires_at);
  save_optional(out, optional.user_flags);
  save_optional(out, optional.encoding);
  copy_bytes(out.data(), std::as_bytes(std::span(entry.key)).data(), entry.key.size());
  copy_bytes(out.data() + entry.key.size(), entry.value.data(), entry.value.size());
  return header.checksum;
}

std::expected<EntryView, EntryError> decode_entry(std::span<const std::byte> bytes,
                                                  const Place& place) {
  if (bytes.size() < sizeof(EntryHeader)) return std::unexpected(EntryError::truncated);
  const auto header = load<EntryHeader>(bytes);
  if (!well_formed(header)) return std::unexpected(EntryError::malformed);
  const std::size_t size = entry_bytes(header.key_bytes, header.value_bytes, header.flags);
  const bool cut = size > bytes.size() && !mutated(Mutant::kEntryLengthIgnored);
  if (cut) return std::unexpected(EntryError::truncated);

  EntryView view;
  auto rest = bytes.first(size).subspan(sizeof(EntryHeader));
  OptionalFields optional;
  if (!load_optional(rest, header, kEntryHasExpiry, optional.expires_at) ||
      !load_optional(rest, header, kEntryHasUserFlags, optional.user_flags) ||
      !load_optional(rest, header, kEntryHasEncoding, optional.encoding)) {
    return std::unexpected(EntryError::malformed);
  }
  if (optional.encoding != 0) {
    const auto encoding = parse_encoding(optional.encoding);
    if (!encoding) return std::unexpected(EntryError::malformed);
    view.encoding = *encoding;
  }
  view.expires_at = optional.expires_at;
  view.user_flags = optional.user_flags;
  view.stale = (header.flags & kEntryIsStale) != 0;
  view.kind = static_cast<EntryKind>(header.kind);
  view.sequence = header.sequence;
  view.key = as_text(rest.first(header.key_bytes));
  view.key_hash = hash_key(view.key, place.id);
  view.value = rest.subspan(header.key_bytes);
  view.checksum = header.checksum;
  view.bytes = size;
  const std::uint64_t checksum =
      entry_checksum(header, optional, view.key_hash, hash_value(view.value), place);
  if (checksum != header.checksum && !mutated(Mutant::kEntryChecksumIgnored)) {
    return std::unexpected(EntryError::checksum);
  }
  return view;
}

std::uint64_t withdraw_entry(std::span<std::byte> bytes, const Place& place) {
  const auto entry = decode_entry(bytes, place);
  RAWCACHE_ASSERT(entry.has_value());
  auto header = load<EntryHeader>(bytes);
  header.kind = static_cast<std::uint8_t>(EntryKind::withdrawn);
  const OptionalFields optional{entry->expires_at, entry->user_flags,
                                encoding_word(entry->encoding)};
  header.checksum =
      entry_checksum(header, optional, entry->key_hash, hash_value(entry->value), place);
  save(bytes, header);
  return header.checksum;
}

}  // namespace rawcache
