// The five tests that the specification names: buffered writes, batch reads, automatic flushes,
// mixed writes and the statistics of the buffer, through the public API. Values are compared byte
// for byte, and what must survive is looked up again after reopening.
#include <algorithm>
#include <random>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

/// The cache of the specification: default limits, 4 KiB blocks.
class BatchIO : public CacheTest {
 protected:
  BatchIO() {
    options.max_operations = Options().max_operations;
    options.max_buffer_bytes = Options().max_buffer_bytes;
    make_device(32_MiB);
    open();
  }

  static std::string key(int i) { return "key-" + std::to_string(i); }
  static std::string value(int i, std::size_t size = 4096) { return value_of(key(i), 1, size); }
  void buffer(int first, int count, std::size_t size = 4096) {
    for (int i = first; i < first + count; ++i) {
      ASSERT_EQ(outcome(cache->store_buffered(key(i), value(i, size))), "ok") << i;
    }
  }
  void expect_all(int count, std::size_t size = 4096) {
    for (int i = 0; i < count; ++i) ASSERT_EQ(get(key(i)), value(i, size)) << i;
  }
};

TEST_F(BatchIO, BufferedWrite) {
  const std::uint64_t writes_before = cache->stats().device_writes;
  const std::uint64_t syncs_before = cache->stats().device_syncs;
  buffer(0, 10);
  EXPECT_EQ(cache->stats().pending_writes, 10u);
  EXPECT_EQ(cache->stats().device_writes, writes_before) << "buffered means not written";
  expect_all(10);

  const auto flushed = cache->flush_writes();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 10u);
  const Stats after = cache->stats();
  EXPECT_EQ(after.pending_writes, 0u);
  EXPECT_EQ(after.in_flight_writes, 0u);
  EXPECT_EQ(after.device_writes, writes_before + 1) << "ten operations are one write";
  EXPECT_EQ(after.device_syncs, syncs_before + 1);
  expect_all(10);
  EXPECT_EQ(cache->flush_writes().value_or(99), 0u) << "nothing is left to flush";
  EXPECT_EQ(cache->stats().device_syncs, syncs_before + 1);

  crash(CrashPolicy::lose_all);
  expect_all(10);
  EXPECT_EQ(cache->stats().entries, 10u);
}

TEST_F(BatchIO, BatchRead) {
  constexpr int kEntries = 200;
  buffer(0, kEntries);
  ASSERT_TRUE(cache->flush_writes());
  reopen();

  // Backwards and shuffled, with keys that are not there and one that is asked for three times.
  std::vector<std::string> keys;
  for (int i = kEntries - 1; i >= 0; --i) keys.push_back(key(i));
  std::mt19937 random(7);
  std::shuffle(keys.begin() + 50, keys.end(), random);
  keys.insert(keys.begin() + 20, {"nobody", key(3), key(3), "nothing"});
  const auto results = cache->lookup_batch(std::span<const std::string>(keys));
  ASSERT_EQ(results.size(), keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool stored = keys[i].starts_with("key-");
    EXPECT_EQ(text(results[i]), stored ? value_of(keys[i], 1, 4096) : "error not_found") << i;
  }
  const Stats stats = cache->stats();
  EXPECT_EQ(stats.batches, 1u);
  EXPECT_EQ(stats.lookups, keys.size());
  EXPECT_EQ(stats.hits, keys.size() - 2);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.lookup_batch_latency.count, 1u);
}

TEST_F(BatchIO, AutoFlushOnBufferFull) {
  // So large that no checkpoint and no end of a segment causes a flush of its own.
  cache.reset();
  format.segment_bytes = 16_MiB;
  make_memory_device(1_GiB);
  open();

  // At 32 operations.
  const std::uint64_t writes_before = cache->stats().device_writes;
  buffer(0, 31);
  EXPECT_EQ(cache->stats().pending_writes, 31u);
  EXPECT_EQ(cache->stats().device_writes, writes_before);
  buffer(31, 1);
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  EXPECT_EQ(cache->stats().device_writes, writes_before + 1);
  buffer(32, 1);
  EXPECT_EQ(cache->stats().pending_writes, 1u);
  EXPECT_EQ(cache->flush_writes().value_or(0), 33u);
  expect_all(33);

  // At 4 MiB, in 21 operations of 200,000 bytes.
  constexpr std::size_t kLarge = 200'000;
  constexpr int kUntilFull = 21;
  static_assert((kUntilFull - 1) * (kLarge + 1000) < 4_MiB && kUntilFull * kLarge >= 4_MiB);
  for (int i = 0; i < kUntilFull; ++i) {
    EXPECT_EQ(cache->stats().pending_writes, static_cast<std::uint64_t>(i));
    buffer(i, 1, kLarge);
  }
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  EXPECT_EQ(cache->flush_writes().value_or(0), static_cast<std::uint64_t>(kUntilFull));
  expect_all(kUntilFull, kLarge);
  reopen();
  expect_all(kUntilFull, kLarge);
}

TEST_F(BatchIO, MixedBufferedAndDirectWrites) {
  ASSERT_TRUE(cache->store_buffered("a", "buffered 1"));
  ASSERT_TRUE(cache->store_buffered("b", "buffered 1"));
  EXPECT_EQ(cache->stats().pending_writes, 2u);
  ASSERT_TRUE(cache->store("a", "direct 2"));
  EXPECT_EQ(cache->stats().pending_writes, 0u) << "a direct store takes what was buffered along";
  EXPECT_EQ(get("a"), "direct 2");
  EXPECT_EQ(get("b"), "buffered 1");

  ASSERT_TRUE(cache->store("b", "direct 2"));
  ASSERT_TRUE(cache->store_buffered("b", "buffered 3"));
  EXPECT_EQ(get("b"), "buffered 3");
  ASSERT_TRUE(cache->store("c", "direct 1"));
  ASSERT_TRUE(cache->store_buffered("d", "buffered 1"));
  ASSERT_TRUE(cache->remove("d"));
  ASSERT_TRUE(cache->remove_buffered("c"));
  ASSERT_TRUE(cache->store_buffered("e", "lost by the power cut"));
  const std::vector<std::string> keys{"e", "d", "c", "b", "a"};
  EXPECT_EQ(get_all(keys), (std::vector<std::string>{"lost by the power cut", "error not_found",
                                                     "error not_found", "buffered 3", "direct 2"}));

  crash(CrashPolicy::lose_all);
  // remove_buffered of c and the store of e were never flushed.
  EXPECT_EQ(get_all(keys), (std::vector<std::string>{"error not_found", "error not_found",
                                                     "direct 1", "buffered 3", "direct 2"}));
}

TEST_F(BatchIO, BufferStats) {
  Stats stats = cache->stats();
  EXPECT_EQ(stats.pending_writes, 0u);
  EXPECT_EQ(stats.buffered_bytes, 0u);
  EXPECT_EQ(stats.buffer_bytes_max, 4_MiB);
  EXPECT_EQ(stats.flushes, 0u);
  EXPECT_EQ(stats.average_batch_operations, 0.0);

  buffer(0, 16);
  stats = cache->stats();
  EXPECT_EQ(stats.pending_writes, 16u);
  EXPECT_GE(stats.buffered_bytes, 16u * 4096);
  EXPECT_LE(stats.buffered_bytes, 16u * 4096 + 4096);
  EXPECT_DOUBLE_EQ(stats.buffer_utilisation, double(stats.buffered_bytes) / double(4_MiB));
  EXPECT_EQ(stats.buffered_stores, 16u);
  EXPECT_EQ(stats.stores, 0u);

  ASSERT_TRUE(cache->flush_writes());
  buffer(16, 8);
  ASSERT_TRUE(cache->flush_writes());
  stats = cache->stats();
  EXPECT_EQ(stats.flushes, 2u);
  EXPECT_EQ(stats.flushed_writes, 24u);
  EXPECT_DOUBLE_EQ(stats.average_batch_operations, 12.0);
  EXPECT_GT(stats.flushes_per_second, 0.0);
  EXPECT_EQ(stats.buffered_bytes, 0u);
  EXPECT_EQ(stats.buffer_utilisation, 0.0);
  EXPECT_EQ(stats.flush_latency.count, 2u);

  ASSERT_TRUE(cache->store(key(24), value(24)));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get(key(i)), value(i));
  (void)get_all({key(1), key(2)});
  stats = cache->stats();
  EXPECT_EQ(stats.stores, 1u);
  EXPECT_EQ(stats.flushes, 3u);
  EXPECT_EQ(stats.store_latency.count, 1u);
  EXPECT_EQ(stats.lookup_latency.count, 5u);
  EXPECT_EQ(stats.lookup_batch_latency.count, 1u);
  EXPECT_GE(stats.lookup_latency.p999_ns, stats.lookup_latency.p50_ns);
  EXPECT_GE(stats.store_buffered_latency.count, 1u) << "one in sixteen of 24 is measured";
  EXPECT_EQ(stats.hits, 7u);
  EXPECT_EQ(stats.user_bytes_read, 7u * 4096);
  std::uint64_t user_bytes = 0;
  for (int i = 0; i < 25; ++i) user_bytes += key(i).size() + 4096;
  EXPECT_EQ(stats.user_bytes_stored, user_bytes);
  EXPECT_GE(stats.device_written_bytes, user_bytes);
  EXPECT_EQ(stats.engine, "simulated");
}

}  // namespace
}  // namespace rawcache::testing
