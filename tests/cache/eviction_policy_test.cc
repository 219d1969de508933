// EvictionPolicy: decisions as a pure function of what the log looks like.
#include "cache/eviction_policy.h"

#include <gtest/gtest.h>

#include <vector>

namespace rawcache {
namespace {

using Action = EvictionStep::Action;

/// Sealed segments of 1000 bytes, all live; the first `smalls` of them small, the rest main.
class PolicyTest : public ::testing::Test {
 protected:
  void make(std::size_t segments, std::size_t smalls) {
    table.assign(segments, SegmentRecord{});
    uses.assign(segments, {.live = 1000, .hot = 0, .last_hit = 0});
    for (std::uint32_t i = 0; i < segments; ++i) {
      table[i].state = static_cast<std::uint8_t>(SegmentState::sealed);
      table[i].generation = i + 1;
      table[i].queue_position = i + 1;
      table[i].label = static_cast<std::uint8_t>(i < smalls ? Stream::small : Stream::main);
    }
  }
  EvictionStep next(EvictionPolicyKind kind = EvictionPolicyKind::rc, double wa_cap = 1.2,
                    std::uint64_t tokens = 10'000, std::uint32_t rotations = 0) const {
    const auto policy = make_eviction_policy(kind, wa_cap, 2);
    return policy
        ->next({.segments = table,
                .uses = uses,
                .segment_bytes = 1000,
                .tokens = tokens,
                .rotations = rotations})
        .value();
  }

  std::vector<SegmentRecord> table;
  std::vector<SegmentUse> uses;
};

TEST_F(PolicyTest, FifoTakesTheOldestAndLruTheOneAskedForLongestAgo) {
  make(20, 20);
  table[7].generation = 0;
  for (std::uint32_t i = 0; i < 20; ++i) uses[i].last_hit = 100 - i;
  EXPECT_EQ(next(EvictionPolicyKind::fifo).segment, 7u);
  EXPECT_EQ(next(EvictionPolicyKind::lru).segment, 19u);
}

TEST_F(PolicyTest, SegmentsThatAreNotSealedAreLeftAlone) {
  make(20, 20);
  for (SegmentRecord& record : table) record.state = static_cast<std::uint8_t>(SegmentState::open);
  const auto policy = make_eviction_policy(EvictionPolicyKind::rc, 1.2, 2);
  EXPECT_FALSE(policy->next({.segments = table, .uses = uses, .segment_bytes = 1000}).has_value());
}

TEST_F(PolicyTest, WhatWasStoredInTheMainStreamLatelyStays) {
  make(32, 4);
  for (std::uint32_t i = 4; i < 32; ++i) uses[i].hot = 900;
  uses[31].hot = 0;
  uses[31].live = 10;
  EXPECT_NE(next().segment, 31u) << "although it is mostly dead";
  table[31].generation = 1;
  table[0].generation = 32;
  EXPECT_EQ(next().segment, 31u);
}

TEST_F(PolicyTest, TheSmallQueueGivesWhileItIsLargerThanAnEighth) {
  make(20, 3);
  EXPECT_EQ(next().segment, 0u);
  make(20, 2);
  EXPECT_EQ(next().segment, 2u) << "then the oldest of the main queue";
}

TEST_F(PolicyTest, ADeadSegmentGoesFirst) {
  make(20, 5);
  uses[13] = {};
  EXPECT_EQ(next().segment, 13u);
  EXPECT_EQ(next().action, Action::evict);
}

TEST_F(PolicyTest, OfTheMainQueueWhatIsMostlyDeadGoesBeforeWhatIsOlder) {
  make(20, 2);
  table[0].generation = 30;  // the others have been there for a while
  uses[13] = {.live = 500, .hot = 0, .last_hit = 0};
  EXPECT_EQ(next().segment, 2u);
  uses[13].live = 499;
  EXPECT_EQ(next().segment, 13u);
  EXPECT_EQ(next().action, Action::evict);
  uses[13].hot = 499;
  EXPECT_EQ(next().action, Action::evict) << "what is hot in it is copied, the rest freed";
}

TEST_F(PolicyTest, AHotSmallSegmentIsRelabelledAsItIs) {
  make(20, 5);
  uses[0].hot = 499;
  EXPECT_EQ(next().action, Action::evict);
  uses[0].hot = 500;
  EXPECT_EQ(next().action, Action::relabel);
}

TEST_F(PolicyTest, WithoutTokensASegmentStaysEarlier) {
  make(20, 5);
  uses[0].hot = 300;
  EXPECT_EQ(next(EvictionPolicyKind::rc, 1.2, 299).action, Action::relabel);
  EXPECT_EQ(next(EvictionPolicyKind::rc, 1.2, 300).action, Action::evict);
}

TEST_F(PolicyTest, AHotMainSegmentIsRotatedForOneLapAtMost) {
  make(20, 1);
  uses[1].hot = 600;
  EXPECT_EQ(next().action, Action::rotate);
  EXPECT_EQ(next(EvictionPolicyKind::rc, 1.2, 10'000, 20).action, Action::evict);
}

TEST_F(PolicyTest, WithoutSparesOrAtACapOfOneNothingIsCopied) {
  EXPECT_FALSE(make_eviction_policy(EvictionPolicyKind::rc, 1.0, 2)->keeps_hot());
  EXPECT_FALSE(make_eviction_policy(EvictionPolicyKind::rc, 1.2, 1)->keeps_hot());
  EXPECT_TRUE(make_eviction_policy(EvictionPolicyKind::rc, 1.2, 2)->keeps_hot());
}

}  // namespace
}  // namespace rawcache
