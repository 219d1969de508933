// Conditional stores, update, touch and clear_at: what is decided holds when it is done, whoever
// else writes meanwhile, and survives crashes as other writes do.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
using std::chrono::seconds;

class Update : public SmallCacheTest {
 protected:
  std::uint64_t sequence_of(std::string_view key) { return cache->lookup(key)->sequence(); }
};

// --- Conditions ---

TEST_F(Update, AStoreThatWantsTheKeyAbsentIsRefusedWhereOneIs) {
  const StoreOptions add{.when = StoreIf::absent};
  EXPECT_EQ(outcome(cache->store("a", "1", add)), "ok");
  EXPECT_EQ(outcome(cache->store("a", "2", add)), "condition_failed");
  EXPECT_EQ(outcome(cache->store_buffered("a", "3", add)), "condition_failed");
  EXPECT_EQ(get("a"), "1");
  ASSERT_TRUE(cache->remove("a"));
  EXPECT_EQ(outcome(cache->store_buffered("a", "4", add)), "ok");
  ASSERT_TRUE(cache->store("short", "lived", {.ttl = seconds(10)}));
  clock += 10;
  EXPECT_EQ(outcome(cache->store("short", "5", add)), "ok") << "what has expired is not there";
  reopen();
  EXPECT_EQ(get("a"), "4");
  EXPECT_EQ(get("short"), "5");
}

TEST_F(Update, AStoreThatWantsTheKeyPresentIsRefusedWhereNoneIs) {
  const StoreOptions replace{.when = StoreIf::present};
  EXPECT_EQ(outcome(cache->store("a", "1", replace)), "not_found");
  EXPECT_EQ(get("a"), "error not_found");
  ASSERT_TRUE(cache->store_buffered("a", "2"));
  EXPECT_EQ(outcome(cache->store("a", "3", replace)), "ok");
  EXPECT_EQ(get("a"), "3");
}

TEST_F(Update, AStoreThatWantsTheEntryUnchangedTakesItsSequence) {
  StoreOptions swap{.when = StoreIf::unchanged, .sequence = 1};
  EXPECT_EQ(outcome(cache->store("a", "1", swap)), "not_found");
  ASSERT_TRUE(cache->store("a", "2"));
  swap.sequence = sequence_of("a");
  ASSERT_TRUE(cache->store_buffered("a", "2"));  // the same value, but another write
  EXPECT_EQ(outcome(cache->store("a", "3", swap)), "condition_failed");
  swap.sequence = sequence_of("a");
  EXPECT_EQ(outcome(cache->store("a", "4", swap)), "ok");
  EXPECT_EQ(outcome(cache->store("a", "5", swap)), "condition_failed");
  EXPECT_EQ(get("a"), "4");
  swap.sequence = sequence_of("a");
  reopen();
  EXPECT_EQ(outcome(cache->store("a", "6", swap)), "ok") << "sequences outlive the process";
  EXPECT_EQ(get("a"), "6");
}

TEST_F(Update, ASequenceThatACrashTookBackIsNeverGivenAgain) {
  ASSERT_TRUE(cache->store("a", "durable"));
  std::uint64_t seen = sequence_of("a");
  for (int life = 0; life < 4; ++life) {
    ASSERT_TRUE(cache->store_buffered("a", "lost with life " + std::to_string(life)));
    const std::uint64_t lost = sequence_of("a");
    EXPECT_GT(lost, seen);
    seen = lost;
    crash(CrashPolicy::lose_all);
    ASSERT_EQ(get("a"), "durable");
    ASSERT_TRUE(cache->store_buffered("a", "another"));
    EXPECT_EQ(outcome(cache->store_buffered("a", "wrong",
                                            {.when = StoreIf::unchanged, .sequence = lost})),
              "condition_failed");
    crash(CrashPolicy::lose_all);
  }
}

TEST_F(Update, AsynchronousStoresHeedConditionsToo) {
  ASSERT_TRUE(cache->store("a", "1"));
  EXPECT_EQ(outcome(cache->async_store("a", std::string("2"), {.when = StoreIf::absent}).get()),
            "condition_failed");
  EXPECT_EQ(outcome(cache->async_store("a", std::string("3"), {.when = StoreIf::present}).get()),
            "ok");
  EXPECT_EQ(get("a"), "3");
}

TEST_F(Update, ARefusedStoreWritesNothing) {
  ASSERT_TRUE(cache->store("a", "1"));
  const auto before = cache->stats();
  EXPECT_EQ(outcome(cache->store("a", "2", {.when = StoreIf::absent})), "condition_failed");
  EXPECT_EQ(outcome(cache->store("b", "2", {.when = StoreIf::present})), "not_found");
  const auto after = cache->stats();
  EXPECT_EQ(after.device_writes, before.device_writes);
  EXPECT_EQ(after.pending_writes, 0u);
  EXPECT_EQ(after.hits + after.misses, before.hits + before.misses);
}

// --- Update ---

TEST_F(Update, AnUpdateSeesWhatIsThereAndKeepsWhatItDoesNotChange) {
  const auto append = [](const Value* now) -> Change {
    static std::string grown;
    if (now == nullptr) return {};
    grown = now->str() + "+";
    return {.kind = Change::Kind::store,
            .value = std::as_bytes(std::span(grown)),
            .options = {.flags = now->flags(), .stale = now->stale()},
            .keep_expiry = true};
  };
  EXPECT_EQ(cache->update("a", append)->sequence, 0u);
  EXPECT_EQ(get("a"), "error not_found");
  ASSERT_TRUE(cache->store("a", "1", {.ttl = seconds(100), .flags = 7, .stale = true}));
  clock += 40;
  const auto updated = cache->update_buffered("a", append);
  ASSERT_TRUE(updated);
  for (const bool reopened : {false, true}) {
    if (reopened) reopen();
    const auto value = cache->lookup("a");
    ASSERT_TRUE(value);
    EXPECT_EQ(value->str(), "1+");
    EXPECT_EQ(value->sequence(), updated->sequence);
    EXPECT_EQ(value->flags(), 7u);
    EXPECT_TRUE(value->stale());
    EXPECT_EQ(value->expires_at(), clock + 60);
  }
  EXPECT_EQ(
      cache->update("a", [](const Value*) { return Change{Change::Kind::remove, {}, {}}; })->kind,
      Change::Kind::remove);
  EXPECT_EQ(get("a"), "error not_found");
}

TEST_F(Update, AnUpdateChecksWhatItStores) {
  const std::string large(cache->value_bytes_max(1) + 1, 'x');
  const auto grow = [&](const Value*) -> Change {
    return {.kind = Change::Kind::store, .value = std::as_bytes(std::span(large)), .options = {}};
  };
  EXPECT_EQ(outcome(cache->update("a", grow)), "value_too_large");
  EXPECT_EQ(outcome(cache->update("", grow)), "key_empty");
  EXPECT_EQ(get("a"), "error not_found");
}

TEST_F(Update, AnUpdateThatSawAWriteWhichFailedLooksAgain) {
  ASSERT_TRUE(cache->store("a", "before"));
  std::atomic<bool> looked{false};
  faults().fail(Op::sync, 1, EIO);
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op == Op::sync) looked.wait(false);
  });
  std::thread store([&] { EXPECT_EQ(outcome(cache->store("a", "failed")), "sync_failed"); });
  while (get("a") != "failed") std::this_thread::yield();
  std::vector<std::string> seen;
  const auto updated = cache->update_buffered("a", [&](const Value* now) -> Change {
    seen.push_back(now->str());
    if (!looked.exchange(true)) {
      looked.notify_all();
      store.join();
    }
    return {.kind = Change::Kind::store, .value = now->bytes(), .options = {}};
  });
  ASSERT_TRUE(updated);
  EXPECT_EQ(seen, (std::vector<std::string>{"failed", "before"}));
  EXPECT_EQ(get("a"), "before");
}

// --- Touch ---

TEST_F(Update, TouchChangesTheLifeAndNothingElse) {
  EXPECT_EQ(outcome(cache->touch("a", seconds(5))), "not_found");
  ASSERT_TRUE(cache->store("a", "1", {.ttl = seconds(10), .flags = 3}));
  ASSERT_TRUE(cache->touch("a", seconds(1000)));
  clock += 500;
  crash(CrashPolicy::lose_all);
  const auto value = cache->lookup("a");
  ASSERT_TRUE(value);
  EXPECT_EQ(value->str(), "1");
  EXPECT_EQ(value->flags(), 3u);
  EXPECT_EQ(value->expires_at(), clock + 500);
  ASSERT_TRUE(cache->touch_buffered("a", seconds(-1)));
  EXPECT_EQ(cache->lookup("a")->expires_at(), 0u);
}

// --- The mark ---

TEST_F(Update, ValuesStayStaleInMemoryAndThroughRestarts) {
  options.memory_bytes = 1_MiB;
  reopen();
  ASSERT_TRUE(cache->store("old", "1", {.stale = true}));
  ASSERT_TRUE(cache->store("new", "2"));
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(cache->lookup("old")->stale());
    EXPECT_FALSE(cache->lookup("new")->stale());
    if (round == 1) reopen();
  }
  ASSERT_TRUE(cache->store("old", "3"));
  EXPECT_FALSE(cache->lookup("old")->stale());
}

// --- clear_at ---

TEST_F(Update, ADelayedClearTakesWhatWasStoredUntilThenAndNothingBefore) {
  ASSERT_TRUE(cache->store("a", "1"));
  ASSERT_TRUE(cache->clear_at(clock + 10));
  ASSERT_TRUE(cache->store("b", "2"));
  clock += 9;
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("b"), "2");
  clock += 1;
  EXPECT_EQ(get_all({"a", "b"}), (std::vector<std::string>{"error not_found", "error not_found"}));
  ASSERT_TRUE(cache->store("c", "3"));
  clock += 100;
  EXPECT_EQ(get("c"), "3") << "it happens once";
}

TEST_F(Update, EveryCallHeedsADelayedClear) {
  options.memory_bytes = 1_MiB;
  reopen();
  const std::vector<std::function<void()>> calls{
      [&] { EXPECT_EQ(get("a"), "error not_found"); },
      [&] { EXPECT_EQ(get_all({"a"}), std::vector<std::string>{"error not_found"}); },
      [&] { EXPECT_FALSE(cache->contains("a").value()); },
      [&] { EXPECT_TRUE(all_keys().empty()); },
      [&] { ASSERT_TRUE(cache->store_buffered("b", "stored after it")); },
      [&] { ASSERT_TRUE(cache->maintain()); },
      [&] { EXPECT_EQ(outcome(cache->touch("a", seconds(5))), "not_found"); }};
  for (const auto& call : calls) {
    ASSERT_TRUE(cache->clear());
    ASSERT_TRUE(cache->store("a", "1"));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(get("a"), "1");  // also in memory now
    ASSERT_TRUE(cache->clear_at(clock + 5));
    clock += 5;
    call();
    EXPECT_EQ(get("a"), "error not_found");
    EXPECT_EQ(cache->contains("b").value(), all_keys().contains("b"));
  }
  ASSERT_TRUE(cache->clear());
}

TEST_F(Update, ADelayedClearSurvivesCrashesAndIsReplacedByALaterOne) {
  ASSERT_TRUE(cache->store("a", "1"));
  ASSERT_TRUE(cache->clear_at(clock + 10));
  ASSERT_TRUE(cache->clear_at(clock + 20));
  crash(CrashPolicy::lose_all);
  clock += 15;
  EXPECT_EQ(get("a"), "1");
  reopen();
  clock += 5;
  EXPECT_EQ(get("a"), "error not_found");
  ASSERT_TRUE(cache->store("b", "2"));
  ASSERT_TRUE(cache->clear_at(clock + 10));
  ASSERT_TRUE(cache->clear());
  ASSERT_TRUE(cache->store("c", "3"));
  crash(CrashPolicy::lose_all);
  clock += 100;
  EXPECT_EQ(get("c"), "3") << "the clear has taken its place";
  ASSERT_TRUE(cache->clear_at(clock));
  EXPECT_EQ(get("c"), "error not_found") << "a time that has come";
}

TEST_F(Update, ADelayedClearThatFailsIsNoted) {
  ASSERT_TRUE(cache->store("a", "1"));
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  EXPECT_EQ(outcome(cache->clear_at(clock + 10)), "sync_failed");
  faults().heal();
  ASSERT_TRUE(cache->store("b", "2"));
  crash(CrashPolicy::lose_all);
  clock += 10;
  EXPECT_EQ(get("a"), "1") << "a call that failed has no effect later";
  ASSERT_TRUE(cache->clear_at(clock + 10));
  clock += 10;
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  EXPECT_EQ(get("a"), "error sync_failed") << "never what should be gone";
  faults().heal();
  EXPECT_EQ(get("a"), "error not_found");
}

// A failed sync is told once, so it must be the flush that asks.
TEST_F(Update, ADelayedClearIsNotToldThatAFlushUnderWayHasFailed) {
  options.max_operations = 2;
  reopen();
  ASSERT_TRUE(cache->store_buffered("a", "1"));
  ASSERT_TRUE(cache->store_buffered("b", "2"));
  ASSERT_EQ(cache->stats().flushes_in_flight, 1u);
  faults().fail(Op::sync, 1, EIO);
  faults().set_on_failure([&](const FaultyDisk::Event&) { device->medium().forget_unsynced(); });
  EXPECT_EQ(outcome(cache->clear_at(clock + 10)), "ok");
  ASSERT_EQ(faults().failures(), 1u);
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("b"), "2");
}

// --- Threads ---

TEST_F(Update, ConcurrentUpdatesOfOneKeyLoseNone) {
  ASSERT_TRUE(cache->store("n", "0"));
  constexpr int kThreads = 4, kEach = 150;
  std::vector<std::thread> threads;
  std::atomic<int> added{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        std::string next;
        const auto step = [&](const Value* now) -> Change {
          next = std::to_string(std::stoi(now->str()) + 1);
          return {
              .kind = Change::Kind::store, .value = std::as_bytes(std::span(next)), .options = {}};
        };
        ASSERT_TRUE(i % 50 == 0 ? cache->update("n", step) : cache->update_buffered("n", step));
        const std::string key = "add " + std::to_string(i);
        if (cache->store_buffered(key, std::to_string(t), {.when = StoreIf::absent})) ++added;
        const auto seen = cache->lookup("swap");
        (void)cache->store_buffered("swap", std::to_string(i),
                                    {.when = seen ? StoreIf::unchanged : StoreIf::absent,
                                     .sequence = seen ? seen->sequence() : 0});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(get("n"), std::to_string(kThreads * kEach));
  EXPECT_EQ(added, kEach) << "of those who want a key absent one gets it";
}

}  // namespace
}  // namespace rawcache::testing
