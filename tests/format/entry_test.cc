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

TEST(Entry, IsReadBackAsItWasWritten) {
  const std::string long_key(kKeyBytesMax, 'k');
  const std::string long_value(100000, 'v');
  for (const std::string& key : {std::string("k"), std::string("a\0b", 3), long_key}) {
    for (const std::string& value : {std::string(), std::string("value"), long_value}) {
      for (const std::uint32_t expires_at : {0u, 1u, 0xFFFFFFFFu}) {
        EntryFields entry = fields(key, value, kPlace);
        entry.sequence = 0x1122334455667788;
        entry.expires_at = expires_at;
        Bytes bytes(entry_bytes(key.size(), value.size(), expires_at != 0));
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
  for (const std::uint32_t expires_at : {0u, 1700000000u}) {
    EntryFields entry = fields("key", "some value", kPlace);
    entry.sequence = 3;
    entry.expires_at = expires_at;
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
      [](EntryHeader& h) { h.flags = 2; },
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

TEST(Entry, AnExpiryOfZeroIsMalformed) {
  EntryFields entry = fields("key", "value", kPlace);
  entry.expires_at = 1;
  Bytes bytes = encoded(entry, kPlace);
  bytes[sizeof(EntryHeader)] = std::byte{0};
  EXPECT_EQ(error_of(bytes), EntryError::malformed);
}

TEST(Entry, WithdrawingKeepsLengthAndBytesAndChangesTheChecksum) {
  EntryFields entry = fields("key", "value", kPlace);
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
