// Guards that a unit is never taken twice, that runs are the lowest there are and that every run
// that is free is found, by comparing random use with a plain model.
#include "base/run_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace rawcache {
namespace {

constexpr std::size_t kBlock = RunMap::kBlockUnits;

struct Run {
  std::size_t first, length;
};

/// One flag per unit.
class Model {
 public:
  explicit Model(std::size_t units) : taken_(units) {}
  std::optional<std::size_t> take(std::size_t length) {
    const auto at = std::search_n(taken_.begin(), taken_.end(), length, false);
    if (at == taken_.end()) return std::nullopt;
    std::fill_n(at, length, true);
    return static_cast<std::size_t>(at - taken_.begin());
  }
  void give_back(const Run& run) {
    std::fill_n(taken_.begin() + static_cast<std::ptrdiff_t>(run.first), run.length, false);
  }
  Run free_run(std::size_t begin, std::size_t end) const {
    while (begin < end && taken_[begin]) ++begin;
    std::size_t length = 0;
    while (begin + length < end && !taken_[begin + length]) ++length;
    return {begin, length};
  }

 private:
  std::vector<bool> taken_;
};

void compare(std::size_t units, std::size_t length_max, unsigned seed, int steps = 4000) {
  RunMap map(units);
  Model model(units);
  std::vector<Run> runs;
  std::mt19937 random(seed);
  std::size_t refused = 0;
  for (int step = 0; step < steps; ++step) {
    // Fuller and emptier in turn.
    const bool take = runs.empty() || random() % 10 < (step / (steps / 8) % 2 == 0 ? 8 : 3);
    if (take) {
      const std::size_t length = 1 + random() % (random() % 4 == 0 ? length_max : 8);
      const auto first = map.take(length);
      ASSERT_EQ(first, model.take(length)) << "step " << step << ", length " << length;
      if (first) {
        runs.push_back({*first, length});
      } else {
        ++refused;
      }
    } else {
      std::swap(runs[random() % runs.size()], runs.back());
      Run& run = runs.back();
      const std::size_t part = random() % 2 == 0 ? run.length : 1 + random() % run.length;
      map.give_back(run.first, part);
      model.give_back({run.first, part});
      run = {run.first + part, run.length - part};
      if (run.length == 0) runs.pop_back();
    }
    const std::size_t begin = random() % units, end = begin + random() % (units - begin + 1);
    const RunMap::Run free = map.free_run(begin, end);
    const Run expected = model.free_run(begin, end);
    ASSERT_EQ(free.begin, expected.first) << "step " << step;
    ASSERT_EQ(free.end, expected.first + expected.length) << "step " << step;
  }
  EXPECT_GT(refused, 0u) << "never full";
}

TEST(RunMap, FindsWhatAPlainModelFinds) {
  compare(3 * kBlock, 1000, 1);
  compare(3 * kBlock + 77, kBlock / 2, 2);
  compare(4 * kBlock, 3 * kBlock, 3);
  compare(kBlock - 1, 200, 4);
  compare(130, 100, 5);
  compare(66 * kBlock + 77, 20 * kBlock, 6, 400);  // several groups of blocks
}

TEST(RunMap, ARunMayReachOverSeveralBlocks) {
  RunMap map(5 * kBlock);
  ASSERT_EQ(map.take(kBlock / 2), 0u);
  ASSERT_EQ(map.take(4 * kBlock), kBlock / 2);
  EXPECT_FALSE(map.take(kBlock));
  map.give_back(kBlock / 2, 4 * kBlock);
  EXPECT_EQ(map.take(4 * kBlock + kBlock / 2), kBlock / 2);
}

TEST(RunMap, WhatIsGivenBackInPiecesIsOneRunAgain) {
  RunMap map(4 * kBlock);
  ASSERT_EQ(map.take(4 * kBlock), 0u);
  for (const std::size_t first : {std::size_t{0}, 2 * kBlock, kBlock}) {
    EXPECT_FALSE(map.take(3 * kBlock));
    map.give_back(first, kBlock);
  }
  EXPECT_EQ(map.take(3 * kBlock), 0u) << "runs that began in earlier blocks have grown";
}

TEST(RunMap, GivingBackInOrderDoesNotLookAtAllThatIsFreeEachTime) {
  constexpr std::size_t kLength = 34;
  RunMap map(10'000 * kBlock);
  std::size_t taken = 0;
  while (map.take(kLength)) ++taken;
  // A second or so; minutes if each looked back over what those before have left.
  for (std::size_t i = 0; i < taken; ++i) map.give_back(i * kLength, kLength);
  EXPECT_EQ(map.take(10'000 * kBlock), 0u);
}

TEST(RunMap, NoUnitsAreNone) {
  RunMap map(0);
  EXPECT_FALSE(map.take(1));
}

}  // namespace
}  // namespace rawcache
