// Guards the memory tier alone: a value is found only at the place it was filled for, memory is
// bounded whatever callers hold (C12), and what is asked for again outlives what is not.
#include "cache/memory_tier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace rawcache {
namespace {

constexpr std::uint64_t kBytes = std::uint64_t{1} << 20;

std::uint64_t hash_of(std::uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15; }
std::string key_of(std::uint64_t i) { return "key " + std::to_string(i); }

class MemoryTierTest : public ::testing::Test {
 protected:
  std::optional<Value> fill(std::uint64_t i, const std::string& value, EntryPlace place,
                            std::uint64_t sequence = 1) {
    const std::string key = key_of(i);
    return tier->fill(entry(key, i, value, sequence), place);
  }
  /// Reads it until it is held, twice at most: what was remembered is copied the second time.
  std::optional<Value> hold(std::uint64_t i, const std::string& value, EntryPlace place) {
    auto held = fill(i, value, place);
    return held ? std::move(held) : fill(i, value, place);
  }
  void stored(std::uint64_t i, const std::string& value, EntryPlace place, std::uint64_t sequence) {
    const std::string key = key_of(i);
    tier->stored(entry(key, i, value, sequence), place);
  }
  std::string find(std::uint64_t i, EntryPlace place) {
    const auto value = tier->find(key_of(i), hash_of(i), place);
    return value ? value->str() : "none";
  }
  static MemoryEntry entry(const std::string& key, std::uint64_t i, const std::string& value,
                           std::uint64_t sequence) {
    return {.key = key,
            .key_hash = hash_of(i),
            .value = std::as_bytes(std::span(value)),
            .sequence = sequence,
            .expires_at = 7,
            .flags = 9};
  }
  std::unique_ptr<MemoryTier> tier = MemoryTier::create(kBytes);
};

/// With so much memory that large items lie in huge pages.
class LargeMemoryTierTest : public MemoryTierTest {
 protected:
  static constexpr std::uint64_t kLargeBytes = 32 * kBytes;
  LargeMemoryTierTest() { tier = MemoryTier::create(kLargeBytes); }
  static EntryPlace place(std::uint64_t i) { return {i * 4096, 1}; }
  static std::string value(std::uint64_t i) {
    return std::string(1 + i * 7919 % 60'000, static_cast<char>('a' + i % 26));
  }
};

TEST_F(MemoryTierTest, AValueIsFoundAtItsPlaceOnly) {
  const auto handed_out = fill(1, "one", {4096, 1}, 5);
  ASSERT_TRUE(handed_out);
  EXPECT_EQ(handed_out->str(), "one");
  EXPECT_EQ(handed_out->sequence(), 5u);
  EXPECT_EQ(handed_out->expires_at(), 7u);
  EXPECT_EQ(handed_out->flags(), 9u);
  EXPECT_EQ(find(1, {4096, 1}), "one");
  EXPECT_EQ(find(1, {4096, 2}), "none") << "the segment has been reused";
  EXPECT_EQ(find(1, {8192, 1}), "none") << "the key has been overwritten";
  EXPECT_EQ(find(2, {4096, 1}), "none") << "another key of the same index slot";
  EXPECT_EQ(tier->counts().hits, 1u);
}

TEST_F(MemoryTierTest, AKeyOfTheSameHashIsAnotherKey) {
  ASSERT_TRUE(fill(1, "one", {4096, 1}));
  EXPECT_FALSE(tier->find("other", hash_of(1), {4096, 1}));
}

TEST_F(MemoryTierTest, AReaderThatComesTooLateDoesNotReplaceWhatIsNewer) {
  ASSERT_TRUE(fill(1, "new", {8192, 1}, 2));
  EXPECT_FALSE(fill(1, "old", {4096, 1}, 1));
  EXPECT_EQ(find(1, {8192, 1}), "new");
}

TEST_F(MemoryTierTest, AStoreReplacesWhatIsHeldAndBringsNothingNewIn) {
  ASSERT_TRUE(fill(1, "one", {4096, 1}, 1));
  stored(1, "two", {8192, 1}, 2);
  stored(2, "other", {16384, 1}, 3);
  EXPECT_EQ(find(1, {4096, 1}), "none");
  EXPECT_EQ(find(1, {8192, 1}), "two");
  EXPECT_EQ(find(2, {16384, 1}), "none");
  EXPECT_EQ(tier->counts().entries, 1u);
}

TEST_F(MemoryTierTest, ARemoveGivesTheMemoryBack) {
  const std::uint64_t before = tier->counts().bytes;
  ASSERT_TRUE(fill(1, std::string(1000, 'x'), {4096, 1}));
  EXPECT_GT(tier->counts().bytes, before + 1000);
  tier->removed(key_of(1), hash_of(1));
  EXPECT_EQ(tier->counts().bytes, before);
  EXPECT_EQ(tier->counts().entries, 0u);
}

TEST_F(MemoryTierTest, ACopiedEntryIsFoundAtItsNewPlace) {
  ASSERT_TRUE(fill(1, "one", {4096, 1}));
  tier->moved(hash_of(1), {4096, 1}, {65536, 9});
  EXPECT_EQ(find(1, {65536, 9}), "one");
  EXPECT_EQ(find(1, {4096, 1}), "none");
}

TEST_F(MemoryTierTest, NeverHoldsMoreThanItMay) {
  std::vector<Value> leases;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    auto value = hold(i, std::string(1 + i * 37 % 3000, 'x'), {i * 4096, 1});
    if (value && i % 3 == 0) leases.push_back(std::move(*value));
    ASSERT_LE(tier->counts().bytes, kBytes) << i;
    if (leases.size() > 400) leases.erase(leases.begin(), leases.begin() + 200);
  }
  leases.clear();
  for (std::uint64_t i = 20'000; i < 22'000; ++i) hold(i, std::string(500, 'x'), {i * 4096, 1});
  EXPECT_GT(tier->counts().bytes, kBytes * 9 / 10);
  EXPECT_GT(tier->counts().evicted, 10'000u);
}

TEST_F(MemoryTierTest, WhenCallersHoldAllOfItNothingIsTakenIn) {
  std::vector<Value> leases;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    if (auto value = hold(i, std::string(1000, 'x'), {i * 4096, 1})) leases.push_back(*value);
  }
  EXPECT_LE(tier->counts().bytes, kBytes);
  EXPECT_GT(tier->counts().bytes, kBytes * 9 / 10);
  EXPECT_FALSE(hold(9999, std::string(1000, 'x'), {4096, 2}));
  leases.clear();
  EXPECT_TRUE(hold(9999, std::string(1000, 'x'), {4096, 2}));
}

TEST_F(MemoryTierTest, ValuesOutliveTheTier) {
  const auto value = fill(1, std::string(500, 'y'), {4096, 1});
  tier.reset();
  ASSERT_TRUE(value);
  EXPECT_EQ(value->str(), std::string(500, 'y'));
}

TEST_F(LargeMemoryTierTest, ValuesOutliveTheTier) {
  std::vector<Value> values;
  for (std::uint64_t i = 0; i < 500; ++i) values.push_back(*hold(i, value(i), place(i)));
  tier.reset();
  for (std::uint64_t i = 0; i < 500; ++i) ASSERT_EQ(values[i].str(), value(i)) << i;
}

TEST_F(LargeMemoryTierTest, HoldsWhatItSaysAndNeverMoreThanItMay) {
  std::vector<Value> leases;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    auto held = hold(i, value(i), place(i));
    if (held && i % 3 == 0) leases.push_back(std::move(*held));
    ASSERT_LE(tier->counts().bytes, kLargeBytes) << i;
    const std::string found = find(i / 2, place(i / 2));
    ASSERT_TRUE(found == value(i / 2) || found == "none") << i;
    if (leases.size() > 200) leases.erase(leases.begin(), leases.begin() + 100);
  }
  EXPECT_GT(tier->counts().bytes, kLargeBytes * 9 / 10);
  EXPECT_GT(tier->counts().evicted, 1000u);
}

TEST_F(LargeMemoryTierTest, AfterAClearItFillsAgain) {
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 500; ++i) ASSERT_TRUE(hold(i, value(i), place(i)));
    for (std::uint64_t i = 0; i < 500; ++i) ASSERT_EQ(find(i, place(i)), value(i));
    tier->clear();
    EXPECT_EQ(tier->counts().entries, 0u);
  }
}

TEST_F(LargeMemoryTierTest, ManyThreadsFindWhatWasPutThere) {
  std::atomic<int> wrong = 0, found = 0;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t step = 0; step < 3000; ++step) {
        const std::uint64_t i = (step * 31 + t * 17) % 2000;
        tier->prefetch_find(hash_of(i));
        const std::string there = find(i, place(i));
        if (there == "none") {
          hold(i, value(i), place(i));
        } else {
          ++(there == value(i) ? found : wrong);
        }
        if (step % 97 == 0) tier->removed(key_of(i), hash_of(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(found, 1000);
}

TEST_F(MemoryTierTest, AScanDoesNotDisplaceWhatIsAskedForAgain) {
  constexpr std::uint64_t kHot = 100;
  const std::string value(1000, 'x');
  const auto place = [](std::uint64_t i) { return EntryPlace{i * 4096, 1}; };
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < kHot; ++i) {
      const bool held = find(i, place(i)) != "none";
      ASSERT_TRUE(held || hold(i, value, place(i)));
    }
  }
  for (std::uint64_t i = kHot; i < kHot + 20'000; ++i) {
    ASSERT_TRUE(hold(i, value, place(i)));
    (void)find(i % kHot, place(i % kHot));
  }
  std::uint64_t found = 0;
  for (std::uint64_t i = 0; i < kHot; ++i) found += find(i, place(i)) != "none";
  EXPECT_EQ(found, kHot);
}

TEST_F(MemoryTierTest, WhatIsReadOnceIsOnlyRememberedWhereHardlyAnythingIsReadAgain) {
  const std::string value(1000, 'x');
  const auto place = [](std::uint64_t i) { return EntryPlace{i * 4096, 1}; };
  std::uint64_t copied = 0;
  for (std::uint64_t i = 0; i < 10'000; ++i) copied += fill(i, value, place(i)).has_value();
  EXPECT_LE(copied, 100u) << "until there were enough to judge";
  EXPECT_TRUE(fill(9999, value, place(9999))) << "the second time";
  EXPECT_EQ(find(9999, place(9999)), value);

  // From now on everything is read twice.
  copied = 0;
  for (std::uint64_t i = 10'000; i < 20'000; ++i) {
    copied += fill(i, value, place(i)).has_value();
    if (find(i, place(i)) == "none") fill(i, value, place(i));
  }
  EXPECT_GE(copied, 9000u) << "first reads that were copied";
}

TEST_F(MemoryTierTest, AHeldValueIsFoundAmongManyThatComeAndGo) {
  const auto place = [](std::uint64_t i) { return EntryPlace{i * 4096, 1}; };
  std::set<std::uint64_t> held;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    ASSERT_TRUE(hold(i, "x", place(i)));
    held.insert(i);
    if (i % 3 != 0) continue;
    tier->removed(key_of(i / 2), hash_of(i / 2));
    held.erase(i / 2);
  }
  for (std::uint64_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(find(i, place(i)), held.contains(i) ? "x" : "none") << i;
  }
}

TEST_F(MemoryTierTest, ALargeValueIsCopiedWhenItIsReadAgain) {
  const std::string large(100'000, 'x');
  EXPECT_FALSE(fill(1, large, {4096, 1}));
  EXPECT_TRUE(fill(1, large, {4096, 1}));
  EXPECT_FALSE(fill(2, std::string(kBytes / 4, 'x'), {8192, 1}));
  EXPECT_FALSE(fill(2, std::string(kBytes / 4, 'x'), {8192, 1})) << "more than an eighth of all";
}

TEST_F(MemoryTierTest, ClearForgetsEverything) {
  ASSERT_TRUE(fill(1, "one", {4096, 1}));
  tier->clear();
  EXPECT_EQ(find(1, {4096, 1}), "none");
  EXPECT_EQ(tier->counts().entries, 0u);
}

}  // namespace
}  // namespace rawcache
