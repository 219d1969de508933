// The entry: header + key + value as on disk. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "format/identity.h"

namespace rawcache {

enum class EntryKind : std::uint8_t {
  value = 1,
  remove = 2,  ///< the key was removed; no value
  /// A direct store or remove that failed while its batch had to be kept; to be skipped.
  withdrawn = 3,
};

struct EntryHeader {
  std::uint64_t checksum;
  std::uint64_t sequence;
  std::uint32_t value_bytes;
  std::uint16_t key_bytes;
  std::uint8_t kind;
  std::uint8_t flags;  ///< which optional fields follow; unknown bits must be zero
};
static_assert(sizeof(EntryHeader) == 24 && std::has_unique_object_representations_v<EntryHeader>);

// Bits of EntryHeader::flags. Each announces a field of 32 bits, not zero, behind the header; the
// fields that are there follow each other in the order of their bits.
inline constexpr std::uint8_t kEntryHasExpiry = 1;
inline constexpr std::uint8_t kEntryHasUserFlags = 2;
inline constexpr std::uint8_t kEntryHasEncoding = 4;
inline constexpr std::uint8_t kEntryHasAll =
    kEntryHasExpiry | kEntryHasUserFlags | kEntryHasEncoding;
inline constexpr std::size_t kEntryFieldBytes = 4;  ///< of each optional field
/// This bit announces no field: the user has called the value stale.
inline constexpr std::uint8_t kEntryIsStale = 8;
/// No entry has a larger value: segments are not larger.
inline constexpr std::uint32_t kEntryValueBytesMax = std::uint32_t{64} << 20;

enum class Codec : std::uint8_t { none = 0, lz4 = 1, zstd = 2, zstd_dictionary = 3 };

/// How the bytes of a value were made from what the user stored.
struct Encoding {
  Codec codec = Codec::none;
  std::uint8_t dictionary = 0;  ///< slot, 0 to kDictionarySlots - 1; 0 without a dictionary
  std::uint32_t raw_bytes = 0;  ///< size of what was stored; at most kEntryValueBytesMax

  friend bool operator==(const Encoding&, const Encoding&) = default;
};
inline constexpr std::uint8_t kDictionarySlots = 8;

/// Size of what the user stored, of which `value` was made.
inline std::size_t raw_bytes(const Encoding& encoding, std::span<const std::byte> value) {
  return encoding.codec == Codec::none ? value.size() : encoding.raw_bytes;
}

/// The encoding as the entry's word; 0 if there is no codec.
std::uint32_t encoding_word(const Encoding& encoding);
/// Nothing if no encoder wrote the word: unknown bits, no codec, an impossible size.
std::optional<Encoding> parse_encoding(std::uint32_t word);

/// An entry to be encoded.
struct EntryFields {
  EntryKind kind = EntryKind::value;
  std::uint64_t sequence = 0;
  std::uint32_t expires_at = 0;  ///< Unix time, seconds; 0: never
  std::uint32_t user_flags = 0;  ///< the user's; mean nothing here
  bool stale = false;            ///< likewise
  Encoding encoding;             ///< of `value`
  std::string_view key;
  std::uint64_t key_hash = 0;  ///< hash_key(key)
  std::span<const std::byte> value;
  std::uint64_t value_hash = 0;  ///< hash_value(value)
};

/// An entry found on disk and verified. Views into the bytes it was decoded from.
struct EntryView {
  EntryKind kind = EntryKind::value;
  std::uint64_t sequence = 0;
  std::uint32_t expires_at = 0;
  std::uint32_t user_flags = 0;
  bool stale = false;
  Encoding encoding;
  std::string_view key;
  std::uint64_t key_hash = 0;
  std::span<const std::byte> value;
  std::uint64_t checksum = 0;
  std::size_t bytes = 0;  ///< exact size, not rounded to the entry alignment
};

enum class EntryError : std::uint8_t {
  truncated,  ///< the bytes given end before the entry does (EntryView::bytes cannot be known)
  malformed,  ///< impossible lengths, kind or flags
  checksum,   ///< well-formed, but not what was written here
};

/// Hash of a key in this cache; also what the index is addressed by.
std::uint64_t hash_key(std::string_view key, const CacheId& id);
/// Hash of a value; the one pass over its bytes. Does not depend on the place, so it can be
/// computed before the place is known.
std::uint64_t hash_value(std::span<const std::byte> value);

/// Exact size of an entry with the optional fields of `flags` (EntryHeader::flags).
inline std::size_t entry_bytes(std::size_t key_bytes, std::size_t value_bytes, std::uint8_t flags) {
  const std::size_t fields = std::size_t{(flags & kEntryHasExpiry) != 0} +
                             std::size_t{(flags & kEntryHasUserFlags) != 0} +
                             std::size_t{(flags & kEntryHasEncoding) != 0};
  return sizeof(EntryHeader) + fields * kEntryFieldBytes + key_bytes + value_bytes;
}
/// EntryHeader::flags of an entry.
inline std::uint8_t flags_of(const EntryFields& entry) {
  return static_cast<std::uint8_t>((entry.expires_at != 0 ? kEntryHasExpiry : 0) |
                                   (entry.user_flags != 0 ? kEntryHasUserFlags : 0) |
                                   (entry.encoding.codec != Codec::none ? kEntryHasEncoding : 0) |
                                   (entry.stale ? kEntryIsStale : 0));
}
inline std::size_t entry_bytes(const EntryFields& entry) {
  return entry_bytes(entry.key.size(), entry.value.size(), flags_of(entry));
}

/// What encodes to the same entry elsewhere. Views into what `view` views.
EntryFields fields_of(const EntryView& view);

/// Writes the entry to the start of `out` (out.size() >= entry_bytes) and returns its checksum.
std::uint64_t encode_entry(std::span<std::byte> out, const EntryFields& entry, const Place& place);

/// Reads and verifies the entry at the start of `bytes`. Trusts nothing.
std::expected<EntryView, EntryError> decode_entry(std::span<const std::byte> bytes,
                                                  const Place& place);

/// Turns an encoded entry into a withdrawn one, in place; returns the new checksum. Lengths,
/// optional fields and bytes stay, so that a walk stays in step. The entry must be one that
/// encode_entry wrote for this place.
std::uint64_t withdraw_entry(std::span<std::byte> bytes, const Place& place);

}  // namespace rawcache
