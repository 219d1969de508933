// One test for each trap that batched caches fall into: answers matched to the wrong key, what only
// the single path does, buffers lost, gaps filled, space leaked, work that grows with the cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

#include "cache/index.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class Traps : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "k" + std::to_string(i); }
  /// Stores k0 ... with sizes of all kinds and makes them durable.
  void fill(std::uint64_t count, std::size_t size_max = 3000) {
    for (std::uint64_t i = 0; i < count; ++i) {
      ASSERT_EQ(outcome(cache->store_buffered(key(i), value(i, size_max))), "ok");
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  static std::string value(std::uint64_t i, std::size_t size_max = 3000) {
    return value_of(key(i), 1, 1 + i * 7919 % size_max);
  }
};

TEST_F(Traps, BatchAnswersAreThoseOfTheirKeysWhateverTheOrderOnTheDevice) {
  fill(300);
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 300; ++i) keys.push_back(key(i));
  for (std::uint64_t i = 0; i < 50; ++i) keys.push_back("absent " + std::to_string(i));
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(keys.begin(), keys.end(), random);
    const auto texts = get_all(keys);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const bool absent = keys[i].starts_with("absent");
      const std::string wanted = absent ? "error not_found" : value(std::stoull(keys[i].substr(1)));
      ASSERT_EQ(texts[i], wanted) << keys[i];
    }
  }
}

TEST_F(Traps, TheBatchPathKnowsOfExpiry) {
  ASSERT_TRUE(cache->store_buffered("short", "lives for 10 s", {.ttl = std::chrono::seconds(10)}));
  ASSERT_TRUE(cache->store_buffered("long", "lives for 30 s", {.ttl = std::chrono::seconds(30)}));
  ASSERT_TRUE(cache->store_buffered("ever", "lives for ever"));
  const std::vector<std::string> keys{"ever", "short", "long", "short"};
  for (const bool flushed : {false, true}) {
    if (flushed) {
      ASSERT_TRUE(cache->flush_writes());
    }
    EXPECT_EQ(get_all(keys), (std::vector<std::string>{"lives for ever", "lives for 10 s",
                                                       "lives for 30 s", "lives for 10 s"}));
  }
  clock += 10;
  EXPECT_EQ(get_all(keys), (std::vector<std::string>{"lives for ever", "error not_found",
                                                     "lives for 30 s", "error not_found"}));
  EXPECT_GE(cache->stats().expired, 1u);
}

TEST_F(Traps, AFailedFlushLosesNothing) {
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(cache->store_buffered(key(i), value(i)));
  faults().fail(FaultyDisk::Op::write, 1, EIO);
  EXPECT_EQ(outcome(cache->flush_writes()), "io_error");
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(get(key(i)), value(i));
  EXPECT_EQ(cache->stats().pending_writes, 10u);
  EXPECT_EQ(cache->flush_writes().value_or(0), 10u);
  crash(CrashPolicy::lose_all);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(get(key(i)), value(i));
}

TEST_F(Traps, NothingIsWrittenIntoTheGapsBetweenEntries) {
  // Batches of all lengths, so that they end everywhere within a block; what lies around them must
  // stay as it is.
  std::map<std::string, std::string> model;
  std::mt19937_64 random(5);
  for (std::uint64_t i = 0; i < 120; ++i) {
    model[key(i)] = value(i);
    if (random() % 3 == 0) {
      ASSERT_TRUE(cache->store(key(i), model[key(i)]));
    } else {
      ASSERT_TRUE(cache->store_buffered(key(i), model[key(i)]));
    }
    if (i % 10 == 9) {
      for (const auto& [k, v] : model) ASSERT_EQ(get(k), v) << "after " << i;
    }
  }
  crash(CrashPolicy::keep_all);
  for (const auto& [k, v] : model) ASSERT_EQ(get(k), v);
}

TEST_F(Traps, OverwritesInOneBatchAreNotJoined) {
  for (int version = 1; version <= 20; ++version) {
    ASSERT_TRUE(
        cache->store_buffered("key", value_of("key", static_cast<std::uint64_t>(version),
                                              static_cast<std::size_t>(2100 - 100 * version))));
  }
  const std::string last = value_of("key", 20, 100);
  EXPECT_EQ(get("key"), last);
  EXPECT_EQ(get_all({"key", "key"}), (std::vector<std::string>{last, last}));
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(get("key"), last);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), last);
  EXPECT_EQ(cache->stats().entries, 1u);
}

TEST_F(Traps, BufferedEntriesAreReadableByEveryCall) {
  ASSERT_TRUE(cache->store("flushed", "on the device"));
  ASSERT_TRUE(cache->store_buffered("buffered", "in memory"));
  const std::uint64_t writes = cache->stats().device_writes;
  EXPECT_EQ(get("buffered"), "in memory");
  EXPECT_EQ(get_all({"buffered", "flushed"}),
            (std::vector<std::string>{"in memory", "on the device"}));
  EXPECT_TRUE(cache->contains("buffered").value_or(false));
  EXPECT_EQ(all_keys(), (std::set<std::string>{"buffered", "flushed"}));
  EXPECT_EQ(cache->stats().device_writes, writes) << "reading must not flush";
  const std::uint64_t reads = cache->stats().device_reads;
  EXPECT_EQ(get("buffered"), "in memory");
  EXPECT_EQ(cache->stats().device_reads, reads) << "what is buffered is not read from the device";
}

TEST_F(Traps, ABatchOfReadsGoesOutInOneSubmission) {
  constexpr std::uint64_t kEntries = 1000;
  options.read_gap_bytes = 0;
  fill(kEntries, 900);
  reopen();
  std::vector<std::string> keys;
  std::mt19937_64 random(9);
  for (int i = 0; i < 100; ++i) keys.push_back(key(random() % kEntries));
  (void)device->take_calls();
  for (const std::string& answer : get_all(keys)) ASSERT_FALSE(answer.starts_with("error"));
  const auto calls = device->take_calls();
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_GE(calls[0].reads, 50u);
  EXPECT_EQ(calls[0].writes, 0u);
}

TEST_F(Traps, ASingleLookupIsOneRead) {
  fill(100);
  reopen();
  for (std::uint64_t i = 0; i < 100; ++i) {
    (void)device->take_calls();
    ASSERT_EQ(get(key(i)), value(i));
    const auto calls = device->take_calls();
    ASSERT_EQ(calls.size(), 1u) << i;
    ASSERT_EQ(calls[0].reads, 1u) << i;
  }
  (void)device->take_calls();
  EXPECT_EQ(get("nobody"), "error not_found");
  EXPECT_TRUE(device->take_calls().empty()) << "the index knows without reading";
}

TEST_F(Traps, TheKeysAreOnTheDevice) {
  fill(200);
  std::set<std::string> expected;
  for (std::uint64_t i = 0; i < 200; ++i) expected.insert(key(i));
  ASSERT_TRUE(cache->remove(key(7)));
  expected.erase(key(7));
  for (const bool clean : {true, false}) {
    clean ? reopen() : crash(CrashPolicy::lose_all);
    EXPECT_EQ(all_keys(), expected);
    std::map<std::string, std::uint64_t> sizes;
    ASSERT_TRUE(cache->for_each_key([&](const KeyInfo& info) {
      sizes[std::string(info.key)] = info.value_bytes;
      return true;
    }));
    for (std::uint64_t i = 0; i < 200; ++i) {
      const std::uint64_t size = i == 7 ? 0 : value(i).size();  // key 7 is removed
      ASSERT_EQ(sizes[key(i)], size);
    }
  }
}

TEST_F(Traps, OverwritesLeakNoSpace) {
  cache.reset();
  options.eviction = EvictionPolicyKind::fifo;
  open();
  const std::uint64_t capacity = cache->stats().capacity_bytes;
  constexpr std::size_t kSize = 10'000;
  ASSERT_TRUE(cache->store("other", "stays until it is evicted"));
  std::uint64_t version = 0;
  for (std::uint64_t written = 0; written < 10 * capacity; written += kSize, ++version) {
    const std::string value = value_of("key", version, kSize);
    if (version % 50 == 0) {
      ASSERT_EQ(outcome(cache->store("key", value)), "ok") << version;
    } else {
      ASSERT_EQ(outcome(cache->store_buffered("key", value)), "ok") << version;
    }
    ASSERT_LE(cache->stats().entries, 2u);
  }
  EXPECT_EQ(get("key"), value_of("key", version - 1, kSize));
  EXPECT_EQ(get("other"), "error not_found");
  EXPECT_EQ(cache->stats().entries, 1u);
  EXPECT_EQ(cache->stats().evicted, 1u) << "what was overwritten is not evicted";
  reopen();
  EXPECT_EQ(get("key"), value_of("key", version - 1, kSize));
  EXPECT_EQ(cache->stats().entries, 1u);
}

TEST_F(Traps, RemoveFreesNothingThatBelongsToOthers) {
  std::map<std::string, std::string> model;
  for (std::uint64_t i = 0; i < 200; ++i) model[key(i)] = value(i);
  fill(200);
  std::mt19937_64 random(13);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::string removed = key(random() % 200);
    ASSERT_TRUE(i % 2 == 0 ? cache->remove(removed) : cache->remove_buffered(removed));
    model.erase(removed);
    const std::string stored = key(1000 + i);
    model[stored] = value_of(stored, 1, 500);
    ASSERT_TRUE(cache->store_buffered(stored, model[stored]));
  }
  for (const bool crashed : {false, true}) {
    if (crashed) {
      ASSERT_TRUE(cache->flush_writes());
      crash(CrashPolicy::lose_all);
    }
    for (const auto& [k, v] : model) ASSERT_EQ(get(k), v);
    EXPECT_EQ(all_keys().size(), model.size());
  }
}

// Time per touch, so only a factor far beyond what memory caches explain can fail.
TEST(TrapsOfTheIndex, ATouchCostsTheSameInALargeIndex) {
  const auto nanoseconds_per_touch = [](std::uint64_t entries) {
    FormatOptions options;
    options.expected_entries = entries;
    const auto index = Index::create(*lay_out(options, 1_GiB, 512), true);
    std::mt19937_64 random(17);
    std::vector<std::uint64_t> hashes(entries);
    for (std::uint64_t& hash : hashes) {
      hash = random();
      EXPECT_TRUE((*index)->put(hash, {64_MiB + random() % 4096 * 4096, 3}));
    }
    constexpr int kTouches = 300'000;
    double best = 1e9;
    for (int round = 0; round < 3; ++round) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kTouches; ++i) {
        const std::uint64_t hash = hashes[static_cast<std::size_t>(random() % entries)];
        if (const auto location = (*index)->find(hash)) (*index)->touch(hash, location->offset);
      }
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      best = std::min(best, took.count() / kTouches);
    }
    return best;
  };
  EXPECT_LT(nanoseconds_per_touch(100'000), 10 * nanoseconds_per_touch(1'000));
}

}  // namespace
}  // namespace rawcache::testing
