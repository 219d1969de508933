// peer_bench: rawcache beside other stores of keys and values, and beside the device alone.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "bench/comparison.h"
#include "bench/scaling.h"

namespace {

using namespace rawcache::bench;

constexpr const char* kAbout =
    "Runs the same keys, values and phases on rawcache, on other engines and on the device alone,\n"
    "interleaved, each run in a process of its own with cold caches. Sizes: 4096, 4KiB, 1MiB.";

struct Arguments {
  Plan plan;
  std::vector<std::string> engines, phases;
  bool quick = false;
  bool list = false;
  bool scaling = false;
};

/// Those with one of these names, in their own order; all of no names. An unknown name ends it.
template <typename T>
std::vector<T> chosen(const std::vector<T>& all, const std::vector<std::string>& names) {
  std::vector<T> result;
  for (const std::string& name : names) {
    if (std::ranges::none_of(all, [&](const T& one) { return one.name == name; })) {
      std::string known;
      for (const T& one : all) known += " " + std::string(one.name);
      fail("unknown name " + name, "known are:" + known);
    }
  }
  for (const T& one : all) {
    if (names.empty() || std::ranges::find(names, one.name) != names.end()) result.push_back(one);
  }
  return result;
}

void print_list() {
  for (const EngineKind& kind : all_engines()) {
    std::printf("%-18s %s\n", kind.name.c_str(), kind.description.c_str());
  }
  for (const std::string& name : missing_engines()) {
    std::printf("%-18s left out: its library was not found when building\n", name.c_str());
  }
  for (const Phase& phase : kPhases) {
    std::printf("%-18s %s\n", std::string(phase.name).c_str(), std::string(phase.title).c_str());
  }
}

void add_options(CLI::App& app, Arguments& arguments) {
  Plan& plan = arguments.plan;
  const auto size = [](bool large) {
    return CLI::AsSizeValue(/*kb_is_1000=*/false).description(large ? "SIZE" : "SIZE,...");
  };
  plan.folder = (std::filesystem::temp_directory_path() / "rawcache-peer-bench").string();
  app.add_option("--dir", plan.folder, "Folder on the device to measure; what is made is removed")
      ->capture_default_str();
  app.add_option("--engines", arguments.engines, "Only these; see --list")->delimiter(',');
  app.add_option("--sizes", plan.sizes, "Bytes of a value (100,1KiB,4KiB,64KiB,1MiB)")
      ->delimiter(',')
      ->transform(size(false));
  app.add_option("--phases", arguments.phases, "Only these; see --list. Most need load")
      ->delimiter(',');
  app.add_option("--repeat", plan.repeat, "Runs of each phase, of which the median counts");
  app.add_option("--seconds", plan.seconds, "Length of a run");
  app.add_option("--data", plan.data_bytes,
                 "Keys and values to load, bytes; three times the memory at least")
      ->transform(size(true));
  app.add_option("--entries-max", plan.entries_max, "Load no more entries than this");
  app.add_option("--cache", plan.cache_bytes, "Memory for reading, bytes")->transform(size(true));
  app.add_option("--write-buffer", plan.write_buffer_bytes, "Memory of a write buffer, bytes")
      ->transform(size(true));
  app.add_option(
      "--memory-group", plan.memory_group,
      "Folder of a control group (memory) to make a group in that bounds memory and page "
      "cache of every run together");
  app.add_option("--json", plan.json, "Write the results to this file");
  app.add_flag_callback(
      "--keep-caches", [&plan] { plan.drop_caches = false; },
      "Leave the machine's page cache as it is between runs; reads are not cold then");
  app.add_flag("--quick", arguments.quick, "Less of everything, in five minutes");
  app.add_flag("--list", arguments.list, "Print engines and phases");
  app.add_flag("--scaling", arguments.scaling,
               "Instead: how memory, rates and recovery grow with entries, capacity and threads");
}

/// What --quick changes, unless it was said otherwise.
void make_quick(const CLI::App& app, Plan& plan) {
  const auto said = [&](const char* option) { return app.count(option) > 0; };
  if (!said("--repeat")) plan.repeat = 1;
  if (!said("--seconds")) plan.seconds = 0.15;
  if (!said("--data")) plan.data_bytes = std::uint64_t{128} << 20;
  if (!said("--entries-max")) plan.entries_max = 1'000'000;
  if (!said("--cache")) plan.cache_bytes = std::uint64_t{8} << 20;
  if (!said("--write-buffer")) plan.write_buffer_bytes = std::uint64_t{16} << 20;
  plan.settle_s_max = 3;
}

int run(const Plan& plan) {
  for (const std::string& name : missing_engines()) {
    std::fprintf(stderr, "left out: %s, its library was not found when building\n", name.c_str());
  }
  std::filesystem::create_directories(plan.folder);
  const Results results = compare(plan);
  std::error_code error;
  std::filesystem::remove(plan.folder, error);  // if nothing else is in it
  std::uint64_t wrong = 0;
  for (const Result& run : results.runs) wrong += run.sample.wrong;
  if (wrong > 0) {
    std::fprintf(stderr, "%llu wrong values were read\n", static_cast<unsigned long long>(wrong));
  }
  return wrong == 0 && results.failures.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(kAbout, "peer_bench");
  Arguments arguments;
  add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  if (arguments.list) {
    print_list();
    return EXIT_SUCCESS;
  }
  Plan& plan = arguments.plan;
  if (arguments.scaling) {
    ScalingPlan scaling{.quick = arguments.quick, .folder = plan.folder};
    if (app.count("--entries-max") > 0) scaling.entries_max = plan.entries_max;
    return run_scaling(scaling);
  }
  if (arguments.quick) make_quick(app, plan);
  plan.engines = chosen(all_engines(), arguments.engines);
  if (arguments.quick && arguments.engines.empty()) {
    std::erase_if(plan.engines, [](const EngineKind& kind) { return kind.variant; });
  }
  plan.phases = chosen(std::vector<Phase>(kPhases.begin(), kPhases.end()), arguments.phases);
  if (plan.sizes.empty()) plan.sizes = {100, 1024, 4096, 65536, 1 << 20};
  if (std::ranges::any_of(plan.sizes, [](std::uint64_t size) { return size < 8; })) {
    fail("--sizes", "values of less than 8 bytes cannot be checked");
  }
  if (plan.repeat == 0 || plan.seconds <= 0) fail("--repeat, --seconds", "must be more than 0");
  return run(plan);
}
