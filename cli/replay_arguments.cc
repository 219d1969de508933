#include "cli/replay_arguments.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>
#include <string>

namespace rawcache::cli {
namespace {

[[noreturn]] void reject(const std::string& option, const std::string& why) {
  throw CLI::ValidationError(option, why);
}

void add_size(CLI::App& command, const std::string& name, std::uint64_t& into,
              const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [name, &into](const std::string& text) {
            const auto size = parse_size(text);
            if (!size) reject(name, "\"" + text + "\" is not a size");
            into = *size;
          },
          help)
      ->type_name("SIZE");
}

void add_cache_arguments(CLI::App& command, ReplayArguments& arguments) {
  command
      .add_option_function<std::string>(
          "--capacity",
          [&arguments](const std::string& text) {
            if (text.ends_with('%')) {
              arguments.percent = std::strtod(text.c_str(), nullptr);
              if (!(arguments.percent > 0 && arguments.percent <= 1000)) {
                reject("--capacity", "\"" + text + "\" is not a share of the trace's footprint");
              }
              return;
            }
            const auto size = parse_size(text);
            if (!size || *size == 0) reject("--capacity", "\"" + text + "\" is not a size");
            arguments.capacity = *size;
          },
          "Room for entries: bytes as the trace counts them, or percent of its footprint")
      ->type_name("SIZE|N%");
  const std::map<std::string, EvictionPolicyKind> policies{{"rc", EvictionPolicyKind::rc},
                                                           {"fifo", EvictionPolicyKind::fifo},
                                                           {"lru", EvictionPolicyKind::lru}};
  command.add_option("--policy", arguments.policy, "What is evicted: rc, fifo or lru (rc)")
      ->transform(CLI::Transformer(policies).description(""))
      ->type_name("P");
  command.add_option("--wa-cap", arguments.wa_cap, "rc: bytes appended per byte stored (1.2)")
      ->check(CLI::Range(1.0, 4.0).description(""))
      ->type_name("X");
  add_admission_option(command, arguments.admission);
  command
      .add_option("--admission-percent", arguments.admission_percent,
                  "wanted-again: share of the capacity that waits in memory instead (5)")
      ->check(CLI::Range(0.1, 50.0).description(""))
      ->type_name("N");
  add_size(command, "--memory", arguments.memory_bytes,
           "A memory tier of this size in front, beside the capacity (none)");
}

}  // namespace

void add_admission_option(CLI::App& command, Admission& admission) {
  const std::map<std::string, Admission> admissions{{"all", Admission::all},
                                                    {"wanted-again", Admission::wanted_again}};
  command
      .add_option("--admission", admission,
                  "What is written to the device: all, or what is wanted-again (all)")
      ->transform(CLI::Transformer(admissions).description(""))
      ->type_name("A");
}

void add_replay_arguments(CLI::App& command, ReplayArguments& arguments) {
  command.add_option("TRACE", arguments.trace, "rct, oracleGeneral or csv, each also as .zst")
      ->type_name("");
  command
      .add_option("--suite", arguments.suite,
                  "Every .rct.zst in DIR at 1, 5, 10, 20 and 40 % of its footprint")
      ->type_name("DIR");
  add_cache_arguments(command, arguments);
  command.add_option("--scale", arguments.scale, "Divide sizes and capacity by this (1)")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->type_name("N");
  command
      .add_option("--restart-every", arguments.restart_percent,
                  "Close and open the cache after every N % of the requests; what is told of\n"
                  "writes begins anew (never)")
      ->check(CLI::Range(0.001, 99.999).description(""))
      ->type_name("N");
  command
      .add_option_function<std::string>(
          "--device",
          [&arguments](const std::string& text) {
            if (text != "memory") arguments.path = text;
          },
          "File or device to replay on, which is overwritten; memory if not given")
      ->type_name("PATH");
}

}  // namespace rawcache::cli
