// Scaling: what grows with entries, capacity and threads, and how fast.
#pragma once

#include <cstdint>
#include <string>

namespace rawcache::bench {

struct ScalingPlan {
  bool quick = false;
  std::uint64_t entries_max = UINT64_MAX;  ///< rows with more are left out
  std::string folder;                      ///< for a cache in a file; best on tmpfs
};

/// Prints Markdown tables. All but the last is done on disks in memory, so that no device counts.
/// Returns the exit status.
int run_scaling(const ScalingPlan& plan);

}  // namespace rawcache::bench
