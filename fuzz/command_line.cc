// The command line: any arguments are understood or refused; the commands themselves are replaced
// by ones that only look at what they were told. Also sizes, durations and keys as text.
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/text.h"
#include "fuzz/input.h"
#include "metrics/utf8.h"

int rawcache_main(int argc, char** argv);  // main of cli/main.cc

namespace rawcache::cli {
namespace {

int look(const CommonArguments& arguments) { return static_cast<int>(arguments.path.size() & 1); }

}  // namespace

int run_format(const FormatArguments& arguments) {
  fuzz::expect(arguments.format.block_bytes <= 65536, "a block larger than was accepted");
  return look(arguments);
}
int run_inspect(const CommonArguments& arguments) { return look(arguments); }
int run_put(const PutArguments& arguments) {
  fuzz::expect(!arguments.create || arguments.capacity != 0 || !arguments.path.empty(), "put");
  return look(arguments);
}
int run_get(const GetArguments& arguments) { return look(arguments); }
int run_rm(const RmArguments& arguments) { return look(arguments); }
int run_keys(const KeysArguments& arguments) { return look(arguments); }
int run_stats(const StatsArguments& arguments) {
  fuzz::expect(arguments.interval.count() >= 1, "a time that never ends or is none");
  return look(arguments);
}
int run_verify(const VerifyArguments& arguments) { return look(arguments); }
int run_bench_batch_io(const BenchArguments& arguments) {
  for (const std::uint64_t size : arguments.sizes) fuzz::expect(size != 0, "an empty size");
  return look(arguments);
}
int run_replay(const ReplayArguments&) { return 0; }
int run_serve(const ServeArguments& arguments) {
  fuzz::expect(arguments.server.unix_mode <= 0777, "a mode with other bits");
  return look(arguments);
}

}  // namespace rawcache::cli

namespace rawcache::fuzz {
namespace {

constexpr std::size_t kWordsMax = 24;

void parse_texts(const std::string& text) {
  using namespace cli;
  (void)parse_size(text);
  if (const auto duration = parse_duration(text)) {
    expect(duration->count() != 0, "a duration of nothing");
  }
  const std::string escaped = escape(text);
  for (const char c : escaped) {
    expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "an escaped key has controls");
  }
  if (!text.empty())
    expect(metrics::utf8_length(text) <= text.size(), "a character longer than its text");
  Table table({Table::Align::left, Table::Align::right});
  table.add({escaped, text});
  (void)table.str();
}

void numbers_come_back(std::uint64_t number) {
  using namespace cli;
  expect(parse_size(std::to_string(number)) == number, "a plain size does not come back");
  (void)format_count(number);
  (void)format_bytes(number);
  (void)format_nanoseconds(number);
  (void)format_time(static_cast<std::uint32_t>(number));
}

/// Words are separated by zero bytes; a byte below 32 at a word's start stands for a known one.
void run_arguments(const std::string& text) {
  static const char* const kWords[] = {
      "format",       "inspect",      "stats",      "put",
      "get",          "rm",           "keys",       "verify",
      "bench",        "batch-io",     "version",    "--json",
      "--capacity",   "--segment",    "--block",    "--ttl",
      "--create",     "--engine",     "--direct",   "--sizes",
      "--operations", "--help",       "--file",     "--output",
      "--yes",        "--force",      "--dry-run",  "--expected-entries",
      "--repeat",     "--",           "/tmp/x",     "64KiB",
      "serve",        "--durability", "--on-start", "-p",
      "-l",           "-o",           "-a"};
  std::vector<std::string> words{"rawcache"};
  std::size_t at = 0;
  while (at < text.size() && words.size() < kWordsMax) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (first > 0 && first <= std::size(kWords)) {
      words.emplace_back(kWords[first - 1]);
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int status = rawcache_main(static_cast<int>(words.size()), argv.data());
  expect(status >= 0 && status <= 8, "an exit status that is not documented");
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  Input input(data, size);
  if (input.take_bool()) {
    run_arguments(input.take_rest());
  } else {
    numbers_come_back(input.take<std::uint64_t>());
    parse_texts(input.take_rest());
  }
  return 0;
}
