// Priority::urgent: as durable and as ordered as every store; ahead of whoever waits to flush, and
// behind few bytes while such stores come.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <latch>
#include <thread>
#include <vector>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

constexpr StoreOptions kUrgent{.priority = Priority::urgent};

class UrgentTest : public CacheTest {
 protected:
  UrgentTest() {
    options.max_operations = 1000;
    options.max_buffer_bytes = 8_MiB;
    options.monotonic_now = [this] { return time_s * 1'000'000'000; };
    options.maintenance_thread = false;
    format.segment_bytes = 4_MiB;
    make_device(64_MiB);
    open();
  }
  void store_bulk(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string key = "bulk " + std::to_string(next_++);
      ASSERT_TRUE(cache->store_buffered(key, value_of(key, 1, 512_KiB)));
    }
  }
  std::uint64_t time_s = 1000;

 private:
  int next_ = 0;
};

TEST_F(UrgentTest, IsDurableOnReturnWithWhatCameBeforeItAndNotWhatCameAfter) {
  for (const CrashPolicy policy : {CrashPolicy::lose_all, CrashPolicy::keep_all}) {
    store_bulk(3);
    ASSERT_TRUE(cache->store_buffered("key", "before"));
    ASSERT_TRUE(cache->store("key", "urgent", kUrgent));
    ASSERT_TRUE(cache->store_buffered("key", "after"));
    EXPECT_EQ(get("key"), "after");
    crash(policy);
    EXPECT_EQ(get("key"), "urgent");
    EXPECT_EQ(get("bulk 0"), value_of("bulk 0", 1, 512_KiB));
  }
}

TEST_F(UrgentTest, AFailedOneLeavesWhatWasThereAndALaterOneGoesWell) {
  ASSERT_TRUE(cache->store("key", "before"));
  store_bulk(2);
  faults().fail(FaultyDisk::Op::sync, 1, EIO);
  EXPECT_EQ(outcome(cache->store("key", "failed", kUrgent)), "sync_failed");
  EXPECT_EQ(get("key"), "before");
  ASSERT_TRUE(cache->store("key", "urgent", kUrgent));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "urgent");
  EXPECT_EQ(get("bulk 1"), value_of("bulk 1", 1, 512_KiB));
}

TEST_F(UrgentTest, ABufferedOneIsOnItsWayWhenTheCallReturns) {
  store_bulk(1);
  EXPECT_EQ(cache->stats().flushes_in_flight, 0u);
  ASSERT_TRUE(cache->store_buffered("key", "urgent", kUrgent));
  EXPECT_EQ(cache->stats().flushes_in_flight, 1u);
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  EXPECT_EQ(cache->stats().in_flight_writes, 2u);
}

// What an urgent store finds before it is bounded.
TEST_F(UrgentTest, BatchesAreSmallWhileUrgentStoresComeAndLargeAgainAfterwards) {
  EXPECT_EQ(cache->stats().batch_target_bytes, 8_MiB);
  ASSERT_TRUE(cache->store("key", "urgent", kUrgent));
  for (int i = 0; i < 20; ++i) {
    store_bulk(1);
    EXPECT_LE(cache->stats().buffered_bytes, 1_MiB);
  }
  EXPECT_EQ(cache->stats().batch_target_bytes, 1_MiB);
  time_s += 3;  // none has come for a while
  store_bulk(1);
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(cache->stats().batch_target_bytes, 8_MiB);
}

// One thread flushes, others wait for their turn to do so; the urgent one comes last.
TEST_F(UrgentTest, TheNextTurnToFlushIsTheirs) {
  constexpr int kOthers = 12;
  std::atomic<bool> blocked = true;
  std::atomic<int> syncs = 0;
  std::atomic<std::thread::id> second;
  std::latch in_sync(1);
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != FaultyDisk::Op::sync) return;
    if (++syncs == 2) second = std::this_thread::get_id();
    if (syncs > 1) return;
    in_sync.count_down();
    while (blocked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); };
  std::vector<std::thread> threads;
  threads.emplace_back([&] { EXPECT_TRUE(cache->store("first", "value")); });
  in_sync.wait();
  for (int i = 0; i < kOthers; ++i) {
    threads.emplace_back([&, i] {
      EXPECT_TRUE(cache->store_buffered("other " + std::to_string(i), "value"));
      EXPECT_TRUE(cache->flush_writes());
    });
  }
  pause();
  threads.emplace_back([&] { EXPECT_TRUE(cache->store("urgent", "value", kUrgent)); });
  const std::thread::id urgent = threads.back().get_id();
  pause();
  blocked = false;
  for (std::thread& thread : threads) thread.join();
  device->at_each_request({});
  EXPECT_EQ(second.load(), urgent);
  EXPECT_EQ(get("urgent"), "value");
}

// Whenever somebody syncs another urgent store comes and waits for the next turn. It and whoever
// else waits may have it after an urgent one; only if it always went first they never would.
TEST_F(UrgentTest, AStreamOfThemDoesNotKeepOthersFromFlushing) {
  constexpr int kRoundsMax = 20;
  std::atomic<int> rounds = 0;
  std::atomic<std::thread::id> other;
  std::vector<std::thread> threads;  // of whoever has the turn
  const auto store_urgent = [&](const std::string& key) {
    threads.emplace_back([this, key] { EXPECT_TRUE(cache->store(key, "value", kUrgent)); });
    while (get(key) != "value") std::this_thread::yield();
  };
  const auto flush_as_other = [&] {
    other = std::this_thread::get_id();
    EXPECT_TRUE(cache->flush_writes());
  };
  std::atomic<bool> over = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != FaultyDisk::Op::sync || over) return;
    over = std::this_thread::get_id() == other.load() || rounds == kRoundsMax;
    if (over) return;
    if (++rounds == 1) threads.emplace_back(flush_as_other);
    for (const char* const name : {"a ", "b "}) store_urgent(name + std::to_string(rounds));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // until they wait
  });
  EXPECT_TRUE(cache->store("first", "value"));
  while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (std::thread& thread : threads) thread.join();
  device->at_each_request({});
  EXPECT_LT(rounds, kRoundsMax);
}

}  // namespace
}  // namespace rawcache::testing
