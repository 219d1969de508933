// Guards the parts of admission alone: memory is bounded whatever callers hold (C12), the queue
// keeps its order, a filter forgets nothing too early, and a budget is neither exceeded nor lost.
#include "cache/waiting_room.h"

#include <gtest/gtest.h>

#include "cache/departed.h"
#include "cache/write_budget.h"

namespace rawcache {
namespace {

constexpr std::uint64_t kBytes = 64 << 10;

WaitingRoom::Pointer make(WaitingRoom& room, const std::string& key, std::uint64_t hash,
                          std::uint64_t sequence, std::size_t size = 100) {
  const std::string value(size, 'v');
  auto item = room.make({.encoding = {},
                         .key = key,
                         .key_hash = hash,
                         .value = std::as_bytes(std::span(value)),
                         .value_hash = 0});
  if (item) item->sequence = sequence;
  return item;
}

TEST(WaitingRoom, WhatCameFirstLeavesFirstAndANewValueOfAKeyWaitsAnew) {
  WaitingRoom room(kBytes);
  ASSERT_TRUE(room.insert(make(room, "a", 1, 1)));
  ASSERT_TRUE(room.insert(make(room, "b", 2, 2)));
  ASSERT_TRUE(room.insert(make(room, "a", 1, 3)));
  EXPECT_EQ(room.oldest()->key, "b");
  EXPECT_EQ(room.counts().entries, 2u);
  EXPECT_EQ(room.find("a", 1)->sequence, 3u);
  room.erase(2);
  EXPECT_EQ(room.oldest()->key, "a");
  room.erase_if(1, 1);
  EXPECT_TRUE(room.find("a", 1)) << "another one than was meant";
  room.erase_if(1, 3);
  EXPECT_EQ(room.oldest(), nullptr);
  EXPECT_EQ(room.counts().bytes, 0u);
}

TEST(WaitingRoom, AKeyOfTheSameHashIsAnotherKey) {
  WaitingRoom room(kBytes);
  ASSERT_TRUE(room.insert(make(room, "a", 1, 1)));
  EXPECT_FALSE(room.find("b", 1));
}

TEST(WaitingRoom, ValuesInCallersHandsCountUntilTheyAreLetGo) {
  WaitingRoom room(kBytes);
  ASSERT_TRUE(room.insert(make(room, "a", 1, 1, 5000)));
  auto held = room.find("a", 1);
  room.clear();
  EXPECT_GT(room.counts().bytes, 5000u);
  int made = 0;
  std::vector<WaitingRoom::Pointer> items;
  for (; auto item = make(room, "k", 7, 1, 5000); ++made) items.push_back(std::move(item));
  EXPECT_GT(made, 8);
  EXPECT_LE(room.counts().bytes, kBytes);
  held.reset();
  EXPECT_TRUE(make(room, "k", 7, 1, 5000)) << "it has been given back";
}

TEST(WaitingRoom, AValueThatTakesMoreThanAnEighthMayNotWait) {
  const WaitingRoom room(kBytes);
  EXPECT_TRUE(room.takes(10, kBytes / 8 - 1000));
  EXPECT_FALSE(room.takes(10, kBytes / 8));
}

TEST(Departed, AKeyIsKnownForTwoMoreCheckpoints) {
  Departed departed(1 << 16);
  for (std::uint64_t i = 0; i < 1000; ++i) departed.add(i * 0x9E3779B97F4A7C15);
  const auto all_known = [&] {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      if (!departed.may_hold(i * 0x9E3779B97F4A7C15)) return false;
    }
    return true;
  };
  EXPECT_TRUE(all_known());
  int others = 0;
  for (std::uint64_t i = 1000; i < 11000; ++i) {
    others += departed.may_hold(i * 0x9E3779B97F4A7C15);
  }
  EXPECT_LT(others, 500);
  departed.checkpoint_taken();
  departed.checkpoint_taken();
  EXPECT_TRUE(all_known());
  departed.checkpoint_taken();
  EXPECT_FALSE(departed.may_hold(0x9E3779B97F4A7C15));
  departed.add_any();
  EXPECT_TRUE(all_known());
  departed.clear();
  EXPECT_FALSE(departed.may_hold(0x9E3779B97F4A7C15));
}

TEST(WriteBudget, WhatIsLeftFollowsTimeAndWritingAndDebtsArePaidBack) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  WriteBudget budget(24'000, 0);  // 1000 an hour
  EXPECT_DOUBLE_EQ(budget.left(0, 0), 0.5);
  EXPECT_DOUBLE_EQ(budget.left(0, 250), 0.25);
  EXPECT_DOUBLE_EQ(budget.left(kHour / 2, 250), 0.75);
  EXPECT_DOUBLE_EQ(budget.left(10 * kHour, 250), 1);
  EXPECT_DOUBLE_EQ(budget.left(10 * kHour, 2250), 0);
  EXPECT_DOUBLE_EQ(budget.left(11 * kHour, 2250), 0) << "the debt is paid";
  EXPECT_DOUBLE_EQ(budget.left(11 * kHour + kHour / 2, 2250), 0.5);
  EXPECT_DOUBLE_EQ(budget.left(0, 2250), 0.5) << "a clock set back gives and takes nothing";
  WriteBudget none(0, 0);
  EXPECT_DOUBLE_EQ(none.left(kHour, 1 << 30), 1);
}

}  // namespace
}  // namespace rawcache
