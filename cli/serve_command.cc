// serve: opens a cache and serves it until it is told to stop.
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "cli/commands.h"
#include "cli/output.h"
#include "rawcache/raw_disk_cache.h"
#include "server/on_start.h"
#include "server/request.h"
#include "server/server.h"

namespace rawcache::cli {

namespace {

constexpr std::uint16_t kDefaultPort = 11211;

/// --listen as it is; else every -l with its own port or that of -p; else this machine only.
std::vector<std::string> addresses(const ServeArguments& arguments) {
  std::vector<std::string> all = arguments.server.listen;
  const std::uint16_t port = arguments.port.value_or(kDefaultPort);
  const bool unix_only = !arguments.server.unix_path.empty() && !arguments.port.has_value();
  if (port == 0 || (all.empty() && arguments.hosts.empty() && unix_only)) return all;
  if (!all.empty() && arguments.hosts.empty() && !arguments.port) return all;
  auto hosts = arguments.hosts;
  if (hosts.empty()) hosts.emplace_back("127.0.0.1");
  for (const std::string& host : hosts) {
    const std::size_t colon = host.rfind(':');
    const bool v6 = colon != std::string::npos && host.find(':') != colon;
    const bool has_port = host.starts_with('[') ? host.find("]:") != std::string::npos
                                                : colon != std::string::npos && !v6;
    const std::string name = v6 && !host.starts_with('[') ? "[" + host + "]" : host;
    all.push_back(has_port ? host : name + ":" + std::to_string(port));
  }
  return all;
}

Result<void> become(const std::string& user) {
  if (user.empty() || geteuid() != 0) return {};
  const passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) {
    return std::unexpected(Error(Errc::invalid_options, "no such user: " + user));
  }
  if (setgroups(0, nullptr) != 0 || setgid(entry->pw_gid) != 0 || setuid(entry->pw_uid) != 0) {
    return std::unexpected(Error(Errc::permission_denied, "to go on as " + user, errno));
  }
  return {};
}

/// Lets so many connections be open at once; returns how many can be.
std::uint32_t allow_connections(std::uint32_t wanted) {
  constexpr rlim_t kOtherFiles = 128;  // the cache, the loops, who looks at statistics
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const rlim_t files = wanted + kOtherFiles;
  if (limit.rlim_cur >= files) return wanted;
  rlimit more{.rlim_cur = files, .rlim_max = std::max(limit.rlim_max, files)};
  if (setrlimit(RLIMIT_NOFILE, &more) == 0) return wanted;
  more = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &more) != 0) more = limit;
  if (more.rlim_cur >= files) return wanted;
  return more.rlim_cur > kOtherFiles ? static_cast<std::uint32_t>(more.rlim_cur - kOtherFiles) : 1;
}

/// Segments that hold the largest item, if that leaves enough of them.
std::uint64_t segment_bytes_for(std::uint64_t item_bytes, std::uint64_t capacity) {
  constexpr std::uint64_t kUsualSegments = 256, kSegmentsMin = 32;
  constexpr std::uint64_t kRoom = std::uint64_t{64} << 10;  // for header, footer and padding
  const std::uint64_t wanted = std::bit_ceil(item_bytes + kRoom);
  const bool usual_is_enough = capacity / kUsualSegments >= wanted;
  return usual_is_enough || capacity / wanted < kSegmentsMin ? 0 : wanted;
}

Result<RawDiskCache> open_cache(const ServeArguments& arguments) {
  Options options;
  options.engine = arguments.engine;
  options.direct = arguments.direct;
  options.flush_interval = arguments.flush_interval;
  options.batch_mode = BatchMode::adaptive;
  options.admission = arguments.admission;
  options.admission_memory_bytes = arguments.admission_memory_bytes;
  options.device_bytes_per_day = arguments.device_bytes_per_day;
  options.memory_bytes = arguments.memory_bytes;
  auto opened = RawDiskCache::open(arguments.path, options);
  if (!opened && opened.error() == Errc::no_such_file && arguments.create) {
    options.create_if_missing = true;
    options.format.capacity = arguments.capacity;
    options.format.segment_bytes =
        segment_bytes_for(arguments.server.item_bytes_max, arguments.capacity);
    opened = RawDiskCache::open(arguments.path, options);
  }
  return opened;
}

}  // namespace

int run_serve(const ServeArguments& arguments) {
  auto cache = open_cache(arguments);
  if (!cache) return fail(cache.error(), arguments.json);
  const auto applied = server::apply_on_start(*cache, arguments.on_start, arguments.max_age,
                                              std::chrono::system_clock::now());
  if (!applied) return fail(applied.error(), arguments.json);
  server::ServerOptions options = arguments.server;
  options.listen = addresses(arguments);
  options.item_bytes_max = std::min<std::uint64_t>(
      options.item_bytes_max, cache->value_bytes_max(server::kProtocolKeyBytesMax) +
                                  server::kProtocolKeyBytesMax + server::kItemOverheadBytes);
  options.connections_max = allow_connections(options.connections_max);
  server::Server server(*cache, std::move(options));
  if (auto listening = server.listen(); !listening) {
    return fail(listening.error(), arguments.json);
  }
  if (auto became = become(arguments.user); !became) return fail(became.error(), arguments.json);
  const auto served = server.run();
  const auto closed = cache->close();
  if (!served) return fail(served.error(), arguments.json);
  if (!closed) return fail(closed.error(), arguments.json);
  return kExitOk;
}

}  // namespace rawcache::cli
