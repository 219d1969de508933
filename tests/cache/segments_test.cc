// RawDiskCache::segments shows what eviction decides from: which segments hold what, which of it is
// asked for, and in what order they were filled, also after a restart.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using State = SegmentInfo::State;

class SegmentsTest : public SmallCacheTest {
 protected:
  static constexpr std::size_t kSize = 4000;

  std::uint64_t count(State state) const {
    return static_cast<std::uint64_t>(
        std::ranges::count(cache->segments(), state, &SegmentInfo::state));
  }
  std::uint64_t sum(std::uint64_t SegmentInfo::* bytes) const {
    std::uint64_t sum = 0;
    for (const SegmentInfo& info : cache->segments()) sum += info.*bytes;
    return sum;
  }
  void fill(int entries) {
    for (int i = 0; i < entries; ++i) {
      const std::string key = "fill " + std::to_string(next_++);
      ASSERT_TRUE(cache->store_buffered(key, value_of(key, 1, kSize)));
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  int next_ = 0;
};

TEST_F(SegmentsTest, AnEmptyCacheHasOnlyFreeOnes) {
  const auto segments = cache->segments();
  EXPECT_EQ(segments.size(), cache->stats().segments);
  EXPECT_EQ(count(State::free), segments.size());
  EXPECT_EQ(sum(&SegmentInfo::live_bytes), 0u);
}

TEST_F(SegmentsTest, WhatIsStoredIsLiveUntilItIsRemoved) {
  ASSERT_TRUE(cache->store("key", value_of("key", 1, kSize)));
  EXPECT_EQ(count(State::open), 1u);
  EXPECT_GE(sum(&SegmentInfo::live_bytes), kSize);
  EXPECT_LE(sum(&SegmentInfo::live_bytes), kSize * 3 / 2);
  EXPECT_EQ(sum(&SegmentInfo::hot_bytes), 0u);
  ASSERT_TRUE(cache->remove("key"));
  EXPECT_EQ(sum(&SegmentInfo::live_bytes), 0u);
}

TEST_F(SegmentsTest, WhatIsAskedForOnceItIsOldEnoughIsHot) {
  ASSERT_TRUE(cache->store("key", value_of("key", 1, kSize)));
  fill(100);
  const std::uint64_t live = sum(&SegmentInfo::live_bytes);
  ASSERT_TRUE(cache->lookup("key"));
  const auto segments = cache->segments();
  const auto hot = std::ranges::find_if(segments, [](const auto& s) { return s.hot_bytes != 0; });
  ASSERT_NE(hot, segments.end());
  EXPECT_EQ(hot->generation, 1u);
  EXPECT_EQ(hot->state, State::sealed);
  EXPECT_GE(hot->hot_bytes, kSize);
  EXPECT_EQ(sum(&SegmentInfo::live_bytes), live);
}

TEST_F(SegmentsTest, AFullCacheAgreesWithItsStatisticsAndHoldsNoMoreThanFits) {
  fill(2000);
  const Stats stats = cache->stats();
  EXPECT_EQ(count(State::free), stats.segments_free);
  EXPECT_GT(stats.evicted, 0u);
  for (const SegmentInfo& info : cache->segments()) {
    EXPECT_LE(info.hot_bytes, info.live_bytes);
    EXPECT_LE(info.live_bytes, stats.segment_bytes * 5 / 4);  // size classes round up
    if (info.state == State::free) {
      EXPECT_EQ(info.live_bytes, 0u);
    }
  }
}

TEST_F(SegmentsTest, TheOrderOfOpeningSurvivesARestart) {
  fill(200);
  std::vector<std::uint32_t> before, after;
  for (const SegmentInfo& info : cache->segments()) before.push_back(info.generation);
  EXPECT_GT(std::ranges::max(before), 5u);
  reopen();
  for (const SegmentInfo& info : cache->segments()) after.push_back(info.generation);
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace rawcache::testing
