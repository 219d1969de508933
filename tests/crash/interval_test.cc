// Options::flush_interval under power cuts: what was stored longer ago than the interval is found.
#include <gtest/gtest.h>

#include "crash/power_cut.h"
#include "crash/workload.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kIntervalMs = 100;
/// maintain() is called this often at least, so a flush starts at most so much too late.
constexpr std::uint64_t kStepMsMax = 9;
constexpr std::uint64_t kDeviceBytes = std::uint64_t{1} << 20;

/// Stores at random moments until the power goes. Returns what is wrong afterwards, or "".
std::string run(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  CutDisk disk(kDeviceBytes);
  FormatOptions format;
  format.segment_bytes = 64_KiB;
  if (!format_drawn(random, disk.disk(), format)) return "cannot be formatted";
  std::uint64_t time_ms = 1;
  Options options;
  options.max_operations = random() % 2 == 0 ? 4 : 1000;
  options.max_buffer_bytes = 64_KiB;
  options.read_buffer_bytes = 1_MiB;
  options.flush_interval = std::chrono::milliseconds(kIntervalMs);
  options.monotonic_now = [&time_ms] { return time_ms * kMs; };
  options.maintenance_thread = false;
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), options);
  if (!cache) return "cannot be opened: " + cache.error().message();

  std::vector<std::uint64_t> stored_at;
  disk.cut_at(1 + random() % 60);
  while (!disk.is_cut()) {
    time_ms += random() % (kStepMsMax + 1);
    (void)cache->maintain();
    if (disk.is_cut() || random() % 3 == 0) continue;
    if (cache->store_buffered(key_name(static_cast<std::uint32_t>(stored_at.size())), "v")) {
      stored_at.push_back(time_ms);
    }
  }
  auto image = disk.medium().crash(random, any_policy(random));
  SimDisk recovered(std::move(image));
  auto again = RawDiskCache::open(std::make_unique<LentDisk>(recovered), options);
  if (!again) return "cannot be opened again: " + again.error().message();
  bool lost = false;
  for (std::uint32_t i = 0; i < stored_at.size(); ++i) {
    const auto found = again->lookup(key_name(i));
    const std::uint64_t age = time_ms - stored_at[i];
    const std::string name = "entry " + std::to_string(i) + " of " + std::to_string(age) + " ms";
    if (!found && age > kIntervalMs + kStepMsMax) return name + " is lost";
    if (found && lost) return name + " is there, but not an earlier one";
    lost = lost || !found;
  }
  return {};
}

TEST(FlushIntervalPowerCuts, NothingOlderThanTheIntervalIsLost) {
  for (Proof proof(1, 10'000); proof.next();) {
    ASSERT_EQ(run(proof.seed()), "") << proof.replay_command();
    proof.add("interval_power_cuts", 1);
  }
}

}  // namespace
}  // namespace rawcache::testing
