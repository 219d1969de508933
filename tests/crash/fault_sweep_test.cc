// Guards C1-C3, C5, C6 and C8 on a device that fails: in fixed scenarios the k-th read, write or
// sync fails, once or for ever, for every k until the scenario runs without meeting the fault. The
// power may go while the device is broken, after it was healed, and later.
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <ostream>

#include "crash/power_cut.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
using Repeat = FaultyDisk::Repeat;
using Reach = FaultyDisk::Reach;

Scene fault_scene() {
  Scene scene;
  scene.format.block_bytes = 512;
  scene.format.segment_bytes = 4096;
  scene.format.expected_entries = 128;
  scene.device_bytes = 131072 + 2 * 16384 + 12 * 4096;
  scene.keys = 10;
  scene.value_bytes = 700;
  scene.options.max_operations = 8;
  scene.options.max_buffer_bytes = 4096;
  scene.options.read_buffer_bytes = 1 << 20;
  scene.options.maintenance_thread = false;
  return scene;
}

using Scenario = void (*)(Workload& calls, RawDiskCache& cache);

void direct_calls(Workload& calls, RawDiskCache& cache) {
  for (std::uint32_t i = 0; i < 8; ++i) (void)calls.store(cache, i % 5, true);
  for (std::uint32_t i = 0; i < 3; ++i) (void)calls.remove(cache, i, true);
  for (std::uint32_t i = 0; i < 3; ++i) (void)calls.store(cache, i, true);
}

void buffered_calls(Workload& calls, RawDiskCache& cache) {
  for (std::uint32_t round = 0; round < 4; ++round) {
    for (std::uint32_t i = 0; i < 6; ++i) (void)calls.store(cache, (i * 3 + round) % 10, false);
    (void)calls.remove(cache, round, false);
    (void)calls.flush(cache);
  }
}

void mixed_calls(Workload& calls, RawDiskCache& cache) {
  for (std::uint32_t i = 0; i < 40; ++i) {
    if (i % 7 == 3) {
      (void)calls.remove(cache, i % 10, i % 2 == 0);
    } else {
      (void)calls.store(cache, i % 10, i % 5 == 0);
    }
  }
}

void around_clear(Workload& calls, RawDiskCache& cache) {
  for (std::uint32_t i = 0; i < 6; ++i) (void)calls.store(cache, i, i == 3);
  (void)calls.clear(cache);
  for (std::uint32_t i = 2; i < 5; ++i) (void)calls.store(cache, i, false);
  (void)calls.flush(cache);
  (void)calls.store(cache, 7, true);
}

void around_the_log(Workload& calls, RawDiskCache& cache) {
  for (std::uint32_t i = 0; i < 150; ++i) (void)calls.store(cache, i % 10, i % 11 == 0);
}

struct NamedScenario {
  const char* name;
  Scenario run;
};
void PrintTo(const NamedScenario& scenario, std::ostream* out) { *out << scenario.name; }
constexpr NamedScenario kScenarios[] = {{"direct", direct_calls},
                                        {"buffered", buffered_calls},
                                        {"mixed", mixed_calls},
                                        {"clear", around_clear},
                                        {"around_the_log", around_the_log}};

class FaultSweep : public ::testing::TestWithParam<NamedScenario> {
 protected:
  /// One run with this fault. False when it ran without meeting it.
  bool run(Op op, std::uint64_t k, Repeat repeat, Reach reach, int os_error);

  const Scene scene_ = fault_scene();
  std::uint64_t runs_ = 0;
};

/// The device works again: everything can be flushed, and then the content is what was accepted.
std::string check_healed(Workload& calls, RawDiskCache& cache, Oracle& oracle, std::uint32_t keys) {
  Result<void> flushed;
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (flushed = calls.flush(cache); flushed) break;
  }
  if (!flushed) return "the healed device cannot be flushed: " + flushed.error().message();
  std::string wrong;
  const Content content = content_of(cache, keys, wrong);
  if (!wrong.empty()) return "healed: " + wrong;
  const std::string said = oracle.check_running(content, 3);
  return said.empty() ? said : "healed: " + said;
}

/// `reach`: of a failing write; a failing sync makes the medium forget if it is not `nothing`.
bool FaultSweep::run(Op op, std::uint64_t k, Repeat repeat, Reach reach, int os_error) {
  std::mt19937_64 random(k);
  CutDisk disk(scene_.device_bytes);
  const auto info = RawDiskCache::format(disk.disk(), scene_.format);
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

  disk.disk().fail(op, k, os_error, repeat, reach);
  if (op == Op::sync && reach != Reach::nothing) {
    disk.disk().set_on_failure([&](const FaultyDisk::Event&) { disk.medium().forget_unsynced(); });
  }
  GetParam().run(calls, *cache);
  const bool met = disk.disk().failures() > 0;

  // The power may go while the device is still broken, at every moment of the way back, and later.
  const auto look = [&](const char* when) {
    for (const CrashPolicy policy : kPolicies) {
      auto recovered = recover_from(disk.medium().crash(random, policy), scene_, random);
      EXPECT_EQ(recovered.wrong, "") << when;
      if (!recovered.wrong.empty()) continue;
      EXPECT_EQ(oracle.check_after_crash(recovered.content, oracle.now()), "")
          << when << ", policy " << static_cast<int>(policy);
    }
  };
  look("broken");
  disk.disk().heal();
  EXPECT_EQ(check_healed(calls, *cache, oracle, scene_.keys), "");
  look("healed");
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(calls.store(*cache, i, i % 2 == 0));
  }
  look("used again");
  EXPECT_TRUE(calls.close(*cache));
  look("closed");
  ++runs_;
  return met;
}

TEST_P(FaultSweep, TheKthReadWriteOrSyncMayFailForEveryK) {
  struct Fault {
    Op op;
    Reach reach;
    const char* words;
  };
  constexpr Fault kFaults[] = {{Op::write, Reach::nothing, "write"},
                               {Op::write, Reach::half, "write that reached half"},
                               {Op::write, Reach::all, "write that reached the medium"},
                               {Op::sync, Reach::nothing, "sync"},
                               {Op::sync, Reach::all, "sync that makes the medium forget"},
                               {Op::read, Reach::nothing, "read"}};
  for (const Fault& fault : kFaults) {
    for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
      for (std::uint64_t k = 1;; ++k) {
        SCOPED_TRACE(std::string(fault.words) + ", " +
                     (repeat == Repeat::once ? "once" : "for ever") + ", k " + std::to_string(k));
        const int os_error = k % 3 == 0 && fault.op == Op::write ? ENOSPC : EIO;
        if (!run(fault.op, k, repeat, fault.reach, os_error)) break;
        if (HasFailure()) return;
      }
    }
  }
  Proof().add("faults_injected", runs_);
}

TEST_P(FaultSweep, OpenMayMeetAFaultAtEveryIoAndTheNextOpenFindsEverything) {
  std::mt19937_64 random(1);
  CutDisk disk(scene_.device_bytes);
  ASSERT_TRUE(RawDiskCache::format(disk.disk(), scene_.format));
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
        ++runs_;
      }
    }
  }
  Proof().add("faults_injected", runs_);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, FaultSweep, ::testing::ValuesIn(kScenarios),
                         [](const auto& scenario) { return std::string(scenario.param.name); });

}  // namespace
}  // namespace rawcache::testing
