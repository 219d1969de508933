// The parts of `bench batch-io`: where it runs, what it measures, what it shows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/raw_io.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

/// One line of the result. Rates are medians of the repetitions, ratios medians of each
/// repetition's.
struct BenchRow {
  std::string name;  ///< "write/4096", "read/random/100"
  std::uint64_t value_bytes = 0;
  std::size_t batch = 0;         ///< keys of a batch read; 0 for writes
  std::uint64_t operations = 0;  ///< of each repetition, batched
  std::size_t repetitions = 0;
  double single_per_s = 0;
  double batched_per_s = 0;
  double limit_per_s = 0;  ///< what the device alone allows, in the same unit
  double ratio = 0, ratio_min = 0, ratio_max = 0;
  double limit_share = 0;
  double single_p50_us = 0, single_p99_us = 0;
  double batched_mb_per_s = 0, limit_mb_per_s = 0;  ///< of values; 10^6 bytes
};

/// One repetition of a row.
struct BenchSample {
  double single_per_s = 0, batched_per_s = 0, limit_per_s = 0;
};

/// What was measured, and how.
struct BenchReport {
  DiskInfo disk;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t read_bytes = 0;  ///< of one lookup on the device
  std::vector<BenchRow> rows;
  std::uint64_t write_buffer_bytes = 0;  ///< memory of all write buffers at the end of the writes
  double write_limit_mb_per_s = 0;       ///< median of all sequential raw writes
  double random_reads_per_s = 0;         ///< best median of the raw random batch reads
  std::uint64_t evicted = 0;             ///< entries evicted while it ran; they should be none
  double other_cpu_share = 0;            ///< of all processors, used by others meanwhile
  double seconds = 0;
};

/// A freshly formatted cache on the bench's file or device, and the disk below it.
struct BenchStage {
  std::shared_ptr<Disk> disk;  ///< with the sync delay, the same that the cache writes to
  CacheInfo info;
  Extent raw;  ///< beside the cache, for raw writes
  RawDiskCache cache;
};

/// How much is done, from the arguments.
struct BenchPlan {
  const BenchArguments* arguments = nullptr;
  std::string path;
  std::uint64_t file_bytes = 0;  ///< used of the file or device
  std::uint64_t raw_bytes = 0;   ///< of them, for raw writes
  std::uint64_t segment_bytes = 0;
  std::size_t write_repetitions = 0;
  std::size_t read_repetitions = 0;
  std::size_t read_entries = 0;
  std::size_t single_reads = 0;  ///< of one repetition
  std::size_t batch_reads = 0;
  std::uint64_t write_operations(std::uint64_t value_bytes) const;
};

/// Values that do not compress and differ from each other; nothing is copied to make one.
class Payload {
 public:
  explicit Payload(std::size_t value_bytes_max) : pool_(kSpan + value_bytes_max) {}
  bool ok() const { return !pool_.bytes().empty(); }
  std::span<const std::byte> value(std::size_t number, std::size_t size) const {
    return pool_.bytes().subspan(number * (size + 64) % kSpan, size);
  }

 private:
  /// As much memory as the writes that measure the device's limit come from, so that the
  /// processor's caches serve both alike.
  static constexpr std::size_t kSpan = kRawWriteBytes * kRawWritesInFlight;
  IoMemory pool_;
};

Result<BenchStage> open_stage(const BenchPlan& plan);

/// Fills in everything but the name, value_bytes, batch and operations.
void summarise(BenchRow& row, std::vector<BenchSample> samples);
double median(std::vector<double> numbers);

/// Appends rows to the report until all are there or the user interrupts.
Result<void> bench_writes(const BenchPlan& plan, BenchReport& report, ProgressLine& progress);
Result<void> bench_reads(const BenchPlan& plan, BenchReport& report, ProgressLine& progress);

void print_bench(const BenchPlan& plan, const BenchReport& report);
void print_bench_json(const BenchPlan& plan, const BenchReport& report);

}  // namespace rawcache::cli
