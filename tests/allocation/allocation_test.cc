// Guards what holds when there is no memory: the k-th allocation inside the cache fails, once or
// for ever, for every k until a scenario runs without it. No exception leaves the cache, nothing
// leaks, nothing that was acknowledged is lost, nothing that was refused is there (C1-C3, C5, C6),
// and the cache works as before when there is memory again.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "allocation/exempt_disk.h"
#include "allocation/failing_allocator.h"
#include "crash/fault_run.h"
#include "crash/scenarios.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Repeat = FailingAllocator::Repeat;

Scene scene_of(std::uint64_t memory_bytes) {
  Scene scene = scenario_scene();
  scene.device_bytes += 8 * 4096;  // enough segments for two streams
  scene.options.read_buffer_bytes = 1 << 17;
  scene.options.memory_bytes = memory_bytes;
  return scene;
}

/// Reads in every way, on what memory there is.
void read_everything(RawDiskCache& cache, const Scene& scene) {
  std::vector<std::string> names;
  for (std::uint32_t key = 0; key < scene.keys; ++key) names.push_back(key_name(key));
  std::vector<std::string> wrong;
  const auto check = [&](std::uint32_t key, const Result<Value>& found) {
    const FailingAllocator::Exempt exempt;
    if (found ? !version_of(key, found->view())
              : found.error() != Errc::not_found && found.error() != Errc::out_of_memory) {
      wrong.push_back(names[key]);
    }
  };
  const FailingAllocator::Scope scope;
  for (std::uint32_t key = 0; key < scene.keys; key += 3) {
    check(key, cache.lookup(names[key]));
    (void)cache.contains(names[key]);
  }
  try {
    const auto found = cache.lookup_batch(names);
    for (std::uint32_t key = 0; key < scene.keys; ++key) check(key, found[key]);
  } catch (const std::bad_alloc&) {  // no memory for the results themselves
  }
  (void)cache.for_each_key([](const KeyInfo&) { return true; });
  const FailingAllocator::Exempt exempt;
  EXPECT_TRUE(wrong.empty());
}

class AllocationSweep : public ::testing::TestWithParam<NamedScenario> {};

/// One run with this failure. False when it ran without meeting it.
bool run_once(const NamedScenario& scenario, const Scene& scene, std::uint64_t k, Repeat repeat) {
  std::mt19937_64 random(1);
  CutDisk disk(scene.device_bytes);
  const auto info = format_drawn(random, disk.disk(), scene.format);
  EXPECT_TRUE(info);
  Oracle oracle(scene.keys, 0);
  disk.disk().set_hook([&](const FaultyDisk::Event& event) {
    if (event.op != FaultyDisk::Op::write) return;
    for (auto n = segments_opened_by(*info, event.offset, event.size); n > 0; --n) {
      oracle.tell({.type = Oracle::Event::Type::segment_opened});
    }
  });
  auto cache = RawDiskCache::open(std::make_unique<ExemptDisk>(disk.disk()), scene.options);
  EXPECT_TRUE(cache) << cache.error().message();
  Workload calls(scene, random, 1, true, [&](const Oracle::Event& event) { oracle.tell(event); });
  oracle.set_segments_kept(segments_kept(*info, cache->stats()));

  std::optional<FailingAllocator::Scope> scope;
  calls.set_around([&](bool begins) { begins ? (void)scope.emplace() : scope.reset(); });
  FailingAllocator::fail(k, repeat);
  scenario.run(calls, *cache);
  read_everything(*cache, scene);
  const bool met = FailingAllocator::heal() > 0;

  const auto look = [&](const char* when) {
    const auto recovered =
        recover_from(disk.medium().crash(random, any_policy(random)), scene, random);
    EXPECT_EQ(recovered.wrong, "") << when;
    if (!recovered.wrong.empty()) return;
    EXPECT_EQ(oracle.check_after_crash(recovered.content, oracle.now()), "") << when;
  };
  random.seed(k);
  if (k % 4 == 0) look("no memory");
  EXPECT_EQ(check_healed(calls, *cache, oracle, scene), "");
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_TRUE(calls.store(*cache, i, i % 2 == 0));
  if (k % 4 == 1) look("used again");
  EXPECT_TRUE(calls.close(*cache));
  if (k % 4 == 2) look("closed");
  return met;
}

void sweep(const NamedScenario& scenario, const Scene& scene) {
  (void)run_once(scenario, scene, ~std::uint64_t{0}, Repeat::once);  // what is made once for all
  std::uint64_t failures = 0;
  for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
    bool met = true;
    for (std::uint64_t k = 1; met; ++k) {
      SCOPED_TRACE(std::string(repeat == Repeat::once ? "once" : "for ever") + ", k " +
                   std::to_string(k));
      const std::int64_t live = FailingAllocator::live();
      met = run_once(scenario, scene, k, repeat);
      EXPECT_EQ(FailingAllocator::live(), live) << "something leaks";
      if (::testing::Test::HasFailure()) return;
      failures += met;
    }
  }
  Proof().add("allocation_failures", failures);
}

TEST_P(AllocationSweep, TheKthAllocationMayFailForEveryK) { sweep(GetParam(), scene_of(0)); }

TEST_P(AllocationSweep, TheSameWithAMemoryTier) { sweep(GetParam(), scene_of(65536)); }

TEST_P(AllocationSweep, OpenMayMeetItAndTheNextOpenFindsEverything) {
  const Scene scene = scene_of(65536);
  std::mt19937_64 random(1);
  CutDisk disk(scene.device_bytes);
  ASSERT_TRUE(format_drawn(random, disk.disk(), scene.format));
  Oracle oracle(scene.keys, 0);
  {
    auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene.options);
    ASSERT_TRUE(cache);
    Workload calls(scene, random, 1, true, [&](const Oracle::Event& event) { oracle.tell(event); });
    GetParam().run(calls, *cache);
    disk.cut_at(1);
  }
  const Image image = disk.medium().content();
  std::uint64_t failures = 0;
  for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
    bool met = true;
    for (std::uint64_t k = 1; met; ++k) {
      SCOPED_TRACE(std::string(repeat == Repeat::once ? "once" : "for ever") + ", k " +
                   std::to_string(k));
      CutDisk again(image);
      Image left;
      {
        auto lent = std::make_unique<ExemptDisk>(again.disk());
        FailingAllocator::fail(k, repeat);
        std::optional<Result<RawDiskCache>> cache;
        {
          const FailingAllocator::Scope scope;
          cache.emplace(RawDiskCache::open(std::move(lent), scene.options));
        }
        met = FailingAllocator::heal() > 0;
        failures += met;
        EXPECT_TRUE(*cache || cache->error() == Errc::out_of_memory) << cache->error().message();
        if (*cache) {
          std::string wrong;
          const Content content = content_of(**cache, scene.keys, wrong);
          EXPECT_EQ(wrong, "");
          EXPECT_EQ(oracle.check_after_crash(content, oracle.now()), "");
        }
        left = again.medium().crash(random, any_policy(random));
        again.cut_at(1);
      }
      const auto recovered = recover_from(std::move(left), scene, random);
      ASSERT_EQ(recovered.wrong, "");
      ASSERT_EQ(oracle.check_after_crash(recovered.content, oracle.now()), "");
      if (HasFailure()) return;
    }
  }
  Proof().add("allocation_failures", failures);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, AllocationSweep,
                         ::testing::ValuesIn(all_scenarios().begin(), all_scenarios().end()),
                         [](const auto& scenario) { return std::string(scenario.param.name); });

}  // namespace
}  // namespace rawcache::testing
