// Guards that each window tells of its own seconds and of no others, in bounded memory, however
// irregularly samples come.
#include "metrics/hit_windows.h"

#include <gtest/gtest.h>

namespace rawcache::metrics {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

/// 10 lookups a second, of which `hits` hit.
struct Clock {
  HitWindows windows;
  std::uint64_t now = 5 * kSecond, lookups = 0, hits = 0;
  Clock() { windows.add(now, 0, 0); }
  void run(int seconds, std::uint64_t hits_per_second) {
    for (int i = 0; i < seconds; ++i) {
      lookups += 10;
      hits += hits_per_second;
      now += kSecond;
      windows.add(now, lookups, hits);
    }
  }
};

TEST(HitWindows, KnowNothingBeforeAnythingWasAskedFor) {
  HitWindows windows;
  EXPECT_EQ(windows.ratio(10), std::nullopt);
  windows.add(1, 0, 0);
  windows.add(kSecond, 0, 0);
  EXPECT_EQ(windows.ratio(1000), std::nullopt);
}

TEST(HitWindows, EachTellsOfItsOwnSeconds) {
  Clock clock;
  clock.run(2000, 0);
  clock.run(900, 5);
  clock.run(90, 8);
  clock.run(10, 10);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(10), 1.0);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(100), (90 * 0.8 + 10) / 100);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(1000), (900 * 0.5 + 90 * 0.8 + 10) / 1000);
}

TEST(HitWindows, AYoungServerTellsOfAllItsLife) {
  Clock clock;
  clock.run(3, 5);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(1000), 0.5);
}

TEST(HitWindows, SilenceIsNotARatio) {
  Clock clock;
  clock.run(20, 5);
  for (int i = 0; i < 11; ++i) {
    clock.now += kSecond;
    clock.windows.add(clock.now, clock.lookups, clock.hits);
  }
  EXPECT_EQ(clock.windows.ratio(10), std::nullopt);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(100), 0.5);
}

TEST(HitWindows, SamplesInAHurryReplaceEachOther) {
  Clock clock;
  clock.run(10, 5);
  for (int i = 0; i < 1000; ++i) clock.windows.add(clock.now + 1000, clock.lookups, clock.hits);
  EXPECT_DOUBLE_EQ(*clock.windows.ratio(10), 0.5);
  clock.run(5, 10);
  EXPECT_NEAR(*clock.windows.ratio(10), 0.75, 0.05);
}

TEST(HitWindows, AGapInTheSamplesIsNoneInTheCounts) {
  Clock clock;
  clock.run(10, 10);
  clock.now += 500 * kSecond;
  clock.run(1, 0);
  EXPECT_EQ(clock.windows.ratio(10), std::nullopt);  // one sample: nothing to compare with
  EXPECT_NEAR(*clock.windows.ratio(1000), 10.0 / 11, 1e-9);
}

}  // namespace
}  // namespace rawcache::metrics
