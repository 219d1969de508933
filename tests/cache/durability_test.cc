// C1, C2, C3, C5, C6: what is acknowledged survives every power cut, a batch survives whole or not
// at all, and nothing that was removed or overwritten comes back. Power is cut by SimDisk, which
// may lose, keep and tear whatever was not synced.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

constexpr CrashPolicy kPolicies[] = {CrashPolicy::lose_all, CrashPolicy::keep_all,
                                     CrashPolicy::any_whole, CrashPolicy::any_torn};

class Durability : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }

  /// The image that a power cut at the n-th request or sync from now on leaves, while `work` goes
  /// on. nullopt if there are fewer.
  template <typename Work>
  std::optional<std::vector<std::byte>> image_at(std::uint64_t n, CrashPolicy policy,
                                                 std::uint64_t seed, Work work) {
    std::optional<std::vector<std::byte>> image;
    std::uint64_t count = 0;
    device->at_each_request([&](const FaultyDisk::Event& event) {
      if (event.op == FaultyDisk::Op::read || ++count != n) return;
      std::mt19937_64 random(seed);
      image = device->medium().crash(random, policy);
    });
    work();
    device->at_each_request({});
    return image;
  }
};

TEST_F(Durability, AStoreIsDurableOnReturn) {
  for (const CrashPolicy policy : kPolicies) {
    for (std::uint64_t i = 0; i < 5; ++i) {
      const std::string value = value_of(key(i), static_cast<std::uint64_t>(policy), 3000);
      ASSERT_TRUE(cache->store(key(i), value));
      crash(policy, i);
      EXPECT_EQ(get(key(i)), value);
    }
  }
}

TEST_F(Durability, AFlushMakesEverythingBeforeItDurable) {
  for (const CrashPolicy policy : kPolicies) {
    for (std::uint64_t i = 0; i < 100; ++i) {  // several automatic flushes on the way
      ASSERT_TRUE(cache->store_buffered(key(i), value_of(key(i), std::uint64_t(policy), 500)));
    }
    ASSERT_TRUE(cache->flush_writes());
    crash(policy, 5);
    for (std::uint64_t i = 0; i < 100; ++i) {
      ASSERT_EQ(get(key(i)), value_of(key(i), std::uint64_t(policy), 500));
    }
  }
}

TEST_F(Durability, AStoreMakesWhatWasBufferedBeforeItDurable) {
  ASSERT_TRUE(cache->store_buffered("buffered", "1"));
  ASSERT_TRUE(cache->remove_buffered("nothing"));
  ASSERT_TRUE(cache->store("direct", "2"));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get_all({"direct", "buffered"}), (std::vector<std::string>{"2", "1"}));
}

TEST_F(Durability, ARemoveIsDurableOnReturnAndOneOfNothingIsFine) {
  ASSERT_TRUE(cache->store("key", "value"));
  ASSERT_TRUE(cache->remove("key"));
  ASSERT_TRUE(cache->remove("never stored"));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->store("key", "again"));
  ASSERT_TRUE(cache->remove_buffered("key"));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "again") << "a buffered remove waits for the flush";
}

/// The values of the batch before and after, looked up.
void expect_all_or_nothing(RawDiskCache& cache, int entries, bool& whole, bool& nothing) {
  int fresh = 0;
  for (int i = 0; i < entries; ++i) {
    const std::string name = "key " + std::to_string(i);
    const std::string found = text(cache.lookup(name));
    if (found.starts_with(name + "#2|")) {
      ++fresh;
    } else {
      ASSERT_TRUE(found.starts_with(name + "#1|")) << found.substr(0, 40);
    }
  }
  ASSERT_TRUE(fresh == 0 || fresh == entries) << fresh << " of " << entries;
  (fresh == 0 ? nothing : whole) = true;
}

class BatchSize : public Durability, public ::testing::WithParamInterface<std::size_t> {};
// Up to sizes where 32 entries lie in two, three and four segments.
INSTANTIATE_TEST_SUITE_P(Durability, BatchSize, ::testing::Values(10, 500, 3000, 5000));

TEST_P(BatchSize, ABatchSurvivesAPowerCutWholeOrNotAtAll) {
  constexpr int kEntries = 32;
  const auto store_all = [&](std::uint64_t version) {
    for (std::uint64_t i = 0; i < kEntries; ++i) {
      ASSERT_TRUE(cache->store_buffered(key(i), value_of(key(i), version, GetParam())));
    }
    ASSERT_TRUE(cache->flush_writes());
  };
  bool whole = false;
  bool nothing = false;
  // Before each request, and after the last. Only one in six torn batches keeps its header.
  bool after_the_last = false;
  for (std::uint64_t n = 1; !after_the_last; ++n) {
    for (std::uint64_t seed = 0; seed <= (after_the_last ? 0 : 14); ++seed) {
      const CrashPolicy policy = kPolicies[std::min<std::uint64_t>(seed, 3)];
      SCOPED_TRACE("cut before request " + std::to_string(n) + ", seed " + std::to_string(seed));
      make_device(6_MiB);  // large enough that no checkpoint flushes a part of the batch,
      options.eviction = EvictionPolicyKind::fifo;  // with those of fifo
      open();
      store_all(1);
      auto image = image_at(n, policy, seed * 100 + n, [&] { store_all(2); });
      after_the_last = !image;
      if (!image) image = device->medium().durable_content();
      replace_device(std::move(*image));
      ASSERT_NO_FATAL_FAILURE(open());
      expect_all_or_nothing(*cache, kEntries, whole, nothing);
      // The verdict stands, however often it is opened again.
      const std::string verdict = get(key(0));
      for (int again = 0; again < 2; ++again) {
        SCOPED_TRACE("opened again");
        again == 0 ? crash(CrashPolicy::lose_all) : reopen();
        bool whole_again = false;
        bool nothing_again = false;
        expect_all_or_nothing(*cache, kEntries, whole_again, nothing_again);
        ASSERT_EQ(get(key(0)), verdict);
      }
      cache.reset();
    }
  }
  EXPECT_TRUE(whole && nothing) << "both must have been seen";
}

// Cycles of stores, removes, overwrites, flushes and power cuts on a cache so small that every
// segment is reused again and again. The model knows for each key which versions may be found:
// everything acknowledged is final, what was not may be there or not, but older never comes back.
class NoResurrection : public Durability, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  struct State {
    std::uint64_t acknowledged = 0;  ///< version durable for sure; odd versions are removes
    std::uint64_t newest = 0;        ///< version called last, or found after a power cut
    std::uint64_t failed = 0;        ///< version of a direct store that failed; a crash may show it
    std::uint64_t used = 0;          ///< highest version ever used
    std::uint64_t next_store() { return used = used + 2 - used % 2; }
    std::uint64_t next_remove() { return used = used + 1 + used % 2; }
  };

  void step(std::mt19937_64& random) {
    const std::string name = key(random() % 40);
    State& state = states_[name];
    const std::size_t size = random() % 8 == 0 ? 9000 : 30 + random() % 900;
    switch (random() % 8) {
      case 0:
      case 1:
        state.newest = state.next_store();
        ASSERT_TRUE(cache->store(name, value_of(name, state.newest, size)));
        acknowledge();
        break;
      case 2:
        state.newest = state.next_remove();
        ASSERT_TRUE(cache->remove(name));
        acknowledge();
        break;
      case 3:
        state.newest = state.next_remove();
        ASSERT_TRUE(cache->remove_buffered(name));
        break;
      default:
        state.newest = state.next_store();
        ASSERT_TRUE(cache->store_buffered(name, value_of(name, state.newest, size)));
    }
    if (random() % 40 == 0 && cache->flush_writes()) acknowledge();
    if (random() % 60 == 0) {
      ASSERT_TRUE(cache->maintain());
    }
  }
  /// Everything called so far is durable.
  void acknowledge() {
    for (auto& [name, state] : states_) state.acknowledged = state.newest;
  }
  /// What is found must be of a version from the acknowledged one on, or nothing if that may be.
  void check(const std::string& when) {
    for (auto& [name, state] : states_) {
      const std::string found = get(name);
      if (found == "error not_found") continue;  // evicted, removed, or not acknowledged
      ASSERT_TRUE(found.starts_with(name + "#")) << when << found.substr(0, 60);
      const std::uint64_t version = std::stoull(found.substr(name.size() + 1));
      ASSERT_EQ(found, value_of(name, version, found.size())) << when;
      ASSERT_GE(version, state.acknowledged) << when << name << " has come back";
      ASSERT_LE(version, std::max(state.newest, state.failed)) << when << name;
    }
  }
  /// After a power cut what is found then is final, and so is what is not.
  void settle() {
    for (auto& [name, state] : states_) {
      const std::string found = get(name);
      state.newest = found == "error not_found" ? state.next_remove()
                                                : std::stoull(found.substr(name.size() + 1));
      state.acknowledged = state.newest;
      state.failed = 0;
    }
  }

  std::map<std::string, State> states_;
};
INSTANTIATE_TEST_SUITE_P(Durability, NoResurrection, ::testing::Range<std::uint64_t>(1, 13));

TEST_P(NoResurrection, WhatWasRemovedOrOverwrittenStaysSo) {
  std::mt19937_64 random(GetParam());
  format.segment_bytes = GetParam() % 2 == 0 ? 64_KiB : 32_KiB;
  make_device(GetParam() % 3 == 0 ? 1_MiB : 768_KiB);
  open();
  for (int cycle = 0; cycle < 25; ++cycle) {
    const std::string when = "cycle " + std::to_string(cycle) + ": ";
    const std::uint64_t steps = random() % 200;
    for (std::uint64_t i = 0; i < steps; ++i) {
      ASSERT_NO_FATAL_FAILURE(step(random)) << when;
    }
    ASSERT_NO_FATAL_FAILURE(check(when));
    const std::uint64_t dice = random() % 6;
    if (dice == 0) {
      ASSERT_NO_FATAL_FAILURE(reopen());
      acknowledge();
    } else {
      ASSERT_NO_FATAL_FAILURE(crash(kPolicies[random() % 4], random()));
    }
    ASSERT_NO_FATAL_FAILURE(check(when + "reopened, "));
    settle();
  }
  EXPECT_GT(cache->stats().segments, 4u);
}

TEST_P(NoResurrection, NotAfterFailedFlushesEither) {
  std::mt19937_64 random(GetParam() + 1000);
  make_device(1_MiB);
  open();
  for (int cycle = 0; cycle < 15; ++cycle) {
    const std::string when = "cycle " + std::to_string(cycle) + ": ";
    for (int burst = 0; burst < 8; ++burst) {
      const auto op = random() % 2 == 0 ? FaultyDisk::Op::write : FaultyDisk::Op::sync;
      faults().fail(op, 1 + random() % 4, EIO);
      for (int i = 0; i < 12; ++i) {
        const std::string name = key(random() % 20);
        State& state = states_[name];
        const std::uint64_t version = state.next_store();
        const bool direct = random() % 2 == 0;
        const std::string value = value_of(name, version, 100 + random() % 3000);
        const std::string before = get(name);
        const auto stored = direct ? cache->store(name, value) : cache->store_buffered(name, value);
        const bool accepted = stored || (!direct && stored.error() == Errc::flush_failed);
        (accepted ? state.newest : state.failed) = version;
        if (stored && direct) acknowledge();
        ASSERT_EQ(get(name), accepted ? value : before) << when << outcome(stored);
      }
      faults().heal();
    }
    if (random() % 2 == 0 && cache->flush_writes()) acknowledge();
    ASSERT_NO_FATAL_FAILURE(crash(kPolicies[random() % 4], random()));
    ASSERT_NO_FATAL_FAILURE(check(when + "reopened, "));
    settle();
  }
}

}  // namespace
}  // namespace rawcache::testing
