// format and inspect: making a cache, with care, and looking at what is there.
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <system_error>

#include "cli/commands.h"
#include "cli/geometry.h"
#include "cli/output.h"
#include "cli/text.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

namespace {

bool exists(const std::string& path) {
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  return type != std::filesystem::file_type::not_found;
}

/// What formatting would make, tried on memory of the same size.
Result<CacheInfo> plan(const FormatArguments& arguments) {
  std::uint64_t size = arguments.format.capacity;
  std::uint32_t alignment = 512;
  if (exists(arguments.path)) {
    auto disk = open_disk(arguments.path, {.read_only = true});
    if (!disk) return std::unexpected(disk.error());
    size = (*disk)->info().size_bytes;
    alignment = (*disk)->info().io_alignment;
  }
  const auto memory = make_memory_disk(size, alignment);
  if (memory == nullptr) {
    return std::unexpected(Error(Errc::out_of_memory, "--dry-run with " + format_bytes(size)));
  }
  return RawDiskCache::format(*memory, arguments.format);
}

/// Whether whoever sits there wants it; says why not otherwise.
bool confirmed(const FormatArguments& arguments, const DiskInfo& info) {
  std::cerr << "Everything on " << escape(info.path) << " (" << format_bytes(info.size_bytes)
            << (info.block_device ? ", a block device" : ", a file")
            << ") will be lost. Type its path to go on: " << std::flush;
  std::string answer;
  if (std::getline(std::cin, answer) && answer == arguments.path) return true;
  complain("that is not its path; nothing was changed");
  return false;
}

/// Nothing if formatting what exists may go on, else the exit status.
std::optional<int> refusal(const FormatArguments& arguments) {
  // Opened for a moment: mounted or busy devices are refused before anybody is asked anything.
  auto disk = open_disk(arguments.path);
  if (!disk) return fail(disk.error(), arguments.json);
  if (!arguments.force) {
    auto found = RawDiskCache::inspect(**disk);
    if (found || found.error() != Errc::not_a_cache) {
      return fail_usage("something is there already: " + arguments.path +
                            " holds a rawcache; overwrite it with --force if it may be lost",
                        arguments.json);
    }
  }
  if (arguments.yes) return std::nullopt;
  if (!stdin_is_terminal()) {
    return fail_usage("formatting what exists needs --yes when nobody can be asked",
                      arguments.json);
  }
  if (!confirmed(arguments, (*disk)->info())) return kExitUsage;
  return std::nullopt;
}

}  // namespace

int run_format(const FormatArguments& arguments) {
  const bool dry = arguments.dry_run;
  const bool there = exists(arguments.path);
  if (!there && arguments.format.capacity == 0) {
    return fail_usage("nothing is at " + arguments.path + "; --capacity says how large to make it",
                      arguments.json);
  }
  if (!dry && there) {
    if (const auto status = refusal(arguments)) return *status;
  }
  auto made = dry ? plan(arguments)
                  : RawDiskCache::format(arguments.path, arguments.format, arguments.force);
  if (!made && made.error() == Errc::already_exists) {
    return fail_usage(made.error().message() + " (--force)", arguments.json);
  }
  if (!made) return fail(made.error(), arguments.json);
  if (arguments.json) {
    JsonWriter json = begin_json("format");
    json.field("path", arguments.path).field("dry_run", dry);
    geometry_json(json, *made);
    end_json(json);
  } else {
    print((dry ? "Would make a cache on " : "Made a cache on ") + escape(arguments.path) + "\n");
    CacheInfo shown = *made;
    if (dry) shown.id = "(made when formatted)";
    print(geometry_text(shown, false));
  }
  return kExitOk;
}

int run_inspect(const CommonArguments& arguments) {
  auto disk = open_disk(
      arguments.path, {.engine = arguments.engine, .direct = arguments.direct, .read_only = true});
  if (!disk) return fail(disk.error(), arguments.json);
  const auto info = RawDiskCache::inspect(**disk);
  if (!info) return fail(info.error(), arguments.json);
  if (arguments.json) {
    JsonWriter json = begin_json("inspect");
    json.field("path", arguments.path);
    geometry_json(json, *info);
    end_json(json);
  } else {
    print(bold(escape(arguments.path)) + "\n" + geometry_text(*info, true));
  }
  return kExitOk;
}

}  // namespace rawcache::cli
