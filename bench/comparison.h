// The comparison: which engines, sizes and phases; their runs, interleaved; the results as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/phases.h"

namespace rawcache::bench {

/// What was asked for on the command line.
struct Plan {
  std::string folder;  ///< on the device that is measured
  std::string json;    ///< where the results go; empty: nowhere
  std::vector<EngineKind> engines;
  std::vector<std::uint64_t> sizes;
  std::vector<Phase> phases;
  std::string memory_group;  ///< folder of a control group to make groups in; empty: no limit
  unsigned repeat = 5;
  double seconds = 0.5;  ///< of one run of a phase
  double settle_s_max = 10;
  bool drop_caches = true;  ///< empty the page cache of the whole machine before every run
  std::uint64_t data_bytes = std::uint64_t{512} << 20;  ///< to load, or three times the memory
  std::uint64_t entries_max = 2'500'000;
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;
  std::uint64_t write_buffer_bytes = std::uint64_t{64} << 20;
};

/// One run of one phase by one engine.
struct Result {
  std::uint64_t value_bytes = 0, entries = 0;
  std::string phase, engine;
  unsigned repetition = 0;
  Sample sample;
};

/// A run that came to no end.
struct Failure {
  std::uint64_t value_bytes = 0;
  std::string phase, engine, how;
};

struct Results {
  std::vector<Result> runs;
  std::vector<Failure> failures;
  std::string caches_dropped_by;
  std::optional<Processor> processor;  ///< of phases of one thread that waits for the device
  double seconds = 0;
};

/// Runs everything, shows progress and medians on stderr, writes the JSON after every phase.
/// Every run is a process of its own: memory, processor time and caches are the engine's alone.
Results compare(const Plan& plan);

/// Everything that was measured, and how; bench/report.py reads it.
std::string to_json(const Plan& plan, const Results& results);

}  // namespace rawcache::bench
