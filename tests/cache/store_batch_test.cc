// store_batch and store_buffered_batch: as store and store_buffered one after the other, and what
// sets them apart: one sync for all, an error for each.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <vector>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;

class StoreBatch : public CacheTest {
 protected:
  StoreBatch() {
    options.max_operations = 100'000;
    format.segment_bytes = 4_MiB;
    make_device(64_MiB);
    open();
  }
  /// Adds an entry; the batch refers to what is kept here.
  void add(const std::string& key, const std::string& value) {
    kept_.push_back({key, value});
    batch_.clear();
    for (const auto& [k, v] : kept_) batch_.push_back({k, std::as_bytes(std::span(v))});
  }
  void add_many(std::uint64_t count, std::size_t value_bytes) {
    for (std::uint64_t i = 0; i < count; ++i) {
      kept_.push_back({name(i), value_of("v", i, value_bytes)});
    }
    add("one more", "");
  }
  static std::string name(std::uint64_t i) { return "key " + std::to_string(i); }
  std::span<const KeyValue> batch() const { return batch_; }
  void expect_all_there() {
    for (const auto& [key, value] : kept_) EXPECT_EQ(get(key), value) << key;
  }
  static std::vector<std::string> outcomes(const std::vector<Result<void>>& results) {
    std::vector<std::string> names;
    for (const auto& result : results) names.push_back(outcome(result));
    return names;
  }

 private:
  std::vector<std::pair<std::string, std::string>> kept_;
  std::vector<KeyValue> batch_;
};

TEST_F(StoreBatch, IsReadableAtOnceAndDurableWithTheNextFlush) {
  add_many(1000, 300);
  for (const auto& result : cache->store_buffered_batch(batch())) EXPECT_TRUE(result);
  expect_all_there();
  EXPECT_EQ(cache->stats().buffered_stores, batch().size());
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  expect_all_there();
}

TEST_F(StoreBatch, BufferedIsLostWithoutAFlush) {
  add("key", "value");
  EXPECT_TRUE(cache->store_buffered_batch(batch()).front());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(StoreBatch, DurableIsDurableOnReturnAtThePriceOfOneSync) {
  add_many(50, 300);
  const std::uint64_t syncs = cache->stats().device_syncs;
  for (const auto& result : cache->store_batch(batch())) EXPECT_TRUE(result);
  EXPECT_EQ(cache->stats().device_syncs, syncs + 1);
  EXPECT_EQ(cache->stats().stores, batch().size());
  crash(CrashPolicy::lose_all);
  expect_all_there();
}

TEST_F(StoreBatch, OfOneKeyTheLastOneWins) {
  for (const char* value : {"1", "2", "3"}) add("key", value);
  for (const auto& result : cache->store_batch(batch())) EXPECT_TRUE(result);
  EXPECT_EQ(get("key"), "3");
  reopen();
  EXPECT_EQ(get("key"), "3");
}

TEST_F(StoreBatch, AnEntryThatCannotBeStoredFailsAlone) {
  add("first", "1");
  add("", "2");
  add(std::string(kKeyBytesMax + 1, 'k'), "3");
  add("large", std::string(cache->value_bytes_max(5) + 1, 'v'));
  add("last", "5");
  const std::vector<std::string> expected{"ok", "key_empty", "key_too_long", "value_too_large",
                                          "ok"};
  EXPECT_EQ(outcomes(cache->store_buffered_batch(batch())), expected);
  EXPECT_EQ(outcomes(cache->store_batch(batch())), expected);
  EXPECT_EQ(get_all({"first", "large", "last"}),
            (std::vector<std::string>{"1", "error not_found", "5"}));
}

TEST_F(StoreBatch, LargerThanTheWriteBufferIsFlushedOnTheWay) {
  add_many(200, 100'000);
  for (const auto& result : cache->store_buffered_batch(batch())) ASSERT_TRUE(result);
  EXPECT_GT(cache->stats().flushes, 1u);
  expect_all_there();
}

TEST_F(StoreBatch, OptionsHoldForEachEntry) {
  add("a", "1");
  add("b", "2");
  ASSERT_TRUE(cache->store("b", "before"));
  std::vector<KeyValue> entries(batch().begin(), batch().end());
  StoredIn places[2] = {StoredIn::memory, StoredIn::memory};
  entries[0].stored_in = &places[0];
  entries[1].stored_in = &places[1];
  const auto results = cache->store_buffered_batch(entries, {.flags = 77, .when = StoreIf::absent});
  EXPECT_EQ(outcomes(results), (std::vector<std::string>{"ok", "condition_failed"}));
  EXPECT_EQ(places[0], StoredIn::log);
  EXPECT_EQ(places[1], StoredIn::memory) << "told only of what was stored";
  EXPECT_EQ(cache->lookup("a")->flags(), 77u);
  EXPECT_EQ(get("b"), "before");
}

// In order: the second of one key finds what the first has stored.
TEST_F(StoreBatch, AConditionSeesTheEntriesBefore) {
  add("key", "1");
  add("key", "2");
  EXPECT_EQ(outcomes(cache->store_batch(batch(), {.when = StoreIf::absent})),
            (std::vector<std::string>{"ok", "condition_failed"}));
  EXPECT_EQ(get("key"), "1");
}

TEST_F(StoreBatch, WhereTheSyncFailsEachIsToldAndWhatWasThereStays) {
  ASSERT_TRUE(cache->store("a", "before"));
  add("a", "1");
  add("b", "2");
  faults().fail(Op::sync, 1, EIO);
  EXPECT_EQ(outcomes(cache->store_batch(batch())),
            (std::vector<std::string>{"sync_failed", "sync_failed"}));
  EXPECT_EQ(get_all({"a", "b"}), (std::vector<std::string>{"before", "error not_found"}));
}

TEST_F(StoreBatch, DurableMayBeLargerThanTheWriteBuffer) {
  add_many(300, 50'000);
  for (const auto& result : cache->store_batch(batch())) ASSERT_TRUE(result);
  EXPECT_GT(cache->stats().flushes, 1u);
  crash(CrashPolicy::lose_all);
  expect_all_there();
}

// A failed flush withdraws thousands at once: in one pass over the batch, not in one for each.
TEST_F(StoreBatch, ThousandsThatFailTogetherAreWithdrawnAtOnce) {
  ASSERT_TRUE(cache->store(name(7), "before"));
  add_many(20'000, 10);
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  const auto start = std::chrono::steady_clock::now();
  for (const auto& result : cache->store_batch(batch())) ASSERT_FALSE(result);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  faults().heal();
  EXPECT_EQ(get_all({name(7), name(8)}), (std::vector<std::string>{"before", "error not_found"}));
  ASSERT_TRUE(cache->flush_writes());
  reopen();
  EXPECT_EQ(get_all({name(7), name(8)}), (std::vector<std::string>{"before", "error not_found"}));
}

TEST_F(StoreBatch, WhereTheDeviceFailsTheRestIsNotTried) {
  add_many(2000, 10'000);
  faults().fail(Op::write, 1, EIO, FaultyDisk::Repeat::for_ever);
  const auto results = outcomes(cache->store_buffered_batch(batch()));
  EXPECT_EQ(results.front(), "ok");
  const auto refused = std::ranges::find_if(
      results, [](const auto& result) { return result != "ok" && result != "flush_failed"; });
  ASSERT_NE(refused, results.end());
  EXPECT_GT(results.end() - refused, 100);
  EXPECT_TRUE(std::all_of(refused, results.end(), [&](const auto& r) { return r == *refused; }))
      << *refused;
  faults().heal();
  EXPECT_EQ(get(name(0)), value_of("v", 0, 10'000));
}

TEST_F(StoreBatch, UrgentStartsOneFlushAndNotOneForEach) {
  add_many(100, 100);
  for (const auto& result : cache->store_buffered_batch(batch(), {.priority = Priority::urgent})) {
    EXPECT_TRUE(result);
  }
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(cache->stats().flushes, 1u);
}

TEST_F(StoreBatch, OfNothingIsNothing) {
  EXPECT_TRUE(cache->store_batch({}).empty());
  EXPECT_TRUE(cache->store_buffered_batch({}).empty());
}

TEST_F(StoreBatch, AfterCloseEachIsToldSo) {
  add("a", "1");
  add("b", "2");
  ASSERT_TRUE(cache->close());
  const std::vector<std::string> expected{"closed", "closed"};
  EXPECT_EQ(outcomes(cache->store_batch(batch())), expected);
  EXPECT_EQ(outcomes(cache->store_buffered_batch(batch())), expected);
}

}  // namespace
}  // namespace rawcache::testing
