// The phases of the comparison, as data, and how one is run.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "bench/engine.h"
#include "bench/processor.h"
#include "bench/workload.h"

namespace rawcache::bench {

/// What the threads of a phase do again and again.
enum class Pattern : std::uint8_t {
  load,         ///< put all keys once in their order, then flush; runs to its end, not for a time
  get,          ///< get a random key
  batch,        ///< get many random keys at once
  neighbours,   ///< get many keys at once that were stored one after another
  mixed,        ///< 9 times of 10 get a zipf(0.99) key, else put it; a miss is put, as users do
  durable_put,  ///< put a random key durably
  overwrite,    ///< put random keys in batches, and flush at the end, when there is no room left
};

struct Phase {
  std::string_view name;
  std::string_view title;
  Pattern pattern = Pattern::get;
  unsigned threads = 1;
};

inline constexpr std::size_t kBatchKeys = 100;
inline constexpr double kZipfTheta = 0.99;
inline constexpr unsigned kPutsOfMixedPercent = 10;

/// In the order in which they are run: what changes the content comes last.
inline constexpr std::array kPhases{
    Phase{"load", "bulk load", Pattern::load, 1},
    Phase{"get1", "random get, 1 thread", Pattern::get, 1},
    Phase{"get8", "random get, 8 threads", Pattern::get, 8},
    Phase{"batch", "batch of 100 random", Pattern::batch, 1},
    Phase{"neighbours", "batch of 100 stored together", Pattern::neighbours, 1},
    Phase{"mixed1", "mixed 90/10 zipf, 1 thread", Pattern::mixed, 1},
    Phase{"mixed8", "mixed 90/10 zipf, 8 threads", Pattern::mixed, 8},
    Phase{"put1", "durable put, 1 thread", Pattern::durable_put, 1},
    Phase{"put8", "durable put, 8 threads", Pattern::durable_put, 8},
    Phase{"overwrite", "overwrite at capacity", Pattern::overwrite, 1},
};

/// So many values a phase has in its hands at once. Those that are put in batches are counted like
/// those of a batch of gets, so that engines that gather and compact have room for it.
std::uint64_t values_in_hand(const Phase& phase);

bool runs(const EngineKind& kind, const Phase& phase);

/// What one run of a phase has shown. Plain numbers: it travels through a pipe.
struct Sample {
  std::uint64_t operations = 0;  ///< keys put or got
  std::uint64_t found = 0, wrong = 0;
  double seconds = 0;
  double cpu_s = 0;                            ///< of the process, in these seconds
  double settle_s = 0;                         ///< then until its threads had done what was left
  double settled_cpu_s = 0;                    ///< of the process, with that
  double others_cpu_cores = 0;                 ///< processors that others used meanwhile
  double p50_us = 0, p99_us = 0, p999_us = 0;  ///< of one call
  // Until all was settled and closed.
  std::uint64_t written_bytes = 0, read_bytes = 0;                ///< by the process
  std::uint64_t device_written_bytes = 0, device_read_bytes = 0;  ///< by everybody
  std::uint64_t disk_bytes = 0;        ///< that the engine's files occupy at the end
  std::uint64_t memory_bytes = 0;      ///< that open took
  std::uint64_t end_memory_bytes = 0;  ///< anonymous memory at the end of the run
  std::uint64_t page_cache_bytes = 0;  ///< of the engine's files at the end
};

struct PhaseRun {
  Phase phase;
  Settings settings;
  std::uint64_t seed = 0;
  double seconds = 0;  ///< how long, but for load
  /// Where a single thread works that waits for the device again and again.
  std::optional<Processor> processor;
  /// How long to wait for background work; 0: not at all. After a load the engine is then told to
  /// finish it, however long that takes.
  double settle_s_max = 0;
  const ValuePool* pool = nullptr;
  const Zipf* zipf = nullptr;  ///< of settings.entries
};

/// Opens the engine, runs the phase, closes the engine.
Sample run_phase(Engine& engine, const PhaseRun& run);

}  // namespace rawcache::bench
