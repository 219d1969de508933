#include "crash/scenarios.h"

namespace rawcache::testing {

Scene scenario_scene() {
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

namespace {

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

constexpr NamedScenario kScenarios[] = {{"direct", direct_calls},
                                        {"buffered", buffered_calls},
                                        {"mixed", mixed_calls},
                                        {"clear", around_clear},
                                        {"around_the_log", around_the_log}};

}  // namespace

std::span<const NamedScenario> all_scenarios() { return kScenarios; }

}  // namespace rawcache::testing
