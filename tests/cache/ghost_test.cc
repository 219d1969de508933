// Ghost: what was dropped is remembered for a while, in bounded memory.
#include "cache/ghost.h"

#include <gtest/gtest.h>

#include "base/checksum.h"

namespace rawcache {
namespace {

std::uint64_t key(std::uint64_t i) { return hash64(std::as_bytes(std::span(&i, 1))); }

TEST(Ghost, RemembersAKeyOnce) {
  Ghost ghost(1000, 1 << 20);
  ghost.remember(key(1), 100);
  EXPECT_EQ(ghost.entries(), 1u);
  EXPECT_FALSE(ghost.take(key(2)));
  EXPECT_TRUE(ghost.take(key(1)));
  EXPECT_FALSE(ghost.take(key(1)));
  EXPECT_EQ(ghost.entries(), 0u);
}

TEST(Ghost, ForgetsWhatIsOlderThanItsWindow) {
  Ghost ghost(10'000, 100'000);
  for (std::uint64_t i = 0; i < 3000; ++i) ghost.remember(key(i), 100);
  int recent = 0;
  int old = 0;
  for (std::uint64_t i = 0; i < 1900; ++i) old += ghost.take(key(i));
  for (std::uint64_t i = 2100; i < 3000; ++i) recent += ghost.take(key(i));
  EXPECT_LE(old, 5) << "only what is taken for another key";
  EXPECT_GE(recent, 890);
}

TEST(Ghost, NeverTakesMoreMemoryThanFourBytesPerEntry) {
  Ghost ghost(1000, std::uint64_t{1} << 40);
  for (std::uint64_t i = 0; i < 100'000; ++i) ghost.remember(key(i), 1);
  EXPECT_LE(ghost.memory_bytes(), 4u * 1008);
  EXPECT_LE(ghost.entries(), 1000u);
}

}  // namespace
}  // namespace rawcache
