// Dictionaries on the disk: read back as written, in their place only, and never in part.
#include "format/dictionary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/checksum.h"
#include "format/format_support.h"
#include "format/superblock.h"
#include "format/value_codec.h"

namespace rawcache {
namespace {

using testing::as_bytes;
using testing::Bytes;
using testing::kPlace;

Bytes encoded(std::string_view dictionary, std::size_t size = 512) {
  Bytes bytes(size, std::byte{0xEE});
  encode_dictionary(bytes, 7, as_bytes(dictionary), kPlace);
  return bytes;
}

TEST(DictionarySlot, IsReadBackInItsPlaceAndNowhereElse) {
  const Bytes bytes = encoded("what they have in common");
  const auto view = decode_dictionary(bytes, kPlace);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->version, 7u);
  EXPECT_EQ(testing::as_text(view->bytes), "what they have in common");
  for (const Place& other : testing::wrong_places()) {
    EXPECT_FALSE(decode_dictionary(bytes, other));
  }
}

TEST(DictionarySlot, NoFlippedBitAndNoTruncationGoesUnnoticed) {
  const Bytes bytes = encoded("what they have in common");
  const std::size_t used = sizeof(DictionaryHeader) + 24;
  for (std::size_t bit = 0; bit < used * 8; ++bit) {
    Bytes damaged = bytes;
    testing::flip(damaged, bit);
    EXPECT_FALSE(decode_dictionary(damaged, kPlace)) << bit;
  }
  for (std::size_t size = 0; size < used; ++size) {
    EXPECT_FALSE(decode_dictionary(std::span(bytes).first(size), kPlace)) << size;
  }
  EXPECT_FALSE(decode_dictionary(Bytes(512), kPlace));
}

TEST(DictionarySlot, SlotsLieBehindTheSuperblocksAndDoNotOverlap) {
  for (std::uint32_t block = kBlockBytesMin; block <= kBlockBytesMax; block *= 2) {
    const DictionaryArea area = dictionary_area(block);
    EXPECT_EQ(area.slot_bytes % block, 0u);
    for (int copy = 0; copy < 2; ++copy) {
      std::uint64_t end = kSuperblockOffsets[copy] + block;
      for (std::uint32_t slot = 0; slot < area.slots; ++slot) {
        EXPECT_EQ(dictionary_offset(block, slot, copy), end);
        end += area.slot_bytes;
      }
      EXPECT_LE(end, kSuperblockOffsets[copy] + 65536);
    }
  }
  EXPECT_EQ(dictionary_area(4096).slots, 5u);
  EXPECT_EQ(dictionary_area(65536).slots, 0u);
}

TEST(DictionaryInUse, IsNamedByWhatWasCompressedWithItAndHelps) {
  if (!has_codec(Codec::zstd_dictionary)) GTEST_SKIP() << "this build does not have zstd";
  const auto value = [](std::uint64_t i) {
    return "{\"user\": " + std::to_string(i * 7919 % 100000) +
           ", \"language\": \"en\", \"theme\": \"dark\", \"visits\": " + std::to_string(i % 977) +
           "}";
  };
  std::string samples;
  std::vector<std::size_t> sizes;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    sizes.push_back(value(i).size());
    samples += value(i);
  }
  const auto bytes = make_dictionary(as_bytes(samples), sizes, 4096);
  ASSERT_FALSE(bytes.empty());
  EXPECT_LE(bytes.size(), 4096u);
  EXPECT_EQ(make_dictionary(as_bytes(samples), sizes, 4096), bytes);  // the same from the same
  const auto dictionary = Dictionary::create(bytes, 1);
  ASSERT_TRUE(dictionary);
  EXPECT_EQ(dictionary->id(), 32768 + hash64(std::span(bytes).subspan(8)) % 0x7FFF8000u);
  ValueCodec codec;
  const std::string text = value(5000);
  Bytes packed(text.size());
  const auto size =
      codec.compress(Codec::zstd_dictionary, 1, as_bytes(text), packed, dictionary.get());
  ASSERT_TRUE(size);
  EXPECT_LT(*size, text.size() / 2);
  packed.resize(*size);
  EXPECT_EQ(dictionary_of(packed), dictionary->id());
  Bytes out(text.size());
  ASSERT_TRUE(codec.decompress(Codec::zstd_dictionary, packed, out, dictionary.get()));
  EXPECT_EQ(testing::as_text(out), text);
  // Without it there is nothing to be had.
  EXPECT_FALSE(codec.decompress(Codec::zstd, packed, out));
}

TEST(DictionaryInUse, OfNoUseIsRefused) {
  EXPECT_EQ(Dictionary::create(as_bytes("not in the format of zstd"), 1), nullptr);
  const std::size_t one = 5;
  EXPECT_TRUE(make_dictionary(as_bytes("alone"), std::span(&one, 1), 4096).empty());
}

}  // namespace
}  // namespace rawcache
