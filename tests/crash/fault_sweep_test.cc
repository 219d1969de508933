// Guards C1-C3, C5, C6 and C8 on a device that fails: in fixed scenarios the k-th read, write or
// sync fails, once or for ever, for every k until the scenario runs without meeting the fault; the
// same in short random ones. The power may go while the device is broken, after it was healed, and
// later.
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <memory>

#include "crash/fault_run.h"
#include "crash/scenarios.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
using Repeat = FaultyDisk::Repeat;
using Reach = FaultyDisk::Reach;

struct Fault {
  Op op;
  Reach reach;  ///< of a sync: if it is not `nothing`, the medium forgets
  const char* words;
};
constexpr Fault kFaults[] = {{Op::write, Reach::nothing, "write"},
                             {Op::write, Reach::half, "write that reached half"},
                             {Op::write, Reach::all, "write that reached the medium"},
                             {Op::sync, Reach::nothing, "sync"},
                             {Op::sync, Reach::all, "sync that makes the medium forget"},
                             {Op::read, Reach::nothing, "read"},
                             {Op::read, Reach::half, "read of half"}};

enum class Looks : bool { few, many };

/// A scenario, swept.
class Sweep {
 public:
  /// With Looks::many every policy is looked at at every occasion, else one now and then.
  Sweep(const Scene& scene, Looks looks) : scene_(scene), looks_(looks) {}

  /// Every fault, once and for ever, for every k. `seed`: of sizes and of crashes.
  void run(const Scenario& scenario, std::uint64_t seed);
  std::uint64_t faults() const { return faults_; }

 private:
  /// One run with this fault. False when it ran without meeting it.
  bool run_once(const Scenario& scenario, const Fault& fault, Repeat repeat, std::uint64_t k,
                std::uint64_t seed);
  void look(const char* when, const CutDisk& disk, const Oracle& oracle, std::mt19937_64& random);

  const Scene& scene_;
  const Looks looks_;
  std::uint64_t faults_ = 0;
};

void Sweep::run(const Scenario& scenario, std::uint64_t seed) {
  for (const Fault& fault : kFaults) {
    for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
      for (std::uint64_t k = 1;; ++k) {
        SCOPED_TRACE(std::string(fault.words) + ", " +
                     (repeat == Repeat::once ? "once" : "for ever") + ", k " + std::to_string(k));
        const bool met = run_once(scenario, fault, repeat, k, seed);
        if (::testing::Test::HasFailure()) return;
        if (!met) break;
        ++faults_;
      }
    }
  }
}

/// The power may go now.
void Sweep::look(const char* when, const CutDisk& disk, const Oracle& oracle,
                 std::mt19937_64& random) {
  for (const CrashPolicy policy : kPolicies) {
    if (looks_ == Looks::few && random() % 32 != 0) continue;
    const auto recovered = recover_from(disk.medium().crash(random, policy), scene_, random);
    EXPECT_EQ(recovered.wrong, "") << when;
    if (!recovered.wrong.empty()) continue;
    EXPECT_EQ(oracle.check_after_crash(recovered.content, oracle.now()), "")
        << when << ", policy " << static_cast<int>(policy);
  }
}

bool Sweep::run_once(const Scenario& scenario, const Fault& fault, Repeat repeat, std::uint64_t k,
                     std::uint64_t seed) {
  std::mt19937_64 random(seed);
  CutDisk disk(scene_.device_bytes);
  const auto info = format_drawn(random, disk.disk(), scene_.format);
  EXPECT_TRUE(info);
  Oracle oracle(scene_.keys, 0);
  disk.disk().set_hook([&](const FaultyDisk::Event& event) {
    if (event.op != Op::write) return;
    for (auto n = segments_opened_by(*info, event.offset, event.size); n > 0; --n) {
      oracle.tell({.type = Oracle::Event::Type::segment_opened});
    }
  });
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene_.options);
  EXPECT_TRUE(cache) << cache.error().message();
  Workload calls(scene_, random, 1, true, [&](const Oracle::Event& event) { oracle.tell(event); });
  (void)calls.store(*cache, 0, true);
  (void)calls.store(*cache, 1, false);
  oracle.set_segments_kept(segments_kept(*info, cache->stats()));

  const int os_error = k % 3 == 0 && fault.op == Op::write ? ENOSPC : EIO;
  disk.disk().fail(fault.op, k, os_error, repeat, fault.reach);
  if (fault.op == Op::sync && fault.reach != Reach::nothing) {
    disk.disk().set_on_failure([&](const FaultyDisk::Event&) { disk.medium().forget_unsynced(); });
  }
  scenario(calls, *cache);
  const bool met = disk.disk().failures() > 0;

  // The power may go while the device is still broken, at every moment of the way back, and later.
  random.seed(k);
  look("broken", disk, oracle, random);
  disk.disk().heal();
  EXPECT_EQ(check_healed(calls, *cache, oracle, scene_), "");
  look("healed", disk, oracle, random);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(calls.store(*cache, i % scene_.keys, i % 2 == 0));
  }
  look("used again", disk, oracle, random);
  EXPECT_TRUE(calls.close(*cache));
  look("closed", disk, oracle, random);
  return met;
}

class FaultSweep : public ::testing::TestWithParam<NamedScenario> {
 protected:
  const Scene scene_ = scenario_scene();
};

TEST_P(FaultSweep, TheKthReadWriteOrSyncMayFailForEveryK) {
  Sweep sweep(scene_, Looks::many);
  sweep.run(GetParam().run, 1);
  Proof().add("faults_injected", sweep.faults());
}

TEST_P(FaultSweep, OpenMayMeetAFaultAtEveryIoAndTheNextOpenFindsEverything) {
  std::mt19937_64 random(1);
  CutDisk disk(scene_.device_bytes);
  ASSERT_TRUE(format_drawn(random, disk.disk(), scene_.format));
  Oracle oracle(scene_.keys, 0);
  {
    auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene_.options);
    ASSERT_TRUE(cache);
    Workload calls(scene_, random, 1, true,
                   [&](const Oracle::Event& event) { oracle.tell(event); });
    GetParam().run(calls, *cache);
    disk.cut_at(1);
  }
  const Image image = disk.medium().content();
  std::uint64_t faults = 0;
  for (const Op op : {Op::read, Op::write, Op::sync}) {
    for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
      bool met = true;
      for (std::uint64_t k = 1; met; ++k) {
        SCOPED_TRACE("op " + std::to_string(static_cast<int>(op)) + " (read, write, sync), " +
                     (repeat == Repeat::once ? "once" : "for ever") + ", k " + std::to_string(k));
        CutDisk again(image);
        again.disk().fail(op, k, EIO, repeat);
        {
          auto cache = RawDiskCache::open(std::make_unique<LentDisk>(again.disk()), scene_.options);
          met = again.disk().failures() > 0;
          again.cut_at(1);
        }
        auto recovered =
            recover_from(again.medium().crash(random, any_policy(random)), scene_, random);
        ASSERT_EQ(recovered.wrong, "");
        ASSERT_EQ(oracle.check_after_crash(recovered.content, oracle.now()), "");
        faults += met;
      }
    }
  }
  Proof().add("faults_injected", faults);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, FaultSweep,
                         ::testing::ValuesIn(all_scenarios().begin(), all_scenarios().end()),
                         [](const auto& scenario) { return std::string(scenario.param.name); });

// --- Random ones ---

TEST(FaultVolume, TheKthReadWriteOrSyncOfARandomScenarioMayFailForEveryK) {
  for (Proof proof(1, 20); proof.next();) {
    std::mt19937_64 random(proof.seed());
    const Scene scene = scene_for_faults(random);
    SimDisk disk(scene.device_bytes);
    if (!format_drawn(random, disk, scene.format)) continue;  // this geometry does not fit
    const std::uint64_t steps = 4 + random() % 12;
    Sweep sweep(scene, Looks::few);
    sweep.run(
        [&](Workload& calls, RawDiskCache& cache) {
          for (std::uint64_t i = 0; i < steps; ++i) {
            (void)calls.step(cache);
            std::string wrong;
            bool failed = false;
            if (i % 4 == 3) (void)content_of(cache, scene.keys, wrong, &failed);
            EXPECT_EQ(wrong, "");
          }
        },
        random());
    ASSERT_FALSE(HasFailure()) << scene.words() << "\n" << proof.replay_command();
    proof.add("faults_injected", sweep.faults());
  }
}

TEST(FaultVolume, ADeviceThatFailsAgainAndAgainLosesNothing) {
  for (Proof proof(1, 100); proof.next();) {
    FaultRun run(proof.seed());
    ASSERT_EQ(run.with_errors(), "") << run.words() << "\n" << proof.replay_command();
    proof.add("faults_injected", run.faults());
    proof.add("failed_requests", run.failures());
    proof.add("crash_states", run.recoveries());
  }
}

TEST(FaultVolume, ARottenLogAndStrayWritesAndReadsAreMissesAndNeverOlderValues) {
  for (Proof proof(1, 100); proof.next();) {
    FaultRun run(proof.seed());
    ASSERT_EQ(run.with_silent_faults(), "") << run.words() << "\n" << proof.replay_command();
    proof.add("faults_injected", run.faults());
  }
}

}  // namespace
}  // namespace rawcache::testing
