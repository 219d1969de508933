// Guards the comparison with other stores: its mathematics, that wrong values are noticed, and that
// every engine that was built in runs every phase and keeps what it is given.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "bench/comparison.h"
#include "bench/memory_group.h"
#include "bench/statistics.h"

namespace rawcache::bench {
namespace {

TEST(BenchStatistics, TheMedianIsTheMiddleOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 2, 9}), 3);
}

TEST(BenchStatistics, PercentilesAreWithinTheWidthOfABucket) {
  Latencies one, other;
  for (std::uint64_t i = 1; i <= 100'000; ++i) (i % 2 == 0 ? one : other).add(i * 10);
  one.add(other);
  EXPECT_EQ(one.count(), 100'000u);
  for (const double share : {0.001, 0.5, 0.99, 0.999, 1.0}) {
    EXPECT_NEAR(one.percentile(share), share * 1e6, share * 1e6 * 0.016) << share;
  }
}

TEST(BenchStatistics, ShortAndEndlessDurationsHaveTheirPlace) {
  Latencies latencies;
  EXPECT_EQ(latencies.percentile(0.5), 0);
  latencies.add(0);
  EXPECT_EQ(latencies.percentile(0.5), 0);
  latencies.add(UINT64_MAX);
  EXPECT_NEAR(latencies.percentile(1), 0x1p64, 0x1p59);
}

TEST(BenchWorkload, KeysAreDistinctAndOfOneLength) {
  std::set<std::string> keys;
  for (std::uint64_t i = 0; i < 10'000; ++i) keys.emplace(Key(i).view());
  EXPECT_EQ(keys.size(), 10'000u);
  EXPECT_EQ(keys.begin()->size(), Key::kBytes);
}

TEST(BenchWorkload, AValueIsRecognisedInEveryVersionAndNothingElseIs) {
  for (const std::size_t size : {std::size_t{8}, std::size_t{100}, std::size_t{65536}}) {
    const ValuePool pool(size);
    const auto text = [](std::span<const std::byte> bytes) {
      return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    const Key key(1), other(2);
    for (std::uint64_t version = 0; version < 100; ++version) {
      EXPECT_TRUE(pool.is_value_of(key, text(pool.value(key, version))));
    }
    std::string value = text(pool.value(key, 1));
    EXPECT_FALSE(pool.is_value_of(other, value)) << "the value of another key";
    EXPECT_FALSE(pool.is_value_of(key, value.substr(1))) << "cut off";
    value.back() ^= 1;
    EXPECT_FALSE(pool.is_value_of(key, value)) << "rotten";
    value.back() ^= 1;
    value[size / 4096 / 2 * 4096 + 7] ^= 1;
    EXPECT_FALSE(pool.is_value_of(key, value)) << "a rotten page in the middle";
  }
}

TEST(BenchWorkload, ZipfPrefersFewEntriesAsMuchAsItSays) {
  constexpr std::uint64_t kEntries = 10'000;
  constexpr int kDraws = 200'000;
  const Zipf zipf(kEntries, 0.99);
  Random random(5);
  int first = 0, first_tenth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t rank = zipf.rank(random);
    ASSERT_LT(rank, kEntries);
    first += rank == 0 ? 1 : 0;
    first_tenth += rank < kEntries / 10 ? 1 : 0;
  }
  double all = 0, tenth = 0;
  for (std::uint64_t i = 1; i <= kEntries; ++i) {
    all += std::pow(static_cast<double>(i), -0.99);
    if (i == kEntries / 10) tenth = all;
  }
  EXPECT_NEAR(first / double{kDraws}, 1 / all, 0.01);
  EXPECT_NEAR(first_tenth / double{kDraws}, tenth / all, 0.02);
}

TEST(BenchMemoryGroup, TheLimitIsSetAndTheProcessMovedIn) {
  // A folder of files takes what a control group of version 1 would.
  const std::string folder = ::testing::TempDir();
  const std::string group = folder + "/rawcache-bench." + std::to_string(::getpid());
  const auto text = [&](const char* file) {
    std::string line;
    std::getline(std::ifstream(group + file), line);
    return line;
  };
  {
    const MemoryGroup made(folder, 12345);
    made.enter();
    EXPECT_EQ(text("/memory.limit_in_bytes"), "12345");
    EXPECT_EQ(text("/cgroup.procs"), "0");
  }
  std::filesystem::remove_all(group);
  MemoryGroup("", 1).enter();  // does nothing
}

/// Everything, as small as it goes, in a folder of its own.
Plan small_plan(std::uint64_t value_bytes) {
  Plan plan;
  plan.folder = ::testing::TempDir() + "rawcache-bench-test." + std::to_string(::getpid());
  plan.json = plan.folder + "/results.json";
  plan.engines = all_engines();
  plan.phases.assign(kPhases.begin(), kPhases.end());
  plan.sizes = {value_bytes};
  plan.repeat = 1;
  plan.seconds = 0.01;
  plan.settle_s_max = 0.01;
  plan.data_bytes = 1 << 20;
  plan.entries_max = 300;
  plan.cache_bytes = 4 << 20;
  plan.write_buffer_bytes = 20 << 20;
  plan.drop_caches = false;
  return plan;
}

class BenchComparison : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override { std::filesystem::create_directories(plan_.folder); }
  void TearDown() override { std::filesystem::remove_all(plan_.folder); }
  Plan plan_ = small_plan(GetParam());
};

TEST_P(BenchComparison, EveryEngineRunsEveryPhaseAndKeepsWhatItIsGiven) {
  const Results results = compare(plan_);
  for (const Failure& failure : results.failures) {
    ADD_FAILURE() << failure.engine << " in " << failure.phase << ": " << failure.how;
  }
  std::size_t expected = 0;
  for (const EngineKind& kind : plan_.engines) {
    for (const Phase& phase : plan_.phases) expected += runs(kind, phase) ? 1 : 0;
  }
  EXPECT_EQ(results.runs.size(), expected);
  for (const Result& run : results.runs) {
    SCOPED_TRACE(run.engine + " in " + run.phase);
    EXPECT_GT(run.sample.operations, 0u);
    EXPECT_GT(run.sample.seconds, 0);
    EXPECT_EQ(run.sample.wrong, 0u);
    const bool reads = run.phase == "get1" || run.phase == "get8" || run.phase == "batch" ||
                       run.phase == "neighbours";
    if (reads) {
      EXPECT_EQ(run.sample.found, run.sample.operations);
    }
  }
  EXPECT_GT(std::filesystem::file_size(plan_.json), 1000u);
}

INSTANTIATE_TEST_SUITE_P(SmallAndLarge, BenchComparison, ::testing::Values(100, 65536));

TEST(BenchEngines, AnEngineThatDiesIsLeftOutAndSaidSo) {
  Plan plan = small_plan(100);
  std::filesystem::create_directories(plan.folder);
  std::erase_if(plan.engines, [](const EngineKind& kind) { return kind.name != "files"; });
  plan.engines.push_back(plan.engines.front());
  plan.engines.back().name = "dies";
  plan.engines.back().make = []() -> std::unique_ptr<Engine> { fail("dies", "as it should"); };
  const Results results = compare(plan);
  ASSERT_EQ(results.failures.size(), 1u);
  EXPECT_EQ(results.failures[0].engine, "dies");
  EXPECT_EQ(results.failures[0].phase, "load");
  EXPECT_TRUE(
      std::ranges::all_of(results.runs, [](const Result& r) { return r.engine == "files"; }));
  EXPECT_EQ(results.runs.size(), plan.phases.size());
  std::filesystem::remove_all(plan.folder);
}

TEST(BenchEngines, NoEngineWasLeftOutWhenBuilding) {
  std::string names;
  for (const std::string& name : missing_engines()) names += " " + name;
  if (!names.empty()) GTEST_SKIP() << "not installed:" << names;
}

}  // namespace
}  // namespace rawcache::bench
