// rawcache: the command line. Arguments become the structs of options.h; commands.h does the rest.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/replay_arguments.h"
#include "cli/serve_arguments.h"

namespace {

using namespace rawcache;
using namespace rawcache::cli;

constexpr const char* kAbout =
    "A cache of keys and values on raw disks, written and read in large batches.\n"
    "PATH is a block device or a file. Sizes: 4096, 64KiB, 1.5GiB, 10GB (G = GiB = 2^30, GB = "
    "10^9).";

constexpr const char* kEpilogue =
    "Try it:\n"
    "  rawcache format /tmp/cache --capacity 1GiB\n"
    "  rawcache put /tmp/cache greeting hello --ttl 10m\n"
    "  rawcache get /tmp/cache greeting\n"
    "  rawcache bench batch-io\n\n"
    "Exit status: 0 done; 1 no such key; 2 wrong arguments or a missing flag; 3 not a rawcache, or "
    "not\n"
    "usable as it is; 4 damage found; 5 busy or mounted; 8 I/O and other errors; 130 interrupted.";

[[noreturn]] void reject(const std::string& option, const std::string& why) {
  throw CLI::ValidationError(option, why);
}

CLI::Option* add_size(CLI::App& app, const std::string& name, std::uint64_t& into,
                      const std::string& help) {
  return app
      .add_option_function<std::string>(
          name,
          [name, &into](const std::string& text) {
            const auto size = parse_size(text);
            if (!size) reject(name, "\"" + text + "\" is not a size, like 4096, 64KiB or 10GB");
            into = *size;
          },
          help)
      ->type_name("SIZE");
}

void add_path(CLI::App& app, CommonArguments& arguments) {
  app.add_option("PATH", arguments.path, "Block device or file")->required()->type_name("");
}

void add_json(CLI::App& app, bool& json) { app.add_flag("--json", json, "Print one JSON object"); }

void add_io(CLI::App& app, CommonArguments& arguments) {
  const std::map<std::string, IoEngine> engines{
      {"auto", IoEngine::automatic}, {"io_uring", IoEngine::io_uring}, {"posix", IoEngine::posix}};
  const std::map<std::string, DirectIo> modes{
      {"auto", DirectIo::automatic}, {"on", DirectIo::required}, {"off", DirectIo::off}};
  app.add_option("--engine", arguments.engine, "How I/O is done: auto, io_uring or posix")
      ->transform(CLI::Transformer(engines).description(""))
      ->type_name("ENGINE");
  app.add_option("--direct", arguments.direct, "Bypass the page cache: auto, on or off")
      ->transform(CLI::Transformer(modes).description(""))
      ->type_name("MODE");
}

/// The command that was chosen, once everything is parsed.
using Run = std::function<int()>;

template <typename Arguments>
CLI::App* add_command(CLI::App& app, const char* name, const char* help, Arguments& arguments,
                      Run& run, int (*function)(const Arguments&)) {
  CLI::App* command = app.add_subcommand(name, help);
  command->callback([&run, &arguments, function] { run = [&] { return function(arguments); }; });
  return command;
}

struct AllArguments {
  FormatArguments format;
  CommonArguments inspect;
  StatsArguments stats;
  PutArguments put;
  GetArguments get;
  RmArguments rm;
  KeysArguments keys;
  VerifyArguments verify;
  ReplayArguments replay;
  ServeArguments serve;
  BenchArguments bench;
  bool json = false;
};

void add_format(CLI::App& app, FormatArguments& arguments, Run& run) {
  auto* command = add_command<FormatArguments>(
      app, "format", "Make an empty cache on a device or file; all that is on it is lost",
      arguments, run, run_format);
  add_path(*command, arguments);
  add_size(
      *command, "--capacity", arguments.format.capacity,
      "Bytes to use; all of it if not given. A file that does not exist is made with this size");
  add_size(*command, "--segment", arguments.format.segment_bytes,
           "What is evicted at once; bounds the largest value (capacity / 256, at most 64 MiB)");
  command
      ->add_option_function<std::string>(
          "--block",
          [&arguments](const std::string& text) {
            const auto size = parse_size(text);
            if (!size || *size > 65536) {
              reject("--block", "\"" + text + "\" is not a power of two from 512 to 65536");
            }
            arguments.format.block_bytes = static_cast<std::uint32_t>(*size);
          },
          "Unit of writing: a power of two from 512 to 65536 (4096)")
      ->type_name("SIZE");
  command
      ->add_option("--expected-entries", arguments.format.expected_entries,
                   "Entries to make room for (capacity / 512)")
      ->type_name("N");
  command->add_flag_callback(
      "--no-prewrite", [&arguments] { arguments.format.prewrite = false; },
      "Do not write a newly made file once; its first writes will be slow");
  command->add_flag("--yes,-y", arguments.yes,
                    "Do not ask before something that exists is formatted");
  command->add_flag("--force,-f", arguments.force,
                    "Overwrite another cache, a known file system or a partition table");
  command->add_flag("--dry-run,-n", arguments.dry_run, "Show what would be made, change nothing");
  add_json(*command, arguments.json);
}

void add_put(CLI::App& app, PutArguments& arguments, Run& run) {
  auto* command = add_command<PutArguments>(
      app, "put", "Store a value; it is durable when the command returns", arguments, run, run_put);
  add_path(*command, arguments);
  command->add_option("KEY", arguments.key, "The key, any text")->required()->type_name("");
  auto* value = command->add_option_function<std::string>(
      "VALUE",
      [&arguments](const std::string& text) {
        arguments.value = text;
        arguments.has_value = true;
      },
      "The value; standard input if it is - or not given");
  value->type_name("");
  command->add_option("--file,-F", arguments.file, "Read the value from this file")
      ->type_name("FILE")
      ->excludes(value);
  command
      ->add_option_function<std::string>(
          "--ttl",
          [&arguments](const std::string& text) {
            const auto ttl = parse_duration(text);
            if (!ttl) reject("--ttl", "\"" + text + "\" is not a duration, like 90s, 5m, 2h or 1d");
            arguments.ttl = *ttl;
          },
          "Life of the entry: 90s, 5m, 2h, 1d, 4w or never (the default)")
      ->type_name("TIME");
  auto* create =
      command->add_flag("--create", arguments.create, "Make the cache if nothing is at PATH");
  auto* capacity =
      add_size(*command, "--capacity", arguments.capacity, "Size of the file that --create makes");
  create->needs(capacity);
  capacity->needs(create);
  add_io(*command, arguments);
  add_json(*command, arguments.json);
}

void add_get_and_rm(CLI::App& app, AllArguments& all, Run& run) {
  auto* get = add_command<GetArguments>(
      app, "get", "Write a value to standard output, byte for byte", all.get, run, run_get);
  add_path(*get, all.get);
  get->add_option("KEY", all.get.key, "The key")->required()->type_name("");
  get->add_option("--output,-o", all.get.output, "Write the value to this file instead")
      ->type_name("FILE");
  add_io(*get, all.get);
  add_json(*get, all.get.json);

  auto* rm = add_command<RmArguments>(app, "rm", "Remove an entry, durably", all.rm, run, run_rm);
  add_path(*rm, all.rm);
  rm->add_option("KEY", all.rm.key, "The key")->required()->type_name("");
  add_io(*rm, all.rm);
  add_json(*rm, all.rm.json);
}

void add_readers(CLI::App& app, AllArguments& all, Run& run) {
  auto* inspect = add_command<CommonArguments>(
      app, "inspect", "Show what the cache on a device is; also while it is in use", all.inspect,
      run, run_inspect);
  add_path(*inspect, all.inspect);
  add_io(*inspect, all.inspect);
  add_json(*inspect, all.inspect.json);

  auto* keys = add_command<KeysArguments>(app, "keys", "List the keys; reads the whole cache",
                                          all.keys, run, run_keys);
  add_path(*keys, all.keys);
  keys->add_flag("--long,-l", all.keys.with_details, "With size, sequence and expiry");
  add_io(*keys, all.keys);
  add_json(*keys, all.keys.json);

  auto* verify = add_command<VerifyArguments>(
      app, "verify", "Read and check everything, list damage, change nothing", all.verify, run,
      run_verify);
  add_path(*verify, all.verify);
  verify->add_flag("--quiet,-q", all.verify.quiet, "Only the exit status: 0 or 4");
  add_io(*verify, all.verify);
  add_json(*verify, all.verify.json);
}

void add_stats(CLI::App& app, StatsArguments& arguments, Run& run) {
  auto* command = add_command<StatsArguments>(
      app, "stats", "Open the cache, or ask a server, and show statistics", arguments, run,
      run_stats);
  command
      ->add_option("PATH", arguments.path,
                   "Block device or file; or a server, by what its --http listens on: "
                   "http://HOST:PORT or unix:PATH")
      ->required()
      ->type_name("");
  auto* watch = command->add_flag(
      "--watch,-w", arguments.watch,
      "Look again and again: a screen on a terminal, else a line each time; of a file, what its "
      "checkpoints tell, also while it is in use");
  command
      ->add_option_function<std::string>(
          "--interval",
          [&arguments](const std::string& text) {
            const auto interval = parse_duration(text);
            if (!interval || *interval < std::chrono::seconds(1)) {
              reject("--interval", "\"" + text + "\" is not a duration, like 1s, 10s or 5m");
            }
            arguments.interval = *interval;
          },
          "Time between looks (1s)")
      ->type_name("TIME")
      ->needs(watch);
  command->add_option("--count", arguments.count, "End after so many looks")
      ->check(CLI::Range(1, 1'000'000'000).description(""))
      ->type_name("N")
      ->needs(watch);
  add_io(*command, arguments);
  add_json(*command, arguments.json);
}

void add_bench(CLI::App& app, BenchArguments& arguments, Run& run) {
  auto* bench =
      app.add_subcommand("bench", "Measure: what batches gain, beside the device's own limit");
  bench->require_subcommand(1);
  auto* command = add_command<BenchArguments>(
      *bench, "batch-io", "Direct against buffered writes, single against batch reads", arguments,
      run, run_bench_batch_io);
  command
      ->add_option("--path", arguments.path,
                   "Where; made and removed again if it does not exist (a file in $TMPDIR or /tmp)")
      ->type_name("PATH");
  add_size(*command, "--capacity", arguments.capacity, "Size of the file to make (2GiB)");
  command
      ->add_option("--sync-delay-ms", arguments.sync_delay_ms,
                   "Make each sync this much slower, like a device that really writes")
      ->check(CLI::Range(0.0, 10'000.0).description(""))
      ->type_name("MS");
  const std::map<std::string, BatchMode> modes{{"fixed", BatchMode::fixed},
                                               {"adaptive", BatchMode::adaptive}};
  command
      ->add_option("--mode", arguments.mode, "When buffers are flushed: fixed or adaptive (fixed)")
      ->transform(CLI::CheckedTransformer(modes, CLI::ignore_case).description(""))
      ->type_name("MODE");
  command
      ->add_option("--max-operations", arguments.max_operations,
                   "A flush is due at this many buffered operations (32)")
      ->type_name("N");
  add_size(*command, "--max-buffer", arguments.max_buffer_bytes, "... or this many bytes (4MiB)");
  command
      ->add_option_function<std::string>(
          "--sizes",
          [&arguments](const std::string& text) {
            arguments.sizes.clear();
            for (const std::string& item : CLI::detail::split(text, ',')) {
              const auto size = parse_size(item);
              if (!size || *size == 0) reject("--sizes", "\"" + item + "\" is not a size");
              arguments.sizes.push_back(*size);
            }
          },
          "Value sizes to write (4096,65536,1048576)")
      ->type_name("SIZE,...");
  command->add_option("--operations", arguments.operations, "Writes per size and repetition")
      ->check(CLI::Range(1, 10'000'000).description(""))
      ->type_name("N");
  command->add_option("--repeat", arguments.repetitions, "Repetitions; medians are shown")
      ->check(CLI::Range(1, 1000).description(""))
      ->type_name("N");
  command->add_flag("--quick", arguments.quick, "Few operations: whether it works, not how fast");
  command->add_flag("--yes,-y", arguments.yes, "Replace the cache that is at --path");
  command->add_flag("--force,-f", arguments.force, "Replace whatever is at --path");
  add_io(*command, arguments);
  add_json(*command, arguments.json);
}

void add_replay(CLI::App& app, ReplayArguments& arguments, Run& run) {
  auto* command = add_command<ReplayArguments>(
      app, "replay", "Run a trace of requests through a cache: get, and put on a miss", arguments,
      run, run_replay);
  add_replay_arguments(*command, arguments);
  add_json(*command, arguments.json);
}

int run_version(bool json) {
  if (json) {
    JsonWriter writer = begin_json("version");
    writer.field("version", kVersion);
    end_json(writer);
  } else {
    print(std::string("rawcache ") + kVersion + "\n");
  }
  return kExitOk;
}

/// --json stands anywhere, so it is looked for even if the rest is wrong.
bool wants_json(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

int run_main(int argc, char** argv) {
  CLI::App app(kAbout, "rawcache");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("rawcache ") + kVersion);
  AllArguments all;
  Run run;
  add_json(app, all.json);
  add_format(app, all.format, run);
  add_put(app, all.put, run);
  add_get_and_rm(app, all, run);
  add_readers(app, all, run);
  add_stats(app, all.stats, run);
  add_replay(app, all.replay, run);
  add_serve_arguments(
      *add_command<ServeArguments>(app, "serve", "Serve the cache by memcached's protocol",
                                   all.serve, run, run_serve),
      all.serve);
  add_bench(app, all.bench, run);
  auto* version = app.add_subcommand("version", "Show the version");
  add_json(*version, all.json);
  version->callback([&] { run = [&] { return run_version(all.json); }; });

  app.footer(kEpilogue);  // last, or every command would inherit it
  if (argc <= 1) {
    std::fputs(app.help().c_str(), stderr);
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return fail_usage(std::string(error.what()) + " (rawcache --help)", wants_json(argc, argv));
  }
  if (all.json) {
    for (CommonArguments* arguments : std::initializer_list<CommonArguments*>{
             &all.format, &all.inspect, &all.stats, &all.put, &all.get, &all.rm, &all.keys,
             &all.verify, &all.replay, &all.bench}) {
      arguments->json = true;
    }
  }
  return run();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return finish_output(run_main(argc, argv));
  } catch (const std::bad_alloc&) {
    complain("out of memory");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return kExitFailure;
}
