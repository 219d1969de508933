// Codecs alone: what comes back is what went in, and nothing that a disk may hold makes them write
// beside what they were given or take something wrong for right sizes.
#include "format/value_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "format/format_support.h"

namespace rawcache {
namespace {

using testing::as_bytes;
using testing::Bytes;
using testing::random_bytes;

std::string text_of(std::size_t size) {
  const std::string words[] = {"cache ", "value ", "stored ", "device ", "the ", "segment ", "of "};
  std::string text;
  for (std::uint64_t i = 1; text.size() < size; i = i * 25214903917u + 11) {
    text += words[(i >> 40) % std::size(words)];
  }
  text.resize(size);
  return text;
}

class ValueCodecTest : public ::testing::TestWithParam<Codec> {
 protected:
  void SetUp() override {
    if (!has_codec(GetParam())) GTEST_SKIP() << "this build does not have the codec";
  }
  Bytes compressed(std::span<const std::byte> value, int level = 0) {
    Bytes packed(value.size());
    const auto size = codec.compress(GetParam(), level, value, packed);
    packed.resize(size.value_or(0));
    return packed;
  }
  ValueCodec codec;
};

TEST_P(ValueCodecTest, ReturnsWhatItWasGivenAtEveryLevel) {
  for (int level = -8; level <= 20; ++level) {
    if (!is_level_of(GetParam(), level)) continue;
    for (const std::size_t size : {std::size_t{200}, std::size_t{4096}, std::size_t{100000}}) {
      const std::string text = text_of(size);
      const Bytes packed = compressed(as_bytes(text), level);
      ASSERT_FALSE(packed.empty()) << level << ' ' << size;
      EXPECT_LT(packed.size(), size);
      Bytes out(size);
      ASSERT_TRUE(codec.decompress(GetParam(), packed, out));
      EXPECT_TRUE(std::ranges::equal(out, as_bytes(text)));
    }
  }
  EXPECT_FALSE(is_level_of(GetParam(), 1000));
  EXPECT_FALSE(is_level_of(GetParam(), -1000));
  EXPECT_FALSE(is_level_of(Codec::none, 1));
}

TEST_P(ValueCodecTest, SaysWhenTheRoomIsTooSmall) {
  const std::string text = text_of(4096);
  const std::size_t size = compressed(as_bytes(text)).size();
  Bytes out(size / 2);
  EXPECT_EQ(codec.compress(GetParam(), 0, as_bytes(text), out), std::nullopt);
  const Bytes noise = random_bytes(4096, 1);
  EXPECT_TRUE(compressed(noise).empty());
}

TEST_P(ValueCodecTest, TakesNoOtherSizeThanTheRightOne) {
  const std::string text = text_of(1000);
  const Bytes packed = compressed(as_bytes(text));
  for (const std::size_t size : {0, 1, 999, 1001, 100000}) {
    // What is allocated is exactly what may be written: the sanitizer sees every byte beyond.
    Bytes out(size);
    EXPECT_FALSE(codec.decompress(GetParam(), packed, out)) << size;
  }
}

TEST_P(ValueCodecTest, SurvivesEveryFlippedBitAndEveryTruncation) {
  const std::string text = text_of(600);
  const Bytes packed = compressed(as_bytes(text));
  for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
    Bytes damaged = packed;
    testing::flip(damaged, bit);
    Bytes out(text.size());
    (void)codec.decompress(GetParam(), damaged, out);  // may be right in size; checksums find that
  }
  for (std::size_t size = 0; size < packed.size(); ++size) {
    const Bytes cut(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
    Bytes out(text.size());
    EXPECT_FALSE(codec.decompress(GetParam(), cut, out)) << size;
  }
}

TEST_P(ValueCodecTest, SurvivesNoise) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Bytes out(300);
    (void)codec.decompress(GetParam(), random_bytes(seed % 200, seed), out);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ValueCodecTest, ::testing::Values(Codec::lz4, Codec::zstd),
                         [](const auto& codec) {
                           return std::string(codec.param == Codec::lz4 ? "lz4" : "zstd");
                         });

TEST(LooksRandom, TellsNoiseFromWhatCanBeCompressed) {
  int random = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    random += looks_random(random_bytes(4096, seed));
  }
  EXPECT_GE(random, 990);
  EXPECT_FALSE(looks_random(as_bytes(text_of(4096))));
  EXPECT_FALSE(looks_random(Bytes(4096)));
  EXPECT_FALSE(looks_random(random_bytes(100, 1)));  // too few to tell
  // Six of eight bits in use, as in base64: worth it.
  int base64 = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Bytes bytes = random_bytes(4096, seed);
    for (std::byte& b : bytes) b &= std::byte{0x3F};
    base64 += looks_random(bytes);
  }
  EXPECT_EQ(base64, 0);
}

}  // namespace
}  // namespace rawcache
