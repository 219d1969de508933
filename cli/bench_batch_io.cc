// bench batch-io: what batches gain, beside the limit of the device measured in the same run.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/forwarding_disk.h"
#include "cli/text.h"

namespace rawcache::cli {

namespace {

constexpr std::uint64_t kFileBytes = 2_GiB;
constexpr std::uint64_t kQuickFileBytes = 256_MiB;
constexpr std::uint64_t kExpectedEntries = 1 << 18;

/// The file that was made for the bench, as long as it runs.
class TemporaryFile {
 public:
  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove(path_, error);
  }
  void remove_at_end(std::string path) { path_ = std::move(path); }

 private:
  std::string path_;
};

/// Ticks of all processors since the machine started: used, and in all.
struct CpuTicks {
  double used = 0, all = 0;
};
CpuTicks machine_ticks() {
  std::ifstream file("/proc/stat");
  std::string word;
  CpuTicks ticks;
  file >> word;
  for (int i = 0; i < 8; ++i) {
    double n = 0;
    file >> n;
    ticks.all += n;
    if (i != 3 && i != 4) ticks.used += n;  // idle, waiting for I/O
  }
  return ticks;
}

double own_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string temporary_path() {
  const char* folder = std::getenv("TMPDIR");
  std::string path = folder != nullptr && *folder != '\0' ? folder : "/tmp";
  return path + "/rawcache-bench." + std::to_string(::getpid());
}

BenchPlan make_plan(const BenchArguments& arguments, std::uint64_t available_bytes) {
  BenchPlan plan;
  plan.arguments = &arguments;
  const bool quick = arguments.quick;
  plan.file_bytes = arguments.capacity != 0 ? arguments.capacity
                    : quick                 ? kQuickFileBytes
                                            : kFileBytes;
  if (available_bytes != 0) plan.file_bytes = std::min(plan.file_bytes, available_bytes);
  plan.file_bytes -= plan.file_bytes % 1_MiB;
  // Raw writes move as much as the cache does, and never so little that the sync counts.
  plan.raw_bytes = quick ? 32_MiB : 256_MiB;
  std::uint64_t largest = 0;
  for (const std::uint64_t size : arguments.sizes) {
    const std::uint64_t moved = (size * plan.write_operations(size) + 1_MiB - 1) / 1_MiB * 1_MiB;
    plan.raw_bytes = std::max(plan.raw_bytes, moved);
    largest = std::max(largest, size);
  }
  plan.raw_bytes = std::min(plan.raw_bytes, plan.file_bytes / 4 / 1_MiB * 1_MiB);
  plan.segment_bytes = largest <= 1_MiB ? (quick ? 4_MiB : 16_MiB) : 64_MiB;
  const bool delayed = arguments.sync_delay_ms > 0;
  plan.write_repetitions = arguments.repetitions != 0 ? arguments.repetitions
                           : quick                    ? 1
                                                      : (delayed ? 3 : 5);
  plan.read_repetitions = arguments.repetitions != 0 ? arguments.repetitions : (quick ? 1 : 5);
  plan.read_entries = quick ? 4'000 : 60'000;
  plan.single_reads = quick ? 100 : 1'500;
  plan.batch_reads = quick ? 1'000 : 10'000;
  return plan;
}

/// Nothing if what is at the path may be replaced, else the exit status.
std::optional<int> refusal(const BenchArguments& arguments) {
  if (!arguments.yes && !arguments.force) {
    return fail_usage(
        arguments.path +
            " exists and would be overwritten; --yes replaces a cache, --force anything",
        arguments.json);
  }
  auto disk = open_disk(arguments.path);
  if (!disk) return fail(disk.error(), arguments.json);
  if (arguments.force || RawDiskCache::inspect(**disk)) return std::nullopt;
  disk->reset();
  // Only format knows what else not to overwrite.
  if (auto made = RawDiskCache::format(arguments.path, {}, false); !made) {
    return fail(made.error(), arguments.json);
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t BenchPlan::write_operations(std::uint64_t value_bytes) const {
  if (arguments->operations != 0) return arguments->operations;
  const bool delayed = arguments->sync_delay_ms > 0;
  const bool small = value_bytes <= 16_KiB;
  const bool large = value_bytes > 256_KiB;
  if (arguments->quick) return small ? 500 : large ? 10 : 60;
  if (arguments->mode == BatchMode::adaptive) return small ? 10'000 : large ? 300 : 2'000;
  if (delayed) return large ? 200 : 1'000;
  // Small values: enough that throughput is measured, not how a burst begins and ends.
  return small ? 40'000 : large ? 300 : 2'000;
}

Result<BenchStage> open_stage(const BenchPlan& plan) {
  const BenchArguments& arguments = *plan.arguments;
  auto opened = open_disk(
      plan.path,
      {.engine = arguments.engine, .direct = arguments.direct, .create_bytes = plan.file_bytes});
  if (!opened) return std::unexpected(opened.error());
  const std::shared_ptr<Disk> device(std::move(*opened));
  FormatOptions format;
  format.capacity = plan.file_bytes - plan.raw_bytes;
  format.segment_bytes = plan.segment_bytes;
  format.expected_entries = std::max<std::uint64_t>(kExpectedEntries, 2 * arguments.operations);
  auto info = RawDiskCache::format(*device, format);
  if (!info) return std::unexpected(info.error());
  const auto delay =
      std::chrono::nanoseconds(static_cast<std::int64_t>(arguments.sync_delay_ms * 1e6));
  Options options;
  options.max_operations = arguments.max_operations;
  options.max_buffer_bytes = arguments.max_buffer_bytes;
  options.batch_mode = arguments.mode;
  auto cache =
      RawDiskCache::open(std::make_unique<DelayingDisk>(device, delay), std::move(options));
  if (!cache) return std::unexpected(cache.error());
  return BenchStage{std::make_shared<DelayingDisk>(device, delay), std::move(*info),
                    Extent{format.capacity, plan.raw_bytes}, std::move(*cache)};
}

double median(std::vector<double> numbers) {
  if (numbers.empty()) return 0;
  std::ranges::sort(numbers);
  const std::size_t middle = numbers.size() / 2;
  return numbers.size() % 2 == 1 ? numbers[middle] : (numbers[middle - 1] + numbers[middle]) / 2;
}

void summarise(BenchRow& row, std::vector<BenchSample> samples) {
  row.repetitions = samples.size();
  if (samples.empty()) return;
  std::vector<double> single, batched, limit, ratio, share;
  for (const BenchSample& sample : samples) {
    single.push_back(sample.single_per_s);
    batched.push_back(sample.batched_per_s);
    limit.push_back(sample.limit_per_s);
    ratio.push_back(sample.batched_per_s / sample.single_per_s);
    share.push_back(sample.batched_per_s / sample.limit_per_s);
  }
  row.ratio_min = *std::ranges::min_element(ratio);
  row.ratio_max = *std::ranges::max_element(ratio);
  row.single_per_s = median(std::move(single));
  row.batched_per_s = median(std::move(batched));
  row.limit_per_s = median(std::move(limit));
  row.ratio = median(std::move(ratio));
  row.limit_share = median(std::move(share));
  row.batched_mb_per_s = row.batched_per_s * static_cast<double>(row.value_bytes) / 1e6;
  row.limit_mb_per_s = row.limit_per_s * static_cast<double>(row.value_bytes) / 1e6;
}

int run_bench_batch_io(const BenchArguments& arguments) {
  TemporaryFile temporary;
  std::string path = arguments.path;
  std::uint64_t available = 0;
  std::error_code error;
  if (path.empty()) path = temporary_path();
  if (std::filesystem::exists(path, error)) {
    if (const auto status = refusal(arguments)) return *status;
    auto disk = open_disk(path, {.read_only = true});
    if (!disk) return fail(disk.error(), arguments.json);
    available = (*disk)->info().size_bytes;
  } else {
    temporary.remove_at_end(path);
  }
  BenchPlan plan = make_plan(arguments, available);
  plan.path = path;
  if (arguments.sizes.empty()) return fail_usage("--sizes names no size", arguments.json);

  catch_interrupts();
  ProgressLine progress("Measuring:");
  BenchReport report;
  const CpuTicks ticks = machine_ticks();
  const double own = own_cpu_seconds();
  const Nanoseconds start = now_ns();
  auto done = bench_writes(plan, report, progress);
  if (done && !interrupted()) done = bench_reads(plan, report, progress);
  progress.clear();
  report.seconds = static_cast<double>(now_ns() - start) / 1e9;
  const CpuTicks end = machine_ticks();
  const double used = (end.used - ticks.used) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  const double all = (end.all - ticks.all) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (all > 0) {
    report.other_cpu_share = std::clamp((used - (own_cpu_seconds() - own)) / all, 0.0, 1.0);
  }
  if (!done && !interrupted()) return fail(done.error(), arguments.json);
  arguments.json ? print_bench_json(plan, report) : print_bench(plan, report);
  return interrupted() ? kExitInterrupted : kExitOk;
}

}  // namespace rawcache::cli
