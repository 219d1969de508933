// replay: runs traces through a cache and compares what it misses with other policies.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cli/baselines.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/replay_run.h"
#include "cli/text.h"

namespace rawcache::cli {
namespace {

constexpr int kSuitePercents[] = {1, 5, 10, 20, 40};

struct Row {
  std::string trace;
  double size_percent = 0;
  ReplayResult result;
};

const char* name_of(EvictionPolicyKind policy) {
  switch (policy) {
    case EvictionPolicyKind::fifo:
      return "fifo";
    case EvictionPolicyKind::lru:
      return "lru";
    case EvictionPolicyKind::rc:
      break;
  }
  return "rc";
}

const Baseline* baseline_of(const Row& row) {
  const auto found = std::ranges::find_if(kBaselines, [&](const Baseline& baseline) {
    return baseline.trace == row.trace && baseline.size_percent == row.size_percent;
  });
  return found == std::end(kBaselines) ? nullptr : found;
}

std::string fixed(double number, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, number);
  return text;
}

/// Geometric means over the rows that have a baseline.
struct Comparison {
  int cells = 0;
  double lru = 0, s3fifo = 0, arc = 0, lru_bytes = 0;
  double log_bytes = 0, device_bytes = 0;  ///< per byte missed
  int worse_than_lru = 0;
  double worst = 0;
  double write_amplification_max = 0;
};

Comparison compare(const std::vector<Row>& rows) {
  Comparison sums;
  for (const Row& row : rows) {
    const Baseline* baseline = baseline_of(row);
    if (baseline == nullptr) continue;
    const double miss = row.result.miss_ratio();
    ++sums.cells;
    sums.lru += std::log(miss / baseline->lru);
    sums.s3fifo += std::log(miss / baseline->s3fifo);
    sums.arc += std::log(miss / baseline->arc);
    sums.lru_bytes += std::log(row.result.byte_miss_ratio() / baseline->lru_bytes);
    sums.log_bytes += std::log(row.result.log_bytes_per_put_byte());
    sums.device_bytes += std::log(row.result.device_bytes_per_put_byte());
    sums.worse_than_lru += miss / baseline->lru > 1.01;
    sums.worst = std::max(sums.worst, miss / baseline->lru);
    sums.write_amplification_max =
        std::max(sums.write_amplification_max, row.result.stats.logical_write_amplification());
  }
  for (double* mean :
       {&sums.lru, &sums.s3fifo, &sums.arc, &sums.lru_bytes, &sums.log_bytes, &sums.device_bytes}) {
    *mean = sums.cells == 0 ? 0 : std::exp(*mean / sums.cells);
  }
  return sums;
}

void print_table(const std::vector<Row>& rows) {
  print(
      "trace        size  requests  miss    bytes   logical  device   /LRU   /S3-FIFO  /ARC   "
      "Mreq/s\n");
  for (const Row& row : rows) {
    const Baseline* baseline = baseline_of(row);
    const double miss = row.result.miss_ratio();
    const auto ratio = [&](double to) { return baseline == nullptr ? "-" : fixed(miss / to, 3); };
    const Baseline none{};
    const Baseline& with = baseline == nullptr ? none : *baseline;
    char line[200];
    std::snprintf(
        line, sizeof(line), "%-12s %4g%% %9llu  %.4f  %.4f  %.3f    %.3f    %-6s %-9s %-6s %.2f\n",
        row.trace.c_str(), row.size_percent, static_cast<unsigned long long>(row.result.requests),
        miss, row.result.byte_miss_ratio(), row.result.stats.logical_write_amplification(),
        row.result.stats.write_amplification(), ratio(with.lru).c_str(), ratio(with.s3fifo).c_str(),
        ratio(with.arc).c_str(), double(row.result.requests) / row.result.seconds / 1e6);
    print(line);
  }
  const Comparison means = compare(rows);
  if (means.cells == 0) return;
  print("\nGeometric means over " + std::to_string(means.cells) + " cells: miss ratio " +
        fixed(means.lru, 4) + " x LRU, " + fixed(means.s3fifo, 4) + " x S3-FIFO, " +
        fixed(means.arc, 4) + " x ARC; byte miss ratio " + fixed(means.lru_bytes, 4) +
        " x LRU.\nWorse than 1.01 x LRU: " + std::to_string(means.worse_than_lru) +
        " cells, at worst " + fixed(means.worst, 3) + ". Logical write amplification at most " +
        fixed(means.write_amplification_max, 3) + ". Bytes appended per byte missed " +
        fixed(means.log_bytes, 3) + ", written to the device " + fixed(means.device_bytes, 3) +
        ".\n");
}

void print_one(const Row& row) {
  const ReplayResult& result = row.result;
  const Stats& stats = result.stats;
  print("requests " + format_count(result.requests) + ", hits " +
        format_count(result.requests - result.misses) + ", miss ratio " +
        fixed(result.miss_ratio(), 4) + ", byte miss ratio " + fixed(result.byte_miss_ratio(), 4) +
        "\nwrite amplification: logical " + fixed(stats.logical_write_amplification(), 3) +
        ", device " + fixed(stats.write_amplification(), 3) + "\nevicted: cold " +
        format_count(stats.evicted_cold) + ", hot " + format_count(stats.evicted_hot) +
        ", index full " + format_count(stats.evicted_index_full) + "; copied " +
        format_count(stats.copied) + ", segments relabelled " +
        format_count(stats.segments_relabelled) + ", rotated " +
        format_count(stats.segments_rotated) + "\n" +
        fixed(result.seconds * 1e9 / double(std::max<std::uint64_t>(result.requests, 1)), 0) +
        " ns per request\n");
}

void print_json(const ReplayArguments& arguments, const std::vector<Row>& rows) {
  JsonWriter json = begin_json("replay");
  json.field("wa_cap", arguments.wa_cap).field("scale", arguments.scale);
  json.field("admission", arguments.admission == Admission::all ? "all" : "wanted-again");
  json.field("memory_bytes", arguments.memory_bytes);
  json.name("rows").begin_array();
  for (const Row& row : rows) {
    const ReplayResult& result = row.result;
    json.begin_object().field("trace", row.trace).field("size_percent", row.size_percent);
    json.field("policy", name_of(arguments.policy)).field("requests", result.requests);
    json.field("miss_ratio", result.miss_ratio());
    json.field("byte_miss_ratio", result.byte_miss_ratio());
    json.field("logical_write_amplification", result.stats.logical_write_amplification());
    json.field("device_write_amplification", result.stats.write_amplification());
    json.field("log_bytes_per_missed_byte", result.log_bytes_per_put_byte());
    json.field("device_bytes_per_missed_byte", result.device_bytes_per_put_byte());
    if (const Baseline* baseline = baseline_of(row)) {
      json.field("lru", baseline->lru).field("s3fifo", baseline->s3fifo);
      json.field("arc", baseline->arc);
    }
    json.end_object();
  }
  json.end_array();
  const Comparison means = compare(rows);
  if (means.cells > 0) {
    json.name("means").begin_object().field("cells", means.cells).field("to_lru", means.lru);
    json.field("to_s3fifo", means.s3fifo).field("to_arc", means.arc);
    json.field("bytes_to_lru", means.lru_bytes).field("worse_than_lru", means.worse_than_lru);
    json.field("worst_to_lru", means.worst);
    json.field("log_bytes_per_missed_byte", means.log_bytes);
    json.field("device_bytes_per_missed_byte", means.device_bytes).end_object();
  }
  end_json(json);
}

Result<Row> run_one(const Trace& trace, double percent, std::uint64_t capacity,
                    const ReplayArguments& arguments) {
  Row row{.trace = trace.name, .size_percent = percent, .result = {}};
  ProgressLine line(trace.name + " " + fixed(percent, 0) + " %", !arguments.json);
  ReplaySetup setup{.capacity = capacity,
                    .policy = arguments.policy,
                    .wa_cap = arguments.wa_cap,
                    .admission = arguments.admission,
                    .admission_percent = arguments.admission_percent,
                    .memory_bytes = arguments.memory_bytes,
                    .scale = arguments.scale,
                    .restart_percent = arguments.restart_percent,
                    .path = arguments.path};
  if (setup.capacity == 0) {
    setup.capacity = static_cast<std::uint64_t>(double(trace.footprint()) * percent / 100);
  }
  auto result =
      replay(trace, setup, [&](std::uint64_t done) { line.show(done, trace.requests.size()); });
  if (!result) return std::unexpected(result.error());
  row.result = std::move(*result);
  return row;
}

Result<std::vector<std::string>> traces_in(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> paths;
  for (const auto& file : std::filesystem::directory_iterator(directory, error)) {
    if (file.path().string().ends_with(".rct.zst")) paths.push_back(file.path().string());
  }
  if (error) return std::unexpected(Error(Errc::no_such_file, directory));
  std::ranges::sort(paths);
  return paths;
}

Result<std::vector<Row>> run_all(const ReplayArguments& arguments) {
  std::vector<Row> rows;
  const bool suite = !arguments.suite.empty();
  auto paths = suite ? traces_in(arguments.suite)
                     : Result<std::vector<std::string>>(std::vector{arguments.trace});
  if (!paths) return std::unexpected(paths.error());
  for (const std::string& path : *paths) {
    auto trace = read_trace(path);
    if (!trace) return std::unexpected(trace.error());
    if (trace->requests.empty()) continue;
    std::vector<double> percents{arguments.percent};
    if (suite) percents.assign(std::begin(kSuitePercents), std::end(kSuitePercents));
    for (const double percent : percents) {
      auto row = run_one(*trace, percent, arguments.capacity, arguments);
      if (!row) return std::unexpected(row.error());
      rows.push_back(std::move(*row));
      if (interrupted()) return rows;
    }
  }
  return rows;
}

}  // namespace

int run_replay(const ReplayArguments& arguments) {
  if (arguments.trace.empty() == arguments.suite.empty()) {
    return fail_usage("replay wants a TRACE or --suite DIR", arguments.json);
  }
  if (arguments.suite.empty() && arguments.capacity == 0 && arguments.percent == 0) {
    return fail_usage("replay of a trace wants --capacity", arguments.json);
  }
  catch_interrupts();
  const auto rows = run_all(arguments);
  if (!rows) return fail(rows.error(), arguments.json);
  if (arguments.json) {
    print_json(arguments, *rows);
  } else {
    print_table(*rows);
    if (arguments.suite.empty()) {
      for (const Row& row : *rows) print_one(row);
    }
  }
  return interrupted() ? kExitInterrupted : kExitOk;
}

}  // namespace rawcache::cli
