// server_load: a load on one memcached server, and what it was answered, as one line of JSON.
// bench/server_bench.py runs it against rawcache and memcached.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "bench/load_client.h"

namespace {

using namespace rawcache::bench;

/// Processor time that all threads of a process have used, in seconds; of no process, 0.
double cpu_of(const std::string& pid) {
  if (pid.empty()) return 0;
  double seconds = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + pid + "/task")) {
    std::uint64_t nanoseconds = 0;
    std::ifstream(thread.path() / "schedstat") >> nanoseconds;
    seconds += static_cast<double>(nanoseconds) / 1e9;
  }
  return seconds;
}

void print(const LoadResult& result, double server_cpu_s, double client_cpu_s) {
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "{\"requests\":%llu,\"stored\":%llu,\"refused\":%llu,\"hits\":%llu,\"misses\":%llu,"
      "\"wrong\":%llu,\"seconds\":%.6f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"server_cpu_s\":%.6f,"
      "\"client_cpu_s\":%.6f}\n",
      number(result.requests), number(result.stored), number(result.refused), number(result.hits),
      number(result.misses), number(result.wrong), result.seconds,
      result.latencies.percentile(0.5) / 1e3, result.latencies.percentile(0.99) / 1e3, server_cpu_s,
      client_cpu_s);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Loads a memcached server over a Unix socket and checks what it answers",
               "server_load");
  LoadPlan plan;
  std::string pid;
  app.add_option("--socket", plan.socket, "The server's socket")->required();
  app.add_option("--pid", pid, "The server's process, whose processor time is measured");
  app.add_flag("--set", plan.set, "Store; without it, get");
  app.add_flag("--shuffled", plan.shuffled,
               "Keys without order, each once; without it, one after the other");
  app.add_option("--first", plan.first, "Number of the first key");
  app.add_option("--keys", plan.keys, "How many keys there are")->required();
  app.add_option("--requests", plan.requests, "How many sets or gets")->required();
  app.add_option("--keys-per-get", plan.keys_per_get, "Keys of one get");
  app.add_option("--value-bytes", plan.value_bytes, "Bytes of a value")
      ->check(CLI::Range(std::uint64_t{8}, std::uint64_t{1} << 20));
  app.add_option("--connections", plan.connections, "Connections");
  app.add_option("--depth", plan.depth, "Requests under way on each of them");
  app.add_option("--rate", plan.requests_per_s, "Requests per second at most (no bound)");
  app.add_option("--seed", plan.seed, "Of the order of the keys");
  CLI11_PARSE(app, argc, argv);
  LoadClient client(plan);
  const double server_before = cpu_of(pid), client_before = cpu_of("self");
  const LoadResult result = client.run();
  print(result, cpu_of(pid) - server_before, cpu_of("self") - client_before);
  return result.wrong == 0 ? 0 : 1;
}
