// How the result of `bench batch-io` is shown.
#include "cli/bench.h"
#include "cli/text.h"

namespace rawcache::cli {

namespace {

constexpr std::size_t kBarColumns = 20;
/// Above it others have disturbed the figures.
constexpr double kOtherCpuShare = 0.1;

using Align = Table::Align;

std::string per_second(double rate) { return format_count(static_cast<std::uint64_t>(rate)); }
std::string times(double ratio) { return format_number(ratio, ratio < 10 ? 1 : 0) + "x"; }
std::string share_bar(const BenchRow& row) {
  return bar(row.limit_share, kBarColumns) + " " + format_percent(row.limit_share);
}

void print_writes(const BenchReport& report) {
  Table table({Align::right, Align::right, Align::right, Align::right, Align::right, Align::left});
  table.add(
      {"value", "direct/s", "buffered/s", "gain", "MB/s", "of the device's sequential writes"});
  for (const BenchRow& row : report.rows) {
    if (row.batch != 0) continue;
    table.add({format_bytes(row.value_bytes), per_second(row.single_per_s),
               per_second(row.batched_per_s), times(row.ratio), per_second(row.batched_mb_per_s),
               share_bar(row) + " of " + per_second(row.limit_mb_per_s) + " MB/s"});
  }
  print("\n" + bold("Writes") +
        "  one store at a time, durable each, against store_buffered and flush_writes\n");
  print(table.str());
}

void print_reads(const BenchReport& report) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  table.add(
      {"keys", "batch", "single/s", "batch/s", "gain", "of the device's reads at that depth"});
  for (const BenchRow& row : report.rows) {
    if (row.batch == 0) continue;
    const bool random = row.name.find("random") != std::string::npos;
    table.add({random ? "random" : "neighbours", std::to_string(row.batch),
               per_second(row.single_per_s), per_second(row.batched_per_s), times(row.ratio),
               share_bar(row) + " of " + per_second(row.limit_per_s) + "/s"});
  }
  print("\n" + bold("Reads") +
        "  of 4 KiB: one lookup after another against lookup_batch, keys/s\n");
  print(table.str());
}

void write_row(JsonWriter& json, const BenchRow& row) {
  json.begin_object().field("name", row.name).field("single_per_s", row.single_per_s);
  json.field("batched_per_s", row.batched_per_s).field("ratio", row.ratio);
  json.field("limit_share", row.limit_share).field("limit_per_s", row.limit_per_s);
  json.field("unit", row.batch == 0 ? "operations" : "keys");
  json.field("value_bytes", row.value_bytes).field("operations", row.operations);
  json.field("repetitions", row.repetitions);
  json.field("ratio_min", row.ratio_min).field("ratio_max", row.ratio_max);
  json.field("mb_per_s", row.batched_mb_per_s).field("limit_mb_per_s", row.limit_mb_per_s);
  json.field("single_p50_us", row.single_p50_us).field("single_p99_us", row.single_p99_us);
  json.end_object();
}

std::string flush_rule(const BenchArguments& arguments) {
  if (arguments.mode == BatchMode::adaptive) return "a size that adapts";
  return format_count(arguments.max_operations) + " operations or " +
         format_bytes(arguments.max_buffer_bytes);
}

}  // namespace

void print_bench(const BenchPlan& plan, const BenchReport& report) {
  const BenchArguments& arguments = *plan.arguments;
  std::string line = format_bytes(plan.file_bytes) +
                     (report.disk.block_device ? " of " : " file ") + escape(plan.path) + ", " +
                     report.disk.engine +
                     (report.disk.direct ? ", O_DIRECT" : ", through the page cache");
  if (arguments.sync_delay_ms > 0) {
    line += ", each sync " + format_number(arguments.sync_delay_ms, 1) + " ms slower";
  }
  print(line + "\n");
  if (!report.disk.fallback_reason.empty())
    print("  because: " + report.disk.fallback_reason + "\n");
  print_writes(report);
  print_reads(report);
  print("\nMedians of " + std::to_string(plan.write_repetitions) + " (writes) and " +
        std::to_string(plan.read_repetitions) + " (reads) interleaved repetitions; flushes at " +
        flush_rule(arguments) + ", write buffers " + format_bytes(report.write_buffer_bytes) +
        ". " + format_number(report.seconds, 1) + " s.\n");
  if (report.other_cpu_share > kOtherCpuShare) {
    print("Others used " + format_percent(report.other_cpu_share) +
          " of the processors meanwhile: these figures are disturbed.\n");
  }
  if (report.evicted != 0) {
    print(format_count(report.evicted) +
          " entries were evicted meanwhile: give it more --capacity.\n");
  }
  if (interrupted()) print("Interrupted; what had been measured is above.\n");
}

void print_bench_json(const BenchPlan& plan, const BenchReport& report) {
  const BenchArguments& arguments = *plan.arguments;
  JsonWriter json = begin_json("bench batch-io");
  json.field("path", plan.path).field("complete", !interrupted());
  json.field("engine", report.disk.engine).field("direct", report.disk.direct);
  json.field("fallback_reason", report.disk.fallback_reason);
  json.field("block_device", report.disk.block_device);
  json.field("io_alignment", report.disk.io_alignment);
  json.field("file_bytes", plan.file_bytes).field("capacity_bytes", report.capacity_bytes);
  json.field("sync_delay_ms", arguments.sync_delay_ms);
  json.name("options").begin_object().field("max_operations", arguments.max_operations);
  json.field("max_buffer_bytes", arguments.max_buffer_bytes);
  json.field("mode", arguments.mode == BatchMode::adaptive ? "adaptive" : "fixed");
  json.field("segment_bytes", plan.segment_bytes).field("quick", arguments.quick).end_object();
  json.name("limits").begin_object();
  json.field("sequential_write_mb_per_s", report.write_limit_mb_per_s);
  json.field("sequential_write_bytes", plan.raw_bytes);
  json.field("random_reads_per_s", report.random_reads_per_s);
  json.field("random_read_bytes", report.read_bytes).end_object();
  json.name("rows").begin_array();
  for (const BenchRow& row : report.rows) write_row(json, row);
  json.end_array().field("evicted", report.evicted);
  json.field("write_buffer_bytes", report.write_buffer_bytes);
  json.field("other_cpu_share", report.other_cpu_share).field("seconds", report.seconds);
  end_json(json);
}

}  // namespace rawcache::cli
