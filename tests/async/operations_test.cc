// Asynchronous calls do what their blocking twins do, together where they were begun together, tell
// it exactly once, and leave nothing behind when they are dropped or the cache is closed. Run under
// the address and the thread sanitizer too.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "async/async_support.h"

namespace rawcache::testing {
namespace {

using namespace std::chrono_literals;
using Op = FaultyDisk::Op;

std::size_t threads_of_this_process() {
  std::size_t threads = 0;
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  for ([[maybe_unused]] const auto& task : tasks) ++threads;
  return threads;
}

class Operations : public SmallCacheTest {
 protected:
  ~Operations() override { faults().set_hook({}); }

  static std::string key(int i) { return "key " + std::to_string(i); }
  /// Holds back the next requests of this kind.
  void hold_back(Op op) {
    faults().set_hook([this, op](const FaultyDisk::Event& event) {
      if (event.op == op) gate.pass();
    });
  }
  bool readable() {
    pollfd waits{.fd = cache->native_handle(), .events = POLLIN, .revents = 0};
    return ::poll(&waits, 1, 0) == 1;
  }
  /// Completion::poll: hands over until so many callbacks have been called.
  void pump(const int& called, int wanted) {
    while (called < wanted) {
      pollfd waits{.fd = cache->native_handle(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&waits, 1, 10'000), 1) << "nothing came in 10 s";
      cache->poll();
    }
  }

  Gate gate;
};

// --- What they do ---

TEST_F(Operations, EveryVerbGivesWhatItsBlockingTwinGives) {
  EXPECT_EQ(outcome(cache->async_store("a", "1").get()), "ok");
  EXPECT_EQ(outcome(cache->async_store_buffered("b", "2", {.flags = 7}).get()), "ok");
  EXPECT_EQ(text(cache->async_lookup("a").get()), "1");
  EXPECT_EQ(cache->async_lookup("b").get()->flags(), 7u);
  EXPECT_EQ(outcome(cache->async_lookup("c").get()), "not_found");
  EXPECT_TRUE(cache->async_contains("a").get().value());
  EXPECT_FALSE(cache->async_contains("c").get().value());
  EXPECT_EQ(outcome(cache->async_contains("").get()), "key_empty");
  const std::vector<std::string> keys{"b", "c", "a", "b"};
  const auto found = cache->async_lookup_batch(keys).get();
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(text(found[0]) + text(found[2]) + text(found[3]), "212");
  EXPECT_EQ(outcome(found[1]), "not_found");
  EXPECT_EQ(cache->async_flush_writes().get().value(), 1u);
  std::set<std::string> seen;
  EXPECT_TRUE(cache
                  ->async_for_each_key([&](const KeyInfo& info) {
                    seen.emplace(info.key);
                    return true;
                  })
                  .get());
  EXPECT_EQ(seen, (std::set<std::string>{"a", "b"}));
  EXPECT_TRUE(cache->async_maintain().get());
  EXPECT_TRUE(cache->async_remove("a").get());
  EXPECT_EQ(get("a"), "error not_found");
  EXPECT_TRUE(cache->async_remove_buffered("b").get());
  EXPECT_EQ(get("b"), "error not_found");
  EXPECT_TRUE(cache->async_store("d", std::vector<std::byte>(100, std::byte{'x'})).get());
  EXPECT_EQ(get("d"), std::string(100, 'x'));
  EXPECT_TRUE(cache->async_clear().get());
  EXPECT_EQ(get("d"), "error not_found");
  EXPECT_EQ(outcome(cache->async_train_dictionary().get()), "not_supported") << "it is empty";
}

TEST_F(Operations, UpdatesTouchesAndClearsToComeKeepTheirPlaceAmongOtherWrites) {
  using enum Change::Kind;
  std::string grown;
  const auto append = [&](const Value* now) -> Change {
    grown = (now == nullptr ? "" : now->str()) + "+";
    return {.kind = store, .value = std::as_bytes(std::span(grown)), .options = {}};
  };
  Countdown left(6);
  const auto done = [&](const auto& result) {
    EXPECT_TRUE(result) << outcome(result);
    left.done();
  };
  cache->async_store("key", "1").start(done);
  cache->async_update("key", append).start(done);
  cache->async_store_buffered("other", "2").start(done);
  cache->async_update_buffered("key", append).start(done);
  cache->async_touch("key", 10s).start(done);
  cache->async_touch_buffered("other", 20s).start(done);
  left.wait();
  EXPECT_EQ(get_all({"key", "other"}), (std::vector<std::string>{"1++", "2"}));
  EXPECT_EQ(outcome(cache->async_touch("nobody", 10s).get()), "not_found");
  clock += 15;
  EXPECT_EQ(get_all({"key", "other"}), (std::vector<std::string>{"error not_found", "2"}));
  EXPECT_TRUE(cache->async_clear_at(clock + 1).get());
  EXPECT_EQ(get("other"), "2");
  clock += 1;
  EXPECT_EQ(get("other"), "error not_found");
}

TEST_F(Operations, AStartedStoreIsDurableWhenItsCallbackIsCalled) {
  Countdown left(1);
  std::string told;
  cache->async_store("key", "value").start([&](Result<void> result) {
    told = outcome(result);
    left.done();
  });
  left.wait();
  EXPECT_EQ(told, "ok");
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "value");
}

Coroutine store_and_look(RawDiskCache& cache, std::string& told, Countdown& left) {
  const auto stored = co_await cache.async_store("key", "value", {.ttl = 10s, .flags = 3});
  const auto found = co_await cache.async_lookup("key");
  const auto missing = co_await cache.async_lookup("nobody stored this key, which is a long one");
  told = outcome(stored) + " " + text(found) + " " + text(missing);
  left.done();
}

TEST_F(Operations, AnyCoroutineCanAwaitThem) {
  Countdown left(1);
  std::string told;
  store_and_look(*cache, told, left);
  left.wait();
  EXPECT_EQ(told, "ok value error not_found");
}

TEST_F(Operations, NothingHappensBeforeTheyAreBegun) {
  {
    const auto dropped = cache->async_store("key", "value");
  }
  auto moved = cache->async_store("other", "value");
  auto kept = std::move(moved);
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get("other"), "error not_found");
  EXPECT_TRUE(std::move(kept).get());
  EXPECT_EQ(get("other"), "value");
  EXPECT_EQ(cache->stats().async_calls, 0u) << "get is carried out by the caller";
}

TEST_F(Operations, ThereAreNoThreadsBeforeTheFirstIsBegun) {
  const std::size_t before = threads_of_this_process();
  EXPECT_TRUE(cache->async_store("key", "value").get());
  EXPECT_EQ(threads_of_this_process(), before);
  Countdown left(1);
  cache->async_lookup("key").start([&](Result<Value>) { left.done(); });
  left.wait();
  EXPECT_GT(threads_of_this_process(), before);
  EXPECT_TRUE(cache->close());
  EXPECT_EQ(threads_of_this_process(), before);
}

TEST_F(Operations, IdleThreadsSleep) {
  Countdown left(2);
  cache->async_store("key", "value").start([&](Result<void>) { left.done(); });
  cache->async_lookup("key").start([&](Result<Value>) { left.done(); });
  left.wait();
  const auto cpu = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const auto before = cpu();
  std::this_thread::sleep_for(1s);
  EXPECT_LT(cpu() - before, 20ms) << "docs/async.md says how to measure the 0.1 %";
}

// --- Together ---

TEST_F(Operations, LookupsThatComeTogetherAreOneBatch) {
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "value"));
  ASSERT_TRUE(cache->flush_writes());
  // Two readers are held back; meanwhile the rest comes together.
  hold_back(Op::read);
  Countdown left(64);
  std::atomic<int> wrong{0};
  const auto look = [&](int i) {
    cache->async_lookup(key(i)).start([&](Result<Value> value) {
      if (text(value) != "value") ++wrong;
      left.done();
    });
  };
  look(0);
  gate.wait_for_one();
  look(1);
  while (cache->stats().lookups < 2) std::this_thread::yield();
  const Stats before = cache->stats();
  for (int i = 2; i < 64; ++i) look(i);
  gate.open();
  left.wait();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(cache->stats().batches - before.batches, 2u);
  EXPECT_EQ(cache->stats().lookups - before.lookups, 62u);
}

TEST_F(Operations, GetAllReadsTogetherAndKeepsTheOrder) {
  ASSERT_TRUE(cache->store("b", "2"));
  std::vector<Operation<Result<Value>>> wanted;
  wanted.push_back(cache->async_lookup("a"));
  wanted.push_back(cache->async_lookup("b"));
  wanted.push_back(cache->async_lookup_or_load(
      "c", [](std::string_view, LoadReply reply) { reply(Loaded("3")); }));
  const auto found = rawcache::get_all(std::move(wanted));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(text(found[0]) + text(found[1]) + text(found[2]), "error not_found23");
  EXPECT_TRUE(rawcache::get_all(std::vector<Operation<Result<void>>>()).empty());
}

TEST_F(Operations, StoresThatComeTogetherShareOneSync) {
  hold_back(Op::sync);
  Countdown left(65);
  const auto store = [&](int i) {
    cache->async_store(key(i), "value").start([&](Result<void> result) {
      EXPECT_TRUE(result);
      left.done();
    });
  };
  store(0);
  gate.wait_for_one();
  const std::uint64_t syncs = faults().count(Op::sync);
  for (int i = 1; i < 65; ++i) store(i);
  gate.open();
  left.wait();
  EXPECT_LE(faults().count(Op::sync) - syncs, 3u) << "64 stores";
  crash(CrashPolicy::lose_all);
  for (int i = 0; i < 65; ++i) EXPECT_EQ(get(key(i)), "value");
}

TEST_F(Operations, WritesKeepTheOrderInWhichTheyWereBegun) {
  Countdown left(301);
  for (int i = 0; i < 100; ++i) {
    const auto done = [&](const auto&) { left.done(); };
    cache->async_store_buffered("key", std::to_string(i)).start(done);
    cache->async_remove("key").start(done);
    cache->async_store("key", "last of " + std::to_string(i)).start(done);
  }
  cache->async_flush_writes().start([&](const auto&) { left.done(); });
  left.wait();
  EXPECT_EQ(get("key"), "last of 99");
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "last of 99");
}

TEST_F(Operations, AFailedCommitIsToldToEveryStoreInItAndWithdrawsThem) {
  ASSERT_TRUE(cache->store("key", "old"));
  faults().fail(Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  std::vector<Operation<Result<void>>> stores;
  stores.push_back(cache->async_store("key", "new"));
  stores.push_back(cache->async_store("", "no key"));
  stores.push_back(cache->async_store("other", "new"));
  const auto results = rawcache::get_all(std::move(stores));
  EXPECT_EQ(outcome(results[0]), "sync_failed");
  EXPECT_EQ(outcome(results[1]), "key_empty");
  EXPECT_EQ(outcome(results[2]), "sync_failed");
  EXPECT_EQ(get("key"), "old");
  EXPECT_EQ(get("other"), "error not_found");
  faults().heal();
}

TEST_F(Operations, ValuesThatDoNotFitIntoMemoryTogetherAreReadOneAfterAnother) {
  // Four times the read buffer in all.
  const std::string value = value_of("v", 1, 30'000);
  options.read_buffer_bytes = 128_KiB;
  reopen();
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(cache->store_buffered(key(i), value));
  ASSERT_TRUE(cache->flush_writes());
  hold_back(Op::read);
  Countdown left(16);
  std::atomic<int> right{0};
  const auto look = [&](int i) {
    cache->async_lookup(key(i)).start([&](Result<Value> found) {
      if (text(found) == value) ++right;
      left.done();
    });
  };
  look(0);
  gate.wait_for_one();
  for (int i = 1; i < 16; ++i) look(i);
  gate.open();
  left.wait();
  EXPECT_EQ(right, 16);
}

// --- Dropping ---

Coroutine look_for_ever(RawDiskCache& cache, bool& resumed) {
  const std::string long_key(100, 'k');
  const auto stored = co_await cache.async_store(long_key, std::string(1000, 'v'));
  resumed = true;
}

TEST_F(Operations, ACoroutineMayBeDestroyedWhileItWaits) {
  hold_back(Op::sync);
  bool resumed = false;
  const Coroutine waiting = look_for_ever(*cache, resumed);
  gate.wait_for_one();
  waiting.handle.destroy();
  gate.open();
  EXPECT_TRUE(cache->close());
  EXPECT_FALSE(resumed);
  open();
  EXPECT_EQ(get(std::string(100, 'k')), std::string(1000, 'v')) << "what was begun goes on";
}

TEST_F(Operations, CloseCarriesOutWhatWasBegun) {
  hold_back(Op::sync);
  std::atomic<int> ok{0};
  const auto count = [&](Result<void> result) { ok += result.has_value() ? 1 : 0; };
  cache->async_store(key(0), "value").start(count);
  gate.wait_for_one();
  for (int i = 1; i < 50; ++i) cache->async_store(key(i), "value").start(count);
  std::thread opener([this] {
    std::this_thread::sleep_for(20ms);
    gate.open();
  });
  EXPECT_TRUE(cache->close());
  EXPECT_EQ(ok, 50);
  opener.join();
  open();
  EXPECT_EQ(get(key(49)), "value");
}

TEST_F(Operations, AChainOfCallbacksEndsWithTheCache) {
  ASSERT_TRUE(cache->store("key", "value"));
  std::atomic<int> rounds{0}, closed{0};
  std::function<void()> again = [&] {
    cache->async_lookup("key").start([&](Result<Value> value) {
      ++rounds;
      if (outcome(value) == "closed") {
        ++closed;
      } else {
        again();
      }
    });
  };
  for (int i = 0; i < 8; ++i) again();
  while (rounds < 100) std::this_thread::yield();
  EXPECT_TRUE(cache->close());
  EXPECT_EQ(closed, 8);
}

Coroutine look_until_closed(RawDiskCache& cache, Countdown& left) {
  for (;;) {
    const auto found = co_await cache.async_lookup("key");
    if (!found && found.error() == Errc::closed) break;
  }
  // On the closed cache a coroutine goes on without being suspended: no recursion.
  for (int i = 0; i < 100'000; ++i) {
    const auto stored = co_await cache.async_store("key", "value");
    if (outcome(stored) != "closed") co_return;
  }
  left.done();
}

TEST_F(Operations, CoroutinesOnAClosedCacheGetClosed) {
  ASSERT_TRUE(cache->store("key", "value"));
  Countdown left(4);
  for (int i = 0; i < 4; ++i) look_until_closed(*cache, left);
  EXPECT_TRUE(cache->close());
  left.wait();
}

TEST_F(Operations, AnOperationOutlivesItsCache) {
  auto first = cache->async_lookup("key");
  auto second = cache->async_store("key", "value");
  auto third = cache->async_lookup_batch(std::vector<std::string>{"a", "b"});
  close();
  EXPECT_EQ(outcome(std::move(first).get()), "closed");
  std::string told;
  std::move(second).start([&](Result<void> result) { told = outcome(result); });
  EXPECT_EQ(told, "closed");
  const auto found = std::move(third).get();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(outcome(found[1]), "closed");
}

TEST_F(Operations, ACacheMayBeMovedWhileTheyAreUnderWay) {
  Countdown left(200);
  for (int i = 0; i < 100; ++i) {
    cache->async_store_buffered(key(i), "value").start([&](Result<void>) { left.done(); });
  }
  RawDiskCache moved = std::move(*cache);
  cache.reset();
  for (int i = 0; i < 100; ++i) {
    moved.async_lookup(key(i)).start([&](Result<Value>) { left.done(); });
  }
  left.wait();
  EXPECT_EQ(text(moved.lookup(key(99))), "value");
  cache.emplace(std::move(moved));  // for the fixture
}

// --- Completion::poll ---

class Polled : public Operations {
 protected:
  Polled() {
    options.completion = Completion::poll;
    reopen();
  }
};

TEST_F(Polled, CallbacksRunInPollOnly) {
  const auto here = std::this_thread::get_id();
  int called = 0;
  for (int i = 0; i < 32; ++i) {
    cache->async_store_buffered(key(i), "value").start([&](Result<void> result) {
      EXPECT_TRUE(result);
      EXPECT_EQ(std::this_thread::get_id(), here);
      ++called;
    });
  }
  pump(called, 32);
  EXPECT_FALSE(readable());
  EXPECT_EQ(cache->poll(), 0u);
  EXPECT_EQ(cache->stats().async_in_flight, 0u);
}

TEST_F(Polled, CoroutinesGoOnInPoll) {
  Countdown left(1);
  std::string told;
  store_and_look(*cache, told, left);
  for (int rounds = 0; told.empty() && rounds < 1000; ++rounds) {
    cache->poll();
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(told, "ok value error not_found");
}

TEST_F(Polled, CloseHandsOverWhatHasEnded) {
  int called = 0;
  for (int i = 0; i < 10; ++i) {
    cache->async_store(key(i), "value").start([&](Result<void> result) {
      EXPECT_EQ(outcome(result), "ok");
      ++called;
    });
  }
  EXPECT_TRUE(cache->close());
  EXPECT_EQ(called, 10);
}

TEST_F(Polled, ACallbackMayDestroyTheCache) {
  ASSERT_TRUE(cache->store("key", "value"));
  int called = 0;
  for (int i = 0; i < 3; ++i) {
    cache->async_lookup("key").start([&](Result<Value>) {
      ++called;
      cache.reset();
    });
  }
  while (called == 0) cache->poll();
  EXPECT_EQ(called, 3);
}

TEST_F(Polled, TheCallerGetsWithoutPolling) {
  EXPECT_TRUE(cache->async_store("key", "value").get());
  EXPECT_EQ(text(cache->async_lookup("key").get()), "value");
}

TEST_F(Operations, WithoutPollThereIsNoDescriptor) {
  EXPECT_EQ(cache->native_handle(), -1);
  EXPECT_EQ(cache->poll(), 0u);
}

}  // namespace
}  // namespace rawcache::testing
