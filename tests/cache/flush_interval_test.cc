// Options::flush_interval: nothing stays buffered longer, also when nothing more is stored; a flush
// that fails in the background is told, tried again with growing pauses, and loses nothing. And
// BatchMode::adaptive: large batches within the memory given.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using std::chrono::milliseconds;
using Op = FaultyDisk::Op;

constexpr std::uint64_t kMs = 1'000'000;

class FlushInterval : public SmallCacheTest {
 protected:
  FlushInterval() {
    options.flush_interval = milliseconds(100);
    options.monotonic_now = [this] { return time_ms * kMs; };
    options.maintenance_thread = false;
    reopen();
  }
  std::uint64_t time_ms = 1000;
};

TEST_F(FlushInterval, WhatIsBufferedIsDurableAfterTheIntervalAndNotBefore) {
  ASSERT_TRUE(cache->store_buffered("key", "value"));
  time_ms += 99;
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().pending_writes, 1u);
  time_ms += 1;
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "value");
}

TEST_F(FlushInterval, TheOldestEntryDecidesAndAFlushStartsTheTimeAnew) {
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  time_ms += 60;
  ASSERT_TRUE(cache->store_buffered("b", "2"));
  ASSERT_TRUE(cache->flush_writes());
  ASSERT_TRUE(cache->store_buffered("c", "3"));
  time_ms += 60;  // 120 after a, 60 after c
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().pending_writes, 1u);
  time_ms += 40;
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().pending_writes, 0u);
}

TEST_F(FlushInterval, ABatchThatIsUnderWayIsCompletedInTimeToo) {
  options.max_operations = 2;
  reopen();
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  ASSERT_TRUE(cache->store_buffered("b", "2"));  // starts a flush
  ASSERT_EQ(cache->stats().flushes_in_flight, 1u);
  time_ms += 100;
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().flushes_in_flight, 0u);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("b"), "2");
}

TEST_F(FlushInterval, AFailureIsToldOnceTriedAgainWithGrowingPausesAndLosesNothing) {
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  time_ms += 100;
  EXPECT_EQ(outcome(cache->maintain()), "sync_failed");
  EXPECT_EQ(cache->stats().background_flush_failures, 1u);
  EXPECT_EQ(outcome(cache->store_buffered("b", "2")), "flush_failed") << "accepted, and told";
  EXPECT_EQ(outcome(cache->store_buffered("c", "3")), "ok") << "told once";
  const auto failures_within = [&](std::uint64_t ms) {
    const std::uint64_t before = cache->stats().background_flush_failures;
    for (std::uint64_t i = 0; i < ms; ++i) {
      ++time_ms;
      // What is sealed and failed is also tried by maintain() itself; only the count matters here.
      static_cast<void>(cache->maintain());
    }
    return cache->stats().background_flush_failures - before;
  };
  EXPECT_EQ(failures_within(99), 0u);
  EXPECT_EQ(failures_within(1), 1u);
  EXPECT_EQ(failures_within(199), 0u);
  EXPECT_EQ(failures_within(1), 1u);
  faults().heal();
  EXPECT_EQ(failures_within(400), 0u);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get_all({"a", "b", "c"}), (std::vector<std::string>{"1", "2", "3"}));
}

TEST_F(FlushInterval, AfterAFlushBySomebodyElseNothingIsToldAndTheIntervalHoldsAgain) {
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  for (int i = 0; i < 5; ++i) {  // the pause has grown to 3.2 s by then
    time_ms += 1600;
    EXPECT_EQ(outcome(cache->maintain()), "sync_failed");
  }
  faults().heal();
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(outcome(cache->store_buffered("b", "2")), "ok") << "what failed is durable";
  time_ms += 100;
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().pending_writes, 0u) << "the pause of the retries is over";
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get_all({"a", "b"}), (std::vector<std::string>{"1", "2"}));
}

TEST_F(FlushInterval, TheMaintenanceThreadKeepsItWithoutFurtherCalls) {
  options.monotonic_now = {};
  options.flush_interval = milliseconds(20);
  options.maintenance_thread = true;
  reopen();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(cache->store_buffered("key" + std::to_string(round), "value"));
    const auto pending = [&] {
      const Stats stats = cache->stats();
      return stats.pending_writes + stats.flushes_in_flight;
    };
    for (int waited = 0; waited < 1000 && pending() > 0; ++waited) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_EQ(pending(), 0u);
  }
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key2"), "value");
}

// On a disk with syncs in the background, beside the maintenance thread, it only looks at what is
// under way; but after a failure nothing is.
TEST_F(FlushInterval, MaintainWritesAgainWhatHasFailedWithoutFurtherCalls) {
  options.monotonic_now = {};
  options.flush_interval = {};
  options.max_operations = 2;
  options.maintenance_thread = true;
  close();
  device->medium().complete_late(1);
  open();
  faults().fail(Op::write, 1, EIO);
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  ASSERT_TRUE(cache->store_buffered("b", "2"));  // starts a flush, which fails
  EXPECT_EQ(outcome(cache->maintain()), "io_error");
  ASSERT_EQ(cache->stats().flushes_in_flight, 1u);
  std::atomic<bool> returned = false;
  std::jthread caller([&] {
    EXPECT_TRUE(cache->maintain());
    returned = true;
  });
  for (int waited = 0; waited < 1000 && !returned; ++waited) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(returned);
  static_cast<void>(cache->flush_writes());  // which would end its waiting
  caller.join();
  EXPECT_EQ(cache->stats().flushes_in_flight, 0u);
}

TEST_F(FlushInterval, AnIntervalOutOfRangeIsRefused) {
  close();
  options.flush_interval = milliseconds(-1);
  EXPECT_EQ(outcome(try_open()), "invalid_options");
  options.flush_interval = std::chrono::hours(25);
  EXPECT_EQ(outcome(try_open()), "invalid_options");
  options.flush_interval = milliseconds(0);
  options.write_buffer_bytes = 1;
  EXPECT_EQ(outcome(try_open()), "invalid_options");
}

class Adaptive : public CacheTest {
 protected:
  Adaptive() {
    options.batch_mode = BatchMode::adaptive;
    options.write_buffer_bytes = 16_MiB;
    make_device(64_MiB);
    open();
  }
};

TEST_F(Adaptive, BatchesGrowBeyondTheFixedLimitsWithinTheirMemory) {
  const std::string value = value_of("v", 1, 4000);
  for (int i = 0; i < 6000; ++i) {
    ASSERT_TRUE(cache->store_buffered("key" + std::to_string(i), value));
    if (i % 1000 == 0) {
      ASSERT_LE(cache->stats().buffer_memory_bytes, options.write_buffer_bytes);
    }
  }
  ASSERT_TRUE(cache->flush_writes());
  const Stats stats = cache->stats();
  EXPECT_LE(stats.buffer_memory_bytes, options.write_buffer_bytes);
  EXPECT_GT(stats.average_batch_operations, 60);
  EXPECT_GT(stats.measured_bytes_per_s, 0u);
  EXPECT_GE(stats.batch_target_bytes, 256_KiB);
  EXPECT_LE(stats.batch_target_bytes, stats.buffer_bytes_max);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key5999"), value);
}

TEST_F(Adaptive, AValueLargerThanABufferIsStoredAllTheSame) {
  close();
  options.write_buffer_bytes = 2_MiB;
  options.read_buffer_bytes = 16_MiB;
  format.segment_bytes = 4_MiB;
  make_device(64_MiB);
  open();
  const std::string value = value_of("large", 1, 3 << 20);
  ASSERT_EQ(outcome(cache->store_buffered("large", value)), "ok");
  ASSERT_TRUE(cache->store("small", "s"));
  crash(CrashPolicy::lose_all);
  EXPECT_TRUE(get("large") == value);
}

}  // namespace
}  // namespace rawcache::testing
