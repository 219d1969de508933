// put, get, rm, keys: single entries from the shell.
#include <cerrno>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/text.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

namespace {

/// No segment is larger, so no value is. Reading stops just beyond it.
constexpr std::size_t kValueBytesMax = std::size_t{64} << 20;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Result<RawDiskCache> open_cache(const CommonArguments& arguments) {
  Options options;
  options.engine = arguments.engine;
  options.direct = arguments.direct;
  options.maintenance_thread = false;
  return RawDiskCache::open(arguments.path, std::move(options));
}

Result<std::string> read_all(std::FILE* file, const std::string& name) {
  std::string bytes;
  char piece[65536];
  while (bytes.size() <= kValueBytesMax) {
    const std::size_t size = std::fread(piece, 1, sizeof piece, file);
    bytes.append(piece, size);
    if (size < sizeof piece) break;
  }
  if (std::ferror(file) != 0) return std::unexpected(Error(Errc::io_error, name, errno));
  return bytes;
}

Result<std::string> value_to_put(const PutArguments& arguments) {
  if (arguments.has_value && arguments.value != "-") return arguments.value;
  if (arguments.file.empty() || arguments.file == "-") return read_all(stdin, "standard input");
  const File file(std::fopen(arguments.file.c_str(), "rb"));
  if (!file) {
    const Errc code = errno == ENOENT ? Errc::no_such_file : Errc::io_error;
    return std::unexpected(Error(code, arguments.file, errno));
  }
  return read_all(file.get(), arguments.file);
}

Result<void> write_file(const std::string& path, std::string_view bytes) {
  File file(std::fopen(path.c_str(), "wb"));
  if (!file) return std::unexpected(Error(Errc::io_error, path, errno));
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size();
  const int os_error = errno;
  if (std::fclose(file.release()) == 0 && written) return {};
  return std::unexpected(Error(Errc::io_error, path, written ? errno : os_error));
}

int report_miss(const char* command, const std::string& key, bool json) {
  complain("not found: " + escape(key));
  if (json) {
    JsonWriter writer = begin_json(command);
    writer.name("key").bytes(key).field("found", false);
    end_json(writer);
  }
  return kExitMiss;
}

}  // namespace

int run_put(const PutArguments& arguments) {
  const auto value = value_to_put(arguments);
  if (!value) return fail(value.error(), arguments.json);
  Options options;
  options.engine = arguments.engine;
  options.direct = arguments.direct;
  options.maintenance_thread = false;
  options.create_if_missing = arguments.create;
  auto opened = open_cache(arguments);
  if (!opened && opened.error() == Errc::no_such_file && arguments.create) {
    options.format.capacity = arguments.capacity;
    opened = RawDiskCache::open(arguments.path, std::move(options));
  }
  if (!opened) return fail(opened.error(), arguments.json);
  if (auto stored = opened->store(arguments.key, *value, {.ttl = arguments.ttl}); !stored) {
    return fail(stored.error(), arguments.json);
  }
  if (auto closed = opened->close(); !closed) return fail(closed.error(), arguments.json);
  if (arguments.json) {
    JsonWriter json = begin_json("put");
    json.name("key").bytes(arguments.key).field("value_bytes", value->size());
    end_json(json);
  }
  return kExitOk;
}

int run_get(const GetArguments& arguments) {
  auto cache = open_cache(arguments);
  if (!cache) return fail(cache.error(), arguments.json);
  const auto value = cache->lookup(arguments.key);
  (void)cache->close();  // nothing was written; a value outlives its cache
  if (!value && value.error() == Errc::not_found) {
    return report_miss("get", arguments.key, arguments.json);
  }
  if (!value) return fail(value.error(), arguments.json);
  const bool to_file = !arguments.output.empty() && arguments.output != "-";
  if (to_file) {
    if (auto written = write_file(arguments.output, value->view()); !written) {
      return fail(written.error(), arguments.json);
    }
  }
  if (arguments.json) {
    JsonWriter json = begin_json("get");
    json.name("key").bytes(arguments.key).field("found", true);
    json.field("value_bytes", value->size()).field("sequence", value->sequence());
    json.field("expires_at", value->expires_at());
    if (!to_file) json.name("value").bytes(value->view());
    end_json(json);
  } else if (!to_file) {
    print(value->view());
    if (stdout_is_terminal()) print("\n");
  }
  return kExitOk;
}

int run_rm(const RmArguments& arguments) {
  auto cache = open_cache(arguments);
  if (!cache) return fail(cache.error(), arguments.json);
  const auto found = cache->contains(arguments.key);
  if (!found) return fail(found.error(), arguments.json);
  if (!*found) return report_miss("rm", arguments.key, arguments.json);
  if (auto removed = cache->remove(arguments.key); !removed) {
    return fail(removed.error(), arguments.json);
  }
  if (auto closed = cache->close(); !closed) return fail(closed.error(), arguments.json);
  if (arguments.json) {
    JsonWriter json = begin_json("rm");
    json.name("key").bytes(arguments.key).field("found", true);
    end_json(json);
  }
  return kExitOk;
}

int run_keys(const KeysArguments& arguments) {
  auto cache = open_cache(arguments);
  if (!cache) return fail(cache.error(), arguments.json);
  JsonWriter json = begin_json("keys");
  json.field("path", arguments.path).name("keys").begin_array();
  if (!arguments.json && arguments.with_details) {
    print(bold("       bytes    sequence  expires              key") + "\n");
  }
  std::uint64_t count = 0;
  const auto listed = cache->for_each_key([&](const KeyInfo& info) {
    ++count;
    if (arguments.json) {
      json.begin_object().name("key").bytes(info.key).field("value_bytes", info.value_bytes);
      json.field("sequence", info.sequence).field("expires_at", info.expires_at).end_object();
      print(json.take());
    } else if (arguments.with_details) {
      char line[96];
      std::snprintf(line, sizeof line, "%12llu%12llu  %-19s  ",
                    static_cast<unsigned long long>(info.value_bytes),
                    static_cast<unsigned long long>(info.sequence),
                    format_time(info.expires_at).c_str());
      print(line + escape(info.key) + "\n");
    } else {
      print(escape(info.key) + "\n");
    }
    return true;
  });
  if (arguments.json) {
    json.end_array().field("count", count);
    json.field("complete", listed.has_value());
    end_json(json);
  }
  if (!listed) return fail(listed.error(), false);
  return kExitOk;
}

}  // namespace rawcache::cli
