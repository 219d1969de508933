// The memory tier in the whole cache: hits without a read, and never what was overwritten, removed,
// cleared, evicted or has expired (C6, C10).
#include <gtest/gtest.h>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class MemoryTest : public CacheTest {
 protected:
  void SetUp() override {
    cache.reset();
    format.segment_bytes = 64_KiB;
    format.block_bytes = 512;
    format.expected_entries = 16384;
    options.max_operations = 16;
    options.memory_bytes = 1_MiB;
    make_device(4_MiB);
    open();
  }
  std::uint64_t reads() const { return cache->stats().device_reads; }
  /// Stores, reads once from the device, so that it is held.
  void hold(const std::string& key, const std::string& value) {
    ASSERT_TRUE(cache->store(key, value));
    ASSERT_EQ(get(key), value);
  }
};

TEST_F(MemoryTest, ASecondLookupReadsNothing) {
  hold("key", "value");
  const std::uint64_t before = reads();
  EXPECT_EQ(get("key"), "value");
  EXPECT_EQ(get_all({"key", "key"}), (std::vector<std::string>{"value", "value"}));
  EXPECT_TRUE(cache->contains("key").value_or(false));
  EXPECT_EQ(reads(), before);
  const Stats stats = cache->stats();
  EXPECT_EQ(stats.memory_hits, 4u);
  EXPECT_EQ(stats.memory_entries, 1u);
  EXPECT_EQ(stats.lookups, stats.hits + stats.misses);
  EXPECT_LE(stats.memory_bytes, stats.memory_bytes_max);
}

TEST_F(MemoryTest, WithoutItEveryLookupReads) {
  options.memory_bytes = 0;
  reopen();
  hold("key", "value");
  const std::uint64_t before = reads();
  EXPECT_EQ(get("key"), "value");
  EXPECT_GT(reads(), before);
  EXPECT_EQ(cache->stats().memory_bytes_max, 0u);
}

TEST_F(MemoryTest, AnOverwriteIsSeenAtOnce) {
  hold("key", "old");
  ASSERT_TRUE(cache->store_buffered("key", "newer"));
  EXPECT_EQ(get("key"), "newer");
  ASSERT_TRUE(cache->store("key", "newest"));
  EXPECT_EQ(get("key"), "newest");
  const std::uint64_t before = reads();
  EXPECT_EQ(get("key"), "newest");
  EXPECT_EQ(reads(), before) << "what is held stays held with its new value";
}

TEST_F(MemoryTest, ARemoveIsSeenAtOnce) {
  hold("key", "value");
  ASSERT_TRUE(cache->remove_buffered("key"));
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(cache->stats().memory_entries, 0u);
  hold("key", "again");
  ASSERT_TRUE(cache->remove("key"));
  EXPECT_EQ(get_all({"key"}), std::vector<std::string>{"error not_found"});
}

TEST_F(MemoryTest, AFailedOverwriteGivesTheOldValueBack) {
  hold("key", "old");
  faults().fail(FaultyDisk::Op::write, 1, EIO);
  EXPECT_FALSE(cache->store("key", "new"));
  EXPECT_EQ(get("key"), "old");
  EXPECT_EQ(get("key"), "old");
}

TEST_F(MemoryTest, ClearIsSeenAtOnce) {
  hold("key", "value");
  ASSERT_TRUE(cache->clear());
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(cache->stats().memory_entries, 0u);
}

TEST_F(MemoryTest, WhatHasExpiredIsNotFound) {
  std::int64_t time = 4'000'000'000;  // later than any clock that has been written
  cache.reset();
  options.now = [&] { return time; };
  open();
  ASSERT_TRUE(cache->store("key", "value", {.ttl = std::chrono::seconds(10), .flags = 3}));
  ASSERT_EQ(get("key"), "value");
  time += 9;
  const auto value = cache->lookup("key");
  ASSERT_TRUE(value);
  EXPECT_EQ(value->flags(), 3u);
  EXPECT_EQ(value->expires_at(), 4'000'000'010u);
  time += 1;
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get_all({"key"}), std::vector<std::string>{"error not_found"});
  EXPECT_EQ(cache->stats().expired, 1u);
  cache.reset();
}

TEST_F(MemoryTest, WhatTheDeviceHasEvictedIsNotServedFromMemory) {
  options.eviction = EvictionPolicyKind::fifo;
  reopen();
  hold("key", "value");
  const std::uint64_t stores = 3 * cache->stats().capacity_bytes / 1000;
  for (std::uint64_t i = 0; i < stores; ++i) {
    ASSERT_TRUE(cache->store_buffered("other " + std::to_string(i), std::string(1000, 'x')));
  }
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(MemoryTest, HitsInMemoryKeepAnEntryOnTheDevice) {
  hold("key", std::string(1000, 'k'));
  const std::uint64_t stores = 5 * cache->stats().capacity_bytes / 1000;
  for (std::uint64_t i = 0; i < stores; ++i) {
    ASSERT_TRUE(cache->store_buffered("other " + std::to_string(i), std::string(1000, 'x')));
    if (i % 50 != 0) continue;
    ASSERT_EQ(get("key"), std::string(1000, 'k')) << i;
  }
  const Stats stats = cache->stats();
  EXPECT_GT(stats.copied, 0u);
  EXPECT_EQ(stats.memory_hits + 1, stats.lookups) << "a copy on the device was forgotten here";
}

TEST_F(MemoryTest, RefusesASizeThatMakesNoSense) {
  cache.reset();
  options.memory_bytes = 1000;
  EXPECT_EQ(outcome(try_open()), "invalid_options");
}

}  // namespace
}  // namespace rawcache::testing
