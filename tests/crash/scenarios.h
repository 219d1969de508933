// Fixed sequences of calls in which every k-th thing is made to fail.
#pragma once

#include <functional>
#include <ostream>
#include <span>

#include "crash/workload.h"

namespace rawcache::testing {

/// The cache that they are for.
Scene scenario_scene();

using Scenario = std::function<void(Workload& calls, RawDiskCache& cache)>;

struct NamedScenario {
  const char* name;
  void (*run)(Workload& calls, RawDiskCache& cache);
};
inline void PrintTo(const NamedScenario& scenario, std::ostream* out) { *out << scenario.name; }

std::span<const NamedScenario> all_scenarios();

}  // namespace rawcache::testing
