// C3, C5, C8: what fails leaves everything as it was. A failed direct store is withdrawn, a failed
// flush keeps its buffer and is written again before it is synced again, a place that stays bad is
// left, and no failure shows after reopening.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "batch/batch_io_manager.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
constexpr auto kForEver = FaultyDisk::Repeat::for_ever;

class Failure : public SmallCacheTest {
 protected:
  /// What the device was asked for, as letters: r, w, s.
  std::string calls() {
    std::string letters;
    for (const DeviceCall& call : device->take_calls()) {
      if (call.kind == DeviceCall::Kind::sync) {
        letters += 's';
      } else {
        letters += call.writes > 0 ? 'w' : 'r';
      }
    }
    return letters;
  }
  /// The range of the device that holds the log.
  Extent log_range() const {
    const Superblock s = superblock();
    return {s.segments_offset, s.segments * s.segment_bytes};
  }
};

// A remove that is under way when the same key is removed again by a buffered call.
TEST_F(Failure, ARemoveThatFailsBringsNothingBackThatWasRemovedAgainMeanwhile) {
  ASSERT_TRUE(cache->store("key", "old"));
  std::atomic<bool> again{false};
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != Op::write || again.exchange(true)) return;
    std::thread([&] { EXPECT_TRUE(cache->remove_buffered("key")); }).join();
  });
  faults().fail(Op::write, 1, EIO);
  EXPECT_FALSE(cache->remove("key"));
  EXPECT_TRUE(again);
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(get("key"), "error not_found");
  reopen();
  EXPECT_EQ(get("key"), "error not_found");
}

class FailureOf : public Failure, public ::testing::WithParamInterface<Op> {};
INSTANTIATE_TEST_SUITE_P(Failure, FailureOf, ::testing::Values(Op::write, Op::sync),
                         [](const auto& tested) {
                           return std::string(tested.param == Op::write ? "Write" : "Sync");
                         });

TEST_P(FailureOf, ADirectStoreSaysSoAndTheOldValueIsServed) {
  ASSERT_TRUE(cache->store("key", "old"));
  ASSERT_TRUE(cache->store("gone", "old"));
  ASSERT_TRUE(cache->store_buffered("neighbour", "buffered before"));
  faults().fail(GetParam(), 1, EIO);
  const auto stored = cache->store("key", "never");
  EXPECT_EQ(outcome(stored), GetParam() == Op::write ? "io_error" : "sync_failed");
  EXPECT_EQ(stored.error().os_error(), EIO);
  EXPECT_EQ(get("key"), "old");
  EXPECT_EQ(get("neighbour"), "buffered before");
  EXPECT_EQ(cache->stats().withdrawn, 1u);
  faults().fail(GetParam(), 1, EIO);
  EXPECT_FALSE(cache->remove("gone"));
  EXPECT_EQ(get("gone"), "old");
  faults().fail(GetParam(), 1, EIO);
  EXPECT_FALSE(cache->store("new", "never"));
  EXPECT_EQ(get("new"), "error not_found");

  ASSERT_TRUE(cache->flush_writes());
  const auto check = [&] {
    EXPECT_EQ(get("key"), "old");
    EXPECT_EQ(get("gone"), "old");
    EXPECT_EQ(get("new"), "error not_found");
    EXPECT_EQ(get("neighbour"), "buffered before");
  };
  check();
  crash(CrashPolicy::lose_all);  // the neighbour is durable, and the flush has withdrawn the others
  check();
  reopen();
  check();
}

TEST_P(FailureOf, ADirectStoreLeavesNoTraceWithoutACrash) {
  ASSERT_TRUE(cache->store("key", "old"));
  faults().fail(GetParam(), 1, EIO);
  ASSERT_FALSE(cache->store("key", "never"));
  reopen();
  EXPECT_EQ(get("key"), "old");
  reopen();
  EXPECT_EQ(get("key"), "old");
  EXPECT_EQ(all_keys(), (std::set<std::string>{"key"}));
}

TEST_P(FailureOf, AFlushKeepsEverythingAndTheNextWritesItAgainBeforeItsSync) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cache->store_buffered("k" + std::to_string(i), std::to_string(i)));
  }
  (void)calls();
  faults().fail(GetParam(), 1, EIO);
  EXPECT_EQ(outcome(cache->flush_writes()), GetParam() == Op::write ? "io_error" : "sync_failed");
  EXPECT_EQ(calls(), GetParam() == Op::write ? "w" : "ws");
  EXPECT_EQ(cache->stats().flush_failures, 1u);
  EXPECT_EQ(cache->stats().pending_writes, 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("k" + std::to_string(i)), std::to_string(i));
  (void)calls();
  EXPECT_EQ(cache->flush_writes().value_or(0), 5u);
  EXPECT_EQ(calls(), "ws") << "the bytes are written again, then synced";
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  crash(CrashPolicy::lose_all);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("k" + std::to_string(i)), std::to_string(i));
}

TEST_P(FailureOf, TheFlushThatAFullBufferStartsIsToldOfAndLosesNothing) {
  options.max_operations = 4;
  reopen();
  faults().fail(GetParam(), 1, EIO, kForEver);
  int accepted = 0;
  std::string last;
  for (int i = 0; i < 80; ++i) {
    last = outcome(cache->store_buffered("k" + std::to_string(i), std::to_string(i)));
    if (last == "buffer_full") break;
    ASSERT_TRUE(last == "ok" || last == "flush_failed") << last;
    ++accepted;
  }
  EXPECT_EQ(last, "buffer_full");
  EXPECT_GE(accepted, 4);
  EXPECT_LE(accepted, 4 * (kSealedBuffersMax + 2)) << "buffers of four, and little more";
  for (int i = 0; i < accepted; ++i) EXPECT_EQ(get("k" + std::to_string(i)), std::to_string(i));
  EXPECT_EQ(get("k" + std::to_string(accepted)), "error not_found") << "buffer_full: not accepted";

  faults().heal();
  EXPECT_EQ(cache->flush_writes().value_or(0), static_cast<std::uint64_t>(accepted));
  crash(CrashPolicy::lose_all);
  for (int i = 0; i < accepted; ++i) EXPECT_EQ(get("k" + std::to_string(i)), std::to_string(i));
}

TEST_F(Failure, APlaceThatStaysBadIsLeftAtTheSecondFailure) {
  ASSERT_TRUE(cache->store("before", "old place"));
  const auto calls_before = device->take_calls();
  // The segment that the log is in takes no more writes.
  const std::uint64_t at = calls_before.at(calls_before.size() - 2).extents.at(0).offset;
  const Superblock s = superblock();
  const std::uint64_t segment = (at - s.segments_offset) / s.segment_bytes;
  faults().fail_writes_in({s.segments_offset + segment * s.segment_bytes, s.segment_bytes}, EIO);

  ASSERT_TRUE(cache->store_buffered("a", "1"));
  ASSERT_TRUE(cache->store_buffered("b", "2"));
  ASSERT_TRUE(cache->remove_buffered("before"));
  const std::uint64_t sequence = cache->lookup("b")->sequence();
  EXPECT_EQ(outcome(cache->flush_writes()), "io_error");
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(outcome(cache->flush_writes()), "ok") << "placed elsewhere";
  const auto check = [&] {
    EXPECT_EQ(get_all({"a", "b", "before"}),
              (std::vector<std::string>{"1", "2", "error not_found"}));
    EXPECT_EQ(cache->lookup("b")->sequence(), sequence);
  };
  check();
  crash(CrashPolicy::lose_all);
  check();
  reopen();
  check();
  ASSERT_TRUE(cache->store("c", "3"));
  EXPECT_EQ(get("c"), "3");
}

TEST_F(Failure, ADirectStoreAfterABadPlaceWorks) {
  ASSERT_TRUE(cache->store("key", "old"));
  const Superblock s = superblock();
  faults().fail_writes_in({s.segments_offset, s.segment_bytes}, EIO);
  int failed = 0;
  while (failed < 5 && !cache->store("key", "new " + std::to_string(failed))) ++failed;
  EXPECT_GE(failed, 1);
  EXPECT_LE(failed, 2) << "the second failure relocates";
  const std::string stored = "new " + std::to_string(failed);
  EXPECT_EQ(get("key"), stored);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), stored);
}

TEST_F(Failure, ABatchThatWasPlacedElsewhereDoesNotCountAnyMore) {
  ASSERT_TRUE(cache->store("key", "old"));
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  faults().fail(Op::sync, 1, EIO);  // the batch has reached the medium ...
  EXPECT_FALSE(cache->store("key", "never"));
  faults().fail(Op::write, 1, EIO);  // ... and what withdraws the store has not
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get_all({"key", "a"}), (std::vector<std::string>{"old", "1"}));
}

// While the store's sync is under way its segment is filled by others, so a footer that names it
// waits in the write buffer already when the sync fails.
TEST_F(Failure, AWithdrawnStoreIsNotInTheFooterOfItsSegment) {
  options.max_operations = 4096;
  options.eviction = EvictionPolicyKind::fifo;  // its checkpoints are not due so soon
  reopen();
  ASSERT_TRUE(cache->store("key", "old"));
  faults().fail(Op::sync, 1, EIO);
  bool filled = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != Op::sync || std::exchange(filled, true)) return;
    for (int i = 0; i < 16; ++i) {
      ASSERT_TRUE(cache->store_buffered("filler", value_of("filler", std::uint64_t(i), 4000)));
    }
  });
  EXPECT_EQ(outcome(cache->store("key", "never")), "sync_failed");
  device->at_each_request({});
  ASSERT_TRUE(filled);
  EXPECT_EQ(get("key"), "old");
  ASSERT_TRUE(cache->flush_writes());
  ASSERT_TRUE(cache->store("last", "says that the ones before it are durable"));
  ASSERT_TRUE(cache->store("last", "so that the footer is trusted"));
  crash(CrashPolicy::lose_all);
  EXPECT_GE(cache->stats().recovery_segments_by_footer, 1u);
  EXPECT_EQ(get("key"), "old");
}

// A record that is withdrawn becomes shorter, so that the footer may need a block less.
TEST_F(Failure, AFooterIsFoundAlsoWhereWithdrawalsHaveMadeItShorter) {
  constexpr std::byte kValue[] = {std::byte{'x'}};
  const KeyValue stores[] = {{"a", kValue}, {"b", kValue}, {"c", kValue}, {"d", kValue}};
  options.max_operations = 4096;
  options.eviction = EvictionPolicyKind::fifo;
  format.block_bytes = 512;
  for (std::uint64_t others = 0; others < 60; others += 3) {
    abandon();
    make_device(2_MiB);
    open();
    faults().fail(Op::sync, 1, EIO);
    bool filled = false;
    device->at_each_request([&](const FaultyDisk::Event& event) {
      if (event.op != Op::sync || std::exchange(filled, true)) return;
      for (std::uint64_t i = 0; i < 16; ++i) {
        ASSERT_TRUE(cache->store_buffered("filler", value_of("filler", i, 4000)));
      }
    });
    for (std::uint64_t i = 0; i < others; ++i) {
      ASSERT_TRUE(cache->store_buffered("other", "x"));
    }
    for (const auto& stored : cache->store_batch(stores)) EXPECT_EQ(outcome(stored), "sync_failed");
    device->at_each_request({});
    ASSERT_TRUE(filled);
    ASSERT_TRUE(cache->flush_writes());
    ASSERT_TRUE(cache->store("last", "says that the ones before it are durable"));
    ASSERT_TRUE(cache->store("last", "so that the footer is trusted"));
    crash(CrashPolicy::lose_all);
    EXPECT_GE(cache->stats().recovery_segments_by_footer, 1u);
    EXPECT_LE(cache->stats().recovery_segments_scanned, 1u) << others << " others";
  }
}

TEST_F(Failure, NoSpaceIsToldApart) {
  ASSERT_TRUE(cache->store("key", "old"));
  faults().fail(Op::write, 1, ENOSPC);
  EXPECT_EQ(outcome(cache->store("key", "never")), "no_space");
  EXPECT_EQ(get("key"), "old");
}

TEST_F(Failure, AReadThatFailsIsAnErrorOfItsKeyOnly) {
  ASSERT_TRUE(cache->store("a", "1"));
  ASSERT_TRUE(cache->store("b", "2"));
  reopen();
  faults().fail(Op::read, 1, EIO);
  EXPECT_EQ(get("a"), "error io_error");
  EXPECT_EQ(get("a"), "1") << "nothing was forgotten";
  options.read_gap_bytes = 0;
  reopen();
  faults().fail(Op::read, 1, EIO);
  const auto texts = get_all({"a", "b", "nobody"});
  EXPECT_EQ(texts[2], "error not_found");
  EXPECT_LE((texts[0] == "error io_error") + (texts[1] == "error io_error"), 1);
  EXPECT_EQ(get_all({"b", "a"}), (std::vector<std::string>{"2", "1"}));
}

TEST_F(Failure, AFailedCloseTellsAndReopeningFindsWhatWasDurable) {
  ASSERT_TRUE(cache->store("durable", "yes"));
  ASSERT_TRUE(cache->store_buffered("buffered", "perhaps"));
  faults().fail(Op::sync, 1, EIO, kForEver);
  EXPECT_EQ(outcome(cache->close()), "sync_failed");
  cache.reset();
  faults().heal();
  open();
  EXPECT_EQ(get("durable"), "yes");
  const std::string buffered = get("buffered");
  EXPECT_TRUE(buffered == "perhaps" || buffered == "error not_found") << buffered;
}

TEST_F(Failure, AFailedCheckpointIsCountedAndTheCacheGoesOn) {
  const Superblock s = superblock();
  for (const std::uint64_t area : s.checkpoint_offset) {
    faults().fail_writes_in({area, s.checkpoint_bytes}, EIO);
  }
  const std::string value = value_of("v", 1, 4000);
  std::uint64_t stored = 0;
  // Half the capacity: free segments are there, so no store needs a checkpoint.
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(outcome(cache->store_buffered("k" + std::to_string(i), value)), "ok") << i;
    ++stored;
  }
  EXPECT_GE(cache->stats().checkpoint_failures, 1u);
  EXPECT_EQ(cache->stats().checkpoints, 0u);
  ASSERT_TRUE(cache->flush_writes());
  faults().heal();
  ASSERT_TRUE(cache->maintain());
  EXPECT_GE(cache->stats().checkpoints, 1u);
  crash(CrashPolicy::lose_all);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get("k" + std::to_string(i)), value);
}

// Flushes fail at random under several threads that store directly and buffered; whoever fails is
// told, nobody waits for ever, and what was told to be stored is there.
TEST_F(Failure, ThreadsThatShareFailingFlushesAreAllTold) {
  close();
  options.max_operations = 8;
  options.maintenance_thread = true;
  make_device(16_MiB);  // nothing is evicted
  open();
  std::atomic<bool> stop{false};
  std::thread breaker([&] {
    std::mt19937_64 random(23);
    while (!stop) {
      faults().fail(random() % 2 == 0 ? Op::write : Op::sync, 1 + random() % 3, EIO,
                    random() % 2 == 0 ? kForEver : FaultyDisk::Repeat::once);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      faults().heal();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    }
  });
  constexpr int kThreads = 6;
  constexpr int kStores = 150;
  std::vector<std::map<std::string, std::string>> stored(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto& mine = stored[static_cast<std::size_t>(t)];
      for (int i = 0; i < kStores; ++i) {
        const std::string key = std::to_string(t) + "/" + std::to_string(i % 20);
        const std::string value = value_of(key, static_cast<std::uint64_t>(i), 300);
        const bool direct = i % 3 != 0;
        const auto result = direct ? cache->store(key, value) : cache->store_buffered(key, value);
        if (result || (!direct && result.error() == Errc::flush_failed)) mine[key] = value;
        const std::string found = text(cache->lookup(key));
        EXPECT_EQ(found, mine.contains(key) ? mine[key] : "error not_found") << outcome(result);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  breaker.join();
  faults().heal();
  const auto flushed = cache->flush_writes();
  ASSERT_TRUE(flushed) << flushed.error().message();
  for (const bool reopened : {false, true}) {
    if (reopened) reopen();
    for (const auto& mine : stored) {
      for (const auto& [key, value] : mine) EXPECT_EQ(get(key), value) << key;
    }
  }
}

}  // namespace
}  // namespace rawcache::testing
