// Guards the hash function itself: everything on disk depends on these values staying what they
// are.
#include "base/checksum.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace rawcache {
namespace {

std::uint64_t hash_text(std::string_view text, std::uint64_t seed = 0) {
  return hash64(std::as_bytes(std::span(text)), seed);
}

// XXH3_64bits as its specification publishes it; another value means that no existing cache opens.
TEST(Checksum, IsXxh3) {
  EXPECT_EQ(hash_text(""), 0x2D06800538D394C2u);
  EXPECT_EQ(hash_text("a"), 0xE6C632B61E964E1Fu);
  EXPECT_EQ(hash_text("abc"), 0x78AF5F94892F3950u);
}

TEST(Checksum, DependsOnSeedAndLengthAtEverySize) {
  const std::string zeroes(3000, '\0');
  std::set<std::uint64_t> seen;
  std::size_t count = 0;
  for (std::size_t size = 0; size < zeroes.size(); size += size < 300 ? 1 : 97) {
    for (const std::uint64_t seed : {0u, 1u, 0x80000000u}) {
      seen.insert(hash_text(std::string_view(zeroes).substr(0, size), seed));
      ++count;
    }
  }
  EXPECT_EQ(seen.size(), count);
}

}  // namespace
}  // namespace rawcache
