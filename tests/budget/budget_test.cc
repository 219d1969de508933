// CPU budgets: what the hot paths may cost, in instructions per operation, counted by callgrind. So
// a regression fails on any machine, busy or not, without timing anything. The ceilings are a few
// per cent above what the release preset of g++ 12 needs; whoever makes a path cheaper lowers its
// ceiling.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "disk/scratch.h"

namespace rawcache::testing {
namespace {

struct Budget {
  const char* path;
  double instructions_max;  ///< per operation
};

constexpr Budget kBudgets[] = {
    {"store_buffered_100", 2250},
    {"store_buffered_batch_100", 2300},
    {"store_buffered_4096", 4800},
    {"remove_buffered", 1900},
    {"store_durable_100", 7600},
    {"lookup_buffered_100", 1940},
    {"lookup_buffered_4096", 5300},
    {"lookup_batch_buffered_100", 2470},
    {"lookup_batch_buffered_4096", 5200},
    {"lookup_disk_100", 2950},
    {"lookup_disk_4096", 4450},
    {"lookup_batch_disk_100", 2480},
    {"lookup_batch_disk_4096", 4840},
    {"lookup_memory_100", 770},
    {"lookup_batch_memory_100", 700},
    {"lookup_miss", 560},
    {"contains_disk", 2770},
    {"index_put", 300},
    {"index_find", 150},
};

/// Instructions per operation by path; nullopt without callgrind.
using Costs = std::map<std::string, double>;

/// Adds the costs of one of callgrind's files, if it has any of ours.
void read_costs(const std::filesystem::path& file, Costs& costs) {
  constexpr std::string_view kTrigger = "desc: Trigger: Client Request: ";
  constexpr std::string_view kTotals = "totals: ";
  std::ifstream in(file);
  std::string path;
  double operations = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(kTrigger)) {
      std::istringstream(line.substr(kTrigger.size())) >> path >> operations;
    } else if (line.starts_with(kTotals) && operations > 0) {
      costs[path] = std::strtod(line.c_str() + kTotals.size(), nullptr) / operations;
    }
  }
}

#if !defined(BUDGET_OPS)
std::optional<Costs> count_instructions() { return std::nullopt; }
#else
std::optional<Costs> count_instructions() {
  if (first_line_of("valgrind --version").empty()) return std::nullopt;
  const ScratchDirectory scratch;
  // Copies must not depend on the processor: `rep movsb` counts as an instruction per byte.
  const std::string command =
      "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824:"
      "glibc.cpu.x86_rep_stosb_threshold=1073741824 "
      "valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file=" +
      (scratch / "out") + " " + BUDGET_OPS + " >" + (scratch / "log") + " 2>&1";
  const int status = std::system(command.c_str());
  Costs costs;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    std::ifstream log(scratch / "log");
    ADD_FAILURE() << command << "\n" << log.rdbuf();
    return costs;
  }
  for (const auto& file : std::filesystem::directory_iterator(scratch.path())) {
    read_costs(file.path(), costs);
  }
  return costs;
}
#endif

class CpuBudget : public ::testing::TestWithParam<Budget> {
 protected:
  static const std::optional<Costs>& costs() {
    static const std::optional<Costs> counted = count_instructions();
    return counted;
  }
};

TEST_P(CpuBudget, IsKept) {
  if (!costs()) GTEST_SKIP() << "valgrind is not installed";
  const auto [path, instructions_max] = GetParam();
  const auto found = costs()->find(path);
  ASSERT_NE(found, costs()->end()) << "budget_ops does not run it";
  std::printf("%-26s %7.0f of %7.0f instructions\n", path, found->second, instructions_max);
  EXPECT_LE(found->second, instructions_max);
  // A ceiling far above is none.
  EXPECT_GE(found->second, instructions_max / 2) << "it has become cheaper: lower the ceiling";
}

INSTANTIATE_TEST_SUITE_P(HotPaths, CpuBudget, ::testing::ValuesIn(kBudgets),
                         [](const auto& budget) { return std::string(budget.param.path); });

}  // namespace
}  // namespace rawcache::testing
