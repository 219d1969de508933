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

TEST(Ghost, WhatIsSavedIsRememberedForTheRestOfItsTime) {
  Ghost before(10'000, 100'000);
  for (std::uint64_t i = 0; i < 2000; ++i) before.remember(key(i), 100);
  Ghost after(10'000, 100'000);
  std::vector<RememberedKey> keys;
  for (std::size_t bucket = 0; bucket < before.buckets(); ++bucket) {
    keys.clear();
    before.copy_bucket(bucket, keys);
    ASSERT_TRUE(after.load_bucket(bucket, keys));
  }
  for (std::uint64_t i = 1100; i < 2000; ++i) EXPECT_TRUE(after.knows(key(i))) << i;
  for (std::uint64_t i = 2000; i < 2500; ++i) after.remember(key(i), 100);
  int old = 0;
  for (std::uint64_t i = 1000; i < 1450; ++i) old += after.knows(key(i));
  EXPECT_LE(old, 5) << "half of the window has passed since";
  for (std::uint64_t i = 1600; i < 2500; ++i) EXPECT_TRUE(after.take(key(i))) << i;
}

TEST(Ghost, WhatNoBucketRemembersIsNotLoaded) {
  Ghost ghost(100, 1 << 20);
  const RememberedKey fine{.tag = 1, .age = 1024};
  const RememberedKey empty{.tag = 0, .age = 0};
  const RememberedKey old{.tag = 1, .age = 1025};
  EXPECT_TRUE(ghost.load_bucket(ghost.buckets() - 1, std::span(&fine, 1)));
  EXPECT_FALSE(ghost.load_bucket(ghost.buckets(), std::span(&fine, 1)));
  EXPECT_FALSE(ghost.load_bucket(0, std::span(&empty, 1)));
  EXPECT_FALSE(ghost.load_bucket(0, std::span(&old, 1)));
  EXPECT_FALSE(ghost.load_bucket(0, std::vector(Ghost::kBucketSlots + 1, fine)));
  ghost.clear();
  EXPECT_EQ(ghost.entries(), 0u);
}

}  // namespace
}  // namespace rawcache
