// Guards that an entry is read back as it was written and that nothing else is ever taken for one:
// every bit of it is flipped, it is cut at every length, moved to other places and given hostile
// lengths.
#include "format/entry.h"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "format/format_support.h"
#include "rawcache/options.h"

namespace rawcache {
namespace {

using testing::as_text;
using testing::Bytes;
using testing::encoded;
using testing::fields;
using testing::kPlace;

std::optional<EntryError> error_of(std::span<const std::byte> bytes, const Place& place = kPlace) {
  const auto entry = decode_entry(bytes, place);
  return entry ? std::nullopt : std::optional(entry.error());
}

/// Overwrites the header's fields, leaving the rest.
Bytes with_header(Bytes bytes, void (*change)(EntryHeader&)) {
  EntryHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  change(header);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

/// The optional fields that `present` (EntryHeader::flags) asks for.
EntryFields with_optional(EntryFields entry, std::uint8_t present) {
  if ((present & kEntryHasExpiry) != 0) entry.expires_at = 1700000000;
  if ((present & kEntryHasUserFlags) != 0) entry.user_flags = 0xDEADBEEF;
  entry.stale = (present & kEntryIsStale) != 0;
  if ((present & kEntryHasEncoding) != 0) {
    entry.encoding = {.codec = Codec::zstd_dictionary, .dictionary = 6, .raw_bytes = 12345};
  }
  return entry;
}

TEST(Entry, OptionalFieldsAreReadBackInEveryCombination) {
  for (std::uint8_t present = 0; present <= (kEntryHasAll | kEntryIsStale); ++present) {
    const EntryFields entry = with_optional(fields("key", "value", kPlace), present);
    const Bytes bytes = encoded(entry, kPlace);
    EXPECT_EQ(bytes.size(), entry_bytes(3, 5, present));
    const auto view = decode_entry(bytes, kPlace);
    ASSERT_TRUE(view.has_value());
    EXPECT_EQ(view->expires_at, entry.expires_at);
    EXPECT_EQ(view->user_flags, entry.user_flags);
    EXPECT_EQ(view->encoding, entry.encoding);
    EXPECT_EQ(as_text(view->value), "value");
    EXPECT_EQ(encoded(fields_of(*view), kPlace), bytes);  // a copy elsewhere loses nothing
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(error_of(std::span(bytes).first(size)), EntryError::truncated) << size;
    }
  }
}

TEST(Entry, AnEncodingSurvivesItsWordAndNothingElseIsTakenForOne) {
  for (const Encoding& encoding :
       {Encoding{Codec::lz4, 0, 0}, Encoding{Codec::zstd, 0, kEntryValueBytesMax},
        Encoding{Codec::zstd_dictionary, 0, 1}, Encoding{Codec::zstd_dictionary, 7, 1}}) {
    EXPECT_EQ(parse_encoding(encoding_word(encoding)), encoding);
  }
  EXPECT_EQ(encoding_word({}), 0u);
  const auto word = [](std::uint32_t codec, std::uint32_t dictionary, std::uint32_t raw) {
    return codec << 30 | dictionary << 27 | raw;
  };
  EXPECT_EQ(parse_encoding(0), std::nullopt);
  EXPECT_EQ(parse_encoding(word(0, 0, 5)), std::nullopt);
  EXPECT_EQ(parse_encoding(word(1, 1, 5)), std::nullopt);  // a dictionary without a codec for it
  EXPECT_EQ(parse_encoding(word(2, 7, 5)), std::nullopt);
  EXPECT_EQ(parse_encoding(word(2, 0, kEntryValueBytesMax + 1)), std::nullopt);
  EXPECT_EQ(parse_encoding(0xFFFFFFFF), std::nullopt);
}

TEST(Entry, OptionalFieldsThatNobodyWritesAreMalformed) {
  for (const std::uint8_t flag : {kEntryHasExpiry, kEntryHasUserFlags, kEntryHasEncoding}) {
    Bytes bytes = encoded(with_optional(fields("key", "value", kPlace), flag), kPlace);
    std::ranges::fill(std::span(bytes).subspan(sizeof(EntryHeader), kEntryFieldBytes),
                      std::byte{0});
    EXPECT_EQ(error_of(bytes), EntryError::malformed) << int{flag};
  }
  Bytes bytes = encoded(with_optional(fields("key", "value", kPlace), kEntryHasEncoding), kPlace);
  std::ranges::fill(std::span(bytes).subspan(sizeof(EntryHeader), kEntryFieldBytes),
                    std::byte{0xFF});
  EXPECT_EQ(error_of(bytes), EntryError::malformed);
}

TEST(Entry, IsReadBackAsItWasWritten) {
  const std::string long_key(kKeyBytesMax, 'k');
  const std::string long_value(100000, 'v');
  for (const std::string& key : {std::string("k"), std::string("a\0b", 3), long_key}) {
    for (const std::string& value : {std::string(), std::string("value"), long_value}) {
      for (const std::uint32_t expires_at : {0u, 1u, 0xFFFFFFFFu}) {
        EntryFields entry = fields(key, value, kPlace);
        entry.sequence = 0x1122334455667788;
        entry.expires_at = expires_at;
        Bytes bytes(entry_bytes(entry));
        EXPECT_EQ(bytes.size(), 24 + (expires_at != 0 ? 4 : 0) + key.size() + value.size());
        const std::uint64_t checksum = encode_entry(bytes, entry, kPlace);
        const std::size_t size = bytes.size();
        bytes.resize(size + 100, std::byte{0xEE});  // what follows does not matter

        const auto view = decode_entry(bytes, kPlace);
        ASSERT_TRUE(view.has_value());
        EXPECT_EQ(view->kind, EntryKind::value);
        EXPECT_EQ(view->sequence, entry.sequence);
        EXPECT_EQ(view->expires_at, expires_at);
        EXPECT_EQ(view->key, key);
        EXPECT_EQ(view->key_hash, hash_key(key, kPlace.id));
        EXPECT_EQ(as_text(view->value), value);
        EXPECT_EQ(view->checksum, checksum);
        EXPECT_EQ(view->bytes, size);
      }
    }
  }
}

TEST(Entry, ARemoveCarriesAKeyAndNoValue) {
  EntryFields entry = fields("gone", "", kPlace);
  entry.kind = EntryKind::remove;
  entry.sequence = 9;
  Bytes bytes = encoded(entry, kPlace);
  const auto view = decode_entry(bytes, kPlace);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->kind, EntryKind::remove);
  EXPECT_EQ(view->key, "gone");
  EXPECT_TRUE(view->value.empty());

  withdraw_entry(bytes, kPlace);
  EXPECT_EQ(decode_entry(bytes, kPlace)->kind, EntryKind::withdrawn);
}

TEST(Entry, EverySingleBitFlipIsDetected) {
  for (std::uint8_t present = 0; present <= (kEntryHasAll | kEntryIsStale); ++present) {
    EntryFields entry = with_optional(fields("key", "some value", kPlace), present);
    entry.sequence = 3;
    Bytes bytes = encoded(entry, kPlace);
    const std::size_t bits = bytes.size() * 8;
    bytes.resize(4096);  // so that longer lengths are not found out by the end of the bytes alone
    for (std::size_t bit = 0; bit < bits; ++bit) {
      testing::flip(bytes, bit);
      EXPECT_TRUE(error_of(bytes).has_value()) << "bit " << bit;
      testing::flip(bytes, bit);
    }
    EXPECT_FALSE(error_of(bytes).has_value());
  }
}

TEST(Entry, NeverVerifiesInAnotherPlace) {
  const Bytes bytes = encoded(fields("key", "value", kPlace), kPlace);
  for (const Place& place : testing::wrong_places()) {
    EXPECT_EQ(error_of(bytes, place), EntryError::checksum);
  }
}

TEST(Entry, IsTruncatedAtEveryShorterLength) {
  EntryFields entry = fields("key", "value", kPlace);
  entry.expires_at = 5;
  const Bytes bytes = encoded(entry, kPlace);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(error_of(std::span(bytes).first(size)), EntryError::truncated) << size;
  }
}

TEST(Entry, HostileHeadersAreMalformedAtOnce) {
  const Bytes good = encoded(fields("key", "value", kPlace), kPlace);
  using Change = void (*)(EntryHeader&);
  const Change changes[] = {
      [](EntryHeader& h) { h.key_bytes = 0; },
      [](EntryHeader& h) { h.key_bytes = kKeyBytesMax + 1; },
      [](EntryHeader& h) { h.key_bytes = 0xFFFF; },
      [](EntryHeader& h) { h.value_bytes = kEntryValueBytesMax + 1; },
      [](EntryHeader& h) { h.value_bytes = 0xFFFFFFFF; },
      [](EntryHeader& h) { h.kind = 0; },
      [](EntryHeader& h) { h.kind = 4; },
      [](EntryHeader& h) { h.kind = 0xFF; },
      [](EntryHeader& h) { h.flags = 16; },
      [](EntryHeader& h) { h.flags = 0x81; },
      [](EntryHeader& h) { h.kind = static_cast<std::uint8_t>(EntryKind::remove); },  // has a value
  };
  for (const Change change : changes) {
    EXPECT_EQ(error_of(with_header(good, change)), EntryError::malformed);
  }
  EXPECT_EQ(
      error_of(with_header(good, [](EntryHeader& h) { h.value_bytes = kEntryValueBytesMax; })),
      EntryError::truncated);
  EXPECT_EQ(error_of(Bytes(4096)), EntryError::malformed);
  EXPECT_EQ(error_of(Bytes(4096, std::byte{0xFF})), EntryError::malformed);
}

TEST(Entry, WithdrawingKeepsLengthAndBytesAndChangesTheChecksum) {
  EntryFields entry = with_optional(fields("key", "value", kPlace), kEntryHasAll);
  entry.sequence = 11;
  entry.expires_at = 99;
  const Bytes before = encoded(entry, kPlace);
  Bytes bytes = before;
  const std::uint64_t old_checksum = decode_entry(bytes, kPlace)->checksum;
  const std::uint64_t checksum = withdraw_entry(bytes, kPlace);
  EXPECT_NE(checksum, old_checksum);
  const auto view = decode_entry(bytes, kPlace);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->kind, EntryKind::withdrawn);
  EXPECT_EQ(view->checksum, checksum);
  EXPECT_EQ(view->bytes, before.size());
  EXPECT_EQ(view->sequence, 11u);
  EXPECT_EQ(view->expires_at, 99u);
  EXPECT_EQ(view->user_flags, entry.user_flags);
  EXPECT_EQ(view->encoding, entry.encoding);
  EXPECT_TRUE(std::ranges::equal(std::span(bytes).subspan(sizeof(EntryHeader)),
                                 std::span(before).subspan(sizeof(EntryHeader))));
  EXPECT_EQ(withdraw_entry(bytes, kPlace), checksum);  // twice changes nothing more
}

TEST(Entry, KeyHashesDifferFromCacheToCache) {
  EXPECT_NE(hash_key("key", CacheId{1, 2}), hash_key("key", CacheId{1, 3}));
  EXPECT_NE(hash_key("key", CacheId{1, 2}), hash_key("key", CacheId{2, 1}));
  EXPECT_NE(hash_key("key", CacheId{7, 7}), hash_key("key", CacheId{8, 8}));
}

}  // namespace
}  // namespace rawcache
