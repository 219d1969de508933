// lookup_or_load: one load per key however many want it, one call of the loader per batch, errors
// for all who wait and for nobody after them, and no load that undoes what was written while it
// was under way.
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <utility>

#include "async/async_support.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;

class Loads : public SmallCacheTest {
 protected:
  /// Finds "loaded <key>", and counts.
  Result<Loaded> load(std::string_view key) {
    ++calls;
    return Loaded("loaded " + std::string(key));
  }
  Loader loader() {
    return [this](std::string_view key) { return load(key); };
  }
  BatchLoader batch_loader() {
    return [this](std::span<const std::string_view> keys) {
      ++calls;
      std::vector<Result<Loaded>> loaded;
      for (const std::string_view key : keys) {
        asked.emplace_back(key);
        loaded.push_back(Loaded("loaded " + std::string(key)));
      }
      return loaded;
    };
  }

  std::atomic<int> calls{0};
  std::vector<std::string> asked;
};

TEST_F(Loads, AMissIsLoadedStoredAndReturnedAHitIsNot) {
  const auto loaded = cache->lookup_or_load("key", loader());
  EXPECT_EQ(text(loaded), "loaded key");
  EXPECT_GT(loaded->sequence(), 0u);
  EXPECT_EQ(get("key"), "loaded key");
  EXPECT_EQ(text(cache->lookup_or_load("key", loader())), "loaded key");
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(cache->stats().pending_writes, 1u) << "buffered by default";
  EXPECT_EQ(cache->stats().loads, 1u);
}

TEST_F(Loads, ItIsStoredAsTheOptionsOrTheLoaderSay) {
  ASSERT_TRUE(cache->lookup_or_load("a", loader(), {.store = {.flags = 1}, .durable = true}));
  const auto own = cache->lookup_or_load("b", [](std::string_view) -> Result<Loaded> {
    return Loaded("b", StoreOptions{.ttl = std::chrono::seconds(60), .flags = 2});
  });
  EXPECT_EQ(own->flags(), 2u);
  EXPECT_EQ(own->expires_at(), clock + 60);
  ASSERT_TRUE(cache->lookup_or_load("c", [](std::string_view) -> Result<Loaded> {
    Loaded loaded("c");
    loaded.store = false;
    return loaded;
  }));
  EXPECT_EQ(get("c"), "error not_found");
  EXPECT_EQ(cache->lookup("a")->flags(), 1u);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("a"), "loaded a");
}

TEST_F(Loads, WhoComesWhileAKeyIsBeingLoadedWaitsForThatLoad) {
  std::thread second;
  const auto found = cache->lookup_or_load("key", [&](std::string_view key) {
    second =
        std::thread([&] { EXPECT_EQ(text(cache->lookup_or_load("key", loader())), "loaded key"); });
    while (cache->stats().load_waits == 0 && calls == 0) std::this_thread::yield();
    return load(key);
  });
  second.join();
  EXPECT_EQ(text(found), "loaded key");
  EXPECT_EQ(calls, 1);
}

TEST_F(Loads, AThousandCallersOnOneColdKeyMakeOneLoad) {
  constexpr int kBlocking = 100, kAsync = 900;
  Countdown left(kAsync);
  std::atomic<int> wrong{0};
  const auto slow = [this](std::string_view key) {
    while (cache->stats().load_waits < kBlocking + kAsync - 1) std::this_thread::yield();
    return load(key);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kBlocking; ++i) {
    threads.emplace_back([&] {
      if (text(cache->lookup_or_load("key", slow)) != "loaded key") ++wrong;
    });
  }
  while (cache->stats().loads == 0) std::this_thread::yield();
  for (int i = 0; i < kAsync; ++i) {
    cache
        ->async_lookup_or_load("key",
                               [this](std::string_view key, LoadReply reply) { reply(load(key)); })
        .start([&](Result<Value> value) {
          if (text(value) != "loaded key") ++wrong;
          left.done();
        });
  }
  for (auto& thread : threads) thread.join();
  left.wait();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(cache->stats().loads, 1u);
  EXPECT_EQ(cache->stats().load_waits, 999u);
}

TEST_F(Loads, ABatchAsksItsLoaderOnceForEverythingThatIsMissing) {
  ASSERT_TRUE(cache->store("b", "stored b"));
  const std::vector<std::string> keys{"a", "b", "c", "a", ""};
  const auto found = cache->lookup_or_load_batch(keys, batch_loader());
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(text(found[0]), "loaded a");
  EXPECT_EQ(text(found[1]), "stored b");
  EXPECT_EQ(text(found[2]), "loaded c");
  EXPECT_EQ(text(found[3]), "loaded a");
  EXPECT_EQ(text(found[4]), "error key_empty");
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(asked, (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(get("c"), "loaded c");
}

TEST_F(Loads, BatchesThatWantEachOthersKeysDoNotWaitForEver) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 30; ++round) {
        std::vector<std::string> keys;
        for (int i = 0; i < 8; ++i) {
          keys.push_back("round " + std::to_string(round) + " key " + std::to_string((i + t) % 8));
        }
        const auto found = cache->lookup_or_load_batch(keys, [&](auto missing) {
          calls += static_cast<int>(missing.size());
          std::vector<Result<Loaded>> loaded;
          for (const std::string_view key : missing) loaded.push_back(Loaded(std::string(key)));
          return loaded;
        });
        for (std::size_t i = 0; i < keys.size(); ++i) wrong += text(found[i]) != keys[i];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(calls, 8 * 30) << "each key once";
}

// --- Failures ---

TEST_F(Loads, AFailureIsToldAndNotRemembered) {
  const auto failing = [this](std::string_view) -> Result<Loaded> {
    ++calls;
    return std::unexpected(Error(Errc::not_found, "not at the origin either"));
  };
  EXPECT_EQ(outcome(cache->lookup_or_load("key", failing)), "not_found");
  EXPECT_EQ(outcome(cache->lookup_or_load("key", failing)), "not_found");
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(text(cache->lookup_or_load("key", loader())), "loaded key");
  EXPECT_EQ(cache->stats().load_failures, 2u);
}

TEST_F(Loads, AFailureReachesEverybodyWhoWaits) {
  std::atomic<int> failed{0};
  const auto failing = [this](std::string_view) -> Result<Loaded> {
    while (cache->stats().load_waits < 7) std::this_thread::yield();
    throw std::runtime_error("the origin is down");
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto found = cache->lookup_or_load("key", failing);
      failed += !found && found.error() == Errc::load_failed &&
                found.error().detail() == "the origin is down";
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed, 8);
}

TEST_F(Loads, ALoaderThatBreaksTheRulesFails) {
  const std::vector<std::string> keys{"a", "b"};
  for (const auto& result : cache->lookup_or_load_batch(
           keys, [](auto) { return std::vector<Result<Loaded>>{Loaded("one")}; })) {
    EXPECT_EQ(outcome(result), "load_failed");
  }
  const auto recursive = [this](std::string_view key) -> Result<Loaded> {
    const auto inner = cache->lookup_or_load(key, loader());
    EXPECT_EQ(outcome(inner), "load_failed") << "waits for itself";
    return Loaded("outer");
  };
  EXPECT_EQ(text(cache->lookup_or_load("key", recursive)), "outer");
  EXPECT_EQ(
      outcome(cache->async_lookup_or_load("no reply", [](std::string_view, LoadReply) {}).get()),
      "load_failed");
}

TEST_F(Loads, WhatCannotBeStoredIsHandedOutAllTheSame) {
  const std::string large(1_MiB, 'x');
  const auto found = cache->lookup_or_load(
      "key", [&](std::string_view) -> Result<Loaded> { return Loaded(large); });
  EXPECT_EQ(text(found), large);
  EXPECT_EQ(cache->stats().loads_not_stored, 1u);
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(Loads, AnEntryThatCannotBeReadIsLoaded) {
  ASSERT_TRUE(cache->store("key", "stored"));
  faults().fail(Op::read, 1, EIO, FaultyDisk::Repeat::for_ever);
  EXPECT_EQ(text(cache->lookup_or_load("key", loader())), "loaded key");
  faults().heal();
  EXPECT_EQ(get("key"), "loaded key");
}

// Between the lookup that does not find the key and the watch there is room for a store.
TEST_F(Loads, WhatWasStoredBeforeTheLoadBeganToWatchIsFoundAndNotLoaded) {
  ASSERT_TRUE(cache->store("key", "old"));
  faults().fail(Op::read, 1, EIO);
  bool stored = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != Op::read || std::exchange(stored, true)) return;
    EXPECT_TRUE(cache->store_buffered("key", "newer"));
  });
  EXPECT_EQ(text(cache->lookup_or_load("key", loader())), "newer");
  device->at_each_request({});
  EXPECT_TRUE(stored);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(get("key"), "newer");
}

// --- The rule: what is written while a key is being loaded stays ---

TEST_F(Loads, AStoreDuringTheLoadIsNotOverwritten) {
  const auto found = cache->lookup_or_load("key", [this](std::string_view key) {
    EXPECT_TRUE(cache->store_buffered("key", "newer"));
    return load(key);
  });
  EXPECT_EQ(text(found), "loaded key");
  EXPECT_EQ(get("key"), "newer");
  EXPECT_EQ(cache->stats().loads_not_stored, 1u);
}

TEST_F(Loads, ARemoveDuringTheLoadIsNotUndone) {
  for (const bool durable : {false, true}) {
    const auto found = cache->lookup_or_load(
        "key",
        [&](std::string_view key) {
          EXPECT_TRUE(durable ? cache->remove("key") : cache->remove_buffered("key"));
          return load(key);
        },
        {.durable = durable});
    EXPECT_EQ(text(found), "loaded key");
    EXPECT_EQ(get("key"), "error not_found");
  }
  crash(CrashPolicy::keep_all);
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(Loads, AClearDuringTheLoadIsNotUndone) {
  EXPECT_TRUE(cache->lookup_or_load("key", [this](std::string_view key) {
    EXPECT_TRUE(cache->clear());
    return load(key);
  }));
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(Loads, WritesOfOtherKeysDoNotMatter) {
  EXPECT_TRUE(cache->lookup_or_load("key", [this](std::string_view key) {
    EXPECT_TRUE(cache->remove("other"));
    return load(key);
  }));
  EXPECT_EQ(get("key"), "loaded key");
}

// Writer and loaders race; the version that a load finds is read before the writer raises it, so
// an older version in the cache after a newer one was stored would be a load that undid it.
TEST_F(Loads, UnderRacingWritesTheNewestStays) {
  std::atomic<int> origin{0};
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> loaders;
  for (int t = 0; t < 4; ++t) {
    loaders.emplace_back([&] {
      while (!stop) {
        const auto found = cache->lookup_or_load("key", [&](std::string_view) -> Result<Loaded> {
          return Loaded(std::to_string(origin.load()));
        });
        if (!found) ++wrong;
      }
    });
  }
  for (int version = 1; version <= 1500; ++version) {
    origin = version;
    ASSERT_TRUE(cache->remove_buffered("key"));  // "invalidate": the next load finds the newest
    const auto found = cache->lookup("key");
    if (found && std::stoi(found->str()) < version) ++wrong;
  }
  stop = true;
  for (auto& thread : loaders) thread.join();
  EXPECT_EQ(wrong, 0);
}

// --- Asynchronously ---

TEST_F(Loads, AReplyMayComeLaterFromAnotherThread) {
  Countdown left(1), asked_once(1);
  std::string told;
  std::optional<LoadReply> reply;
  cache
      ->async_lookup_or_load("key",
                             [&](std::string_view, LoadReply later) {
                               reply = std::move(later);
                               asked_once.done();
                             })
      .start([&](Result<Value> value) {
        told = text(value);
        left.done();
      });
  asked_once.wait();
  ASSERT_TRUE(cache->store("other", "the threads are free meanwhile"));
  std::thread([&] { (*reply)(Loaded("late")); }).join();
  left.wait();
  EXPECT_EQ(told, "late");
  EXPECT_EQ(get("key"), "late");
}

TEST_F(Loads, CloseDoesNotWaitForAReplyAndALateOneHasNoEffect) {
  Countdown asked_once(1);
  std::string told, second;
  std::optional<LoadReply> reply;
  cache
      ->async_lookup_or_load("key",
                             [&](std::string_view, LoadReply later) {
                               reply = std::move(later);
                               asked_once.done();
                             })
      .start([&](Result<Value> value) { told = outcome(value); });
  asked_once.wait();
  cache->async_lookup_or_load("key", [](std::string_view, LoadReply) { FAIL(); })
      .start([&](Result<Value> value) { second = outcome(value); });
  while (cache->stats().load_waits == 0) std::this_thread::yield();
  close();
  EXPECT_EQ(told, "closed");
  EXPECT_EQ(second, "closed");
  (*reply)(Loaded("too late"));
  reply.reset();
  open();
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(Loads, WithPollTheLoaderRunsInPoll) {
  options.completion = Completion::poll;
  reopen();
  const auto here = std::this_thread::get_id();
  int called = 0;
  cache
      ->async_lookup_or_load("key",
                             [&](std::string_view key, LoadReply reply) {
                               EXPECT_EQ(std::this_thread::get_id(), here);
                               reply(load(key));
                             })
      .start([&](Result<Value> value) {
        EXPECT_EQ(text(value), "loaded key");
        EXPECT_EQ(std::this_thread::get_id(), here);
        ++called;
      });
  while (called == 0) cache->poll();
  // Not yet asked for when the cache is closed.
  cache->async_lookup_or_load("other", [](std::string_view, LoadReply) { FAIL(); })
      .start([&](Result<Value> value) {
        EXPECT_EQ(outcome(value), "closed");
        ++called;
      });
  close();
  EXPECT_EQ(called, 2);
  open();
}

}  // namespace
}  // namespace rawcache::testing
