#include "cli/serve_arguments.h"

#include <CLI/CLI.hpp>
#include <charconv>

#include "cli/replay_arguments.h"

namespace rawcache::cli {

namespace {

/// A flush that is due less often than once in a minute is a mistake.
constexpr std::uint64_t kFlushIntervalMax = 60'000;

[[noreturn]] void reject(const std::string& option, const std::string& why) {
  throw CLI::ValidationError(option, why);
}

void add_size_option(CLI::App& app, const std::string& name, std::uint64_t& into,
                     const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [name, &into](const std::string& text) {
           const auto size = parse_size(text);
           if (!size) reject(name, "\"" + text + "\" is not a size, like 4096, 64KiB or 10GB");
           into = *size;
         },
         help)
      ->type_name("SIZE");
}

void add_text_option(CLI::App& app, const std::string& name,
                     bool (*parse)(std::string_view, ServeArguments&), ServeArguments& arguments,
                     const std::string& help, const std::string& type) {
  app.add_option_function<std::string>(
         name,
         [name, parse, &arguments](const std::string& text) {
           if (!parse(text, arguments)) reject(name, "\"" + text + "\" is not understood");
         },
         help)
      ->type_name(type);
}

bool parse_idle_timeout(std::string_view text, ServeArguments& arguments) {
  const auto timeout = parse_duration(text);
  if (!timeout || timeout->count() < 0) return false;
  arguments.server.idle_timeout = *timeout;
  return true;
}

/// memcached's -o: the little of it that means something here.
bool parse_extended(std::string_view text, ServeArguments& arguments) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    constexpr std::string_view kIdle = "idle_timeout=";
    if (item.starts_with(kIdle) && item != "idle_timeout=0" &&
        !parse_idle_timeout(item.substr(kIdle.size()), arguments)) {
      return false;
    }
  }
  return true;
}

bool parse_mode(std::string_view text, ServeArguments& arguments) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), arguments.server.unix_mode, 8);
  return error == std::errc() && end == text.data() + text.size() &&
         arguments.server.unix_mode <= 0777;
}

void add_tls_options(CLI::App& command, server::ServerOptions& server) {
  auto* certificate =
      command
          .add_option("--tls-cert", server.tls_certificate,
                      "Encrypt TCP connections: the certificate, and those above it")
          ->type_name("FILE");
  auto* key = command.add_option("--tls-key", server.tls_key, "Its private key")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
  command
      .add_option("--tls-client-ca", server.tls_client_ca,
                  "Clients must show a certificate that one of these has signed")
      ->type_name("FILE")
      ->needs(certificate);
}

void add_memcached_letters(CLI::App& command, ServeArguments& arguments) {
  server::ServerOptions& server = arguments.server;
  command.add_option("-p,--port", arguments.port, "TCP port (11211); 0: none")->type_name("PORT");
  command.add_option("-l", arguments.hosts, "TCP addresses, HOST or HOST:PORT (127.0.0.1)")
      ->delimiter(',')
      ->type_name("HOST,...");
  add_text_option(command, "-a", parse_mode, arguments, "Mode of the Unix socket, octal (0600)",
                  "MODE");
  command.add_option("-t,--threads", server.loops, "Threads for sockets (one per core)")
      ->check(CLI::Range(1, 256).description(""))
      ->type_name("N");
  command.add_option("-c,--connections", server.connections_max, "Connections at once (1024)")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->type_name("N");
  add_size_option(command, "-I,--max-item", server.item_bytes_max, "Largest item (1MiB)");
  command.add_flag_callback(
      "-F", [&server] { server.flush_all_allowed = false; }, "Refuse flush_all");
  command.add_flag("-A", server.shutdown_allowed, "Allow the command shutdown");
  command.add_option("-u", arguments.user, "Go on as this user, if started as root")
      ->type_name("USER");
  add_text_option(command, "-o", parse_extended, arguments,
                  "memcached's extended options; only idle_timeout means something here", "LIST");
  command
      .add_option_function<std::uint64_t>(
          "-m", [&arguments](std::uint64_t megabytes) { arguments.memory_bytes = megabytes << 20; },
          "--memory in megabytes, as memcached has it")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 30).description(""))
      ->type_name("N");
  command.add_option("-U", arguments.ignored, "Accepted, means nothing here")->type_name("N");
}

}  // namespace

void add_serve_arguments(CLI::App& command, ServeArguments& arguments) {
  server::ServerOptions& server = arguments.server;
  command.add_option("--path", arguments.path, "Block device or file of the cache")
      ->required()
      ->type_name("PATH");
  command
      .add_option("--listen", server.listen, "TCP address, may be given again (127.0.0.1:11211)")
      ->type_name("HOST:PORT");
  command.add_option("--unix,-s", server.unix_path, "Unix socket instead of TCP, mode 0600")
      ->type_name("PATH");
  command.add_flag("--insecure-listen", server.insecure_listen,
                   "Let anybody who reaches a public address in");
  add_tls_options(command, server);
  command
      .add_option("--auth-file,-Y", server.auth_file,
                  "Lines user:password; clients must say one first")
      ->type_name("FILE");
  add_text_option(command, "--durability", parse_durability, arguments,
                  "What an answer means: buffered, interval:MS or sync (interval:100)", "POLICY");
  add_text_option(
      command, "--on-start", parse_on_start, arguments,
      "What becomes of entries that are there: keep, flush, or max-age:TIME, which keeps "
      "them if the last write was not longer ago (keep)",
      "POLICY");
  auto* create = command.add_flag("--create", arguments.create, "Make the cache if there is none");
  command
      .add_option_function<std::string>(
          "--capacity",
          [&arguments](const std::string& text) {
            const auto size = parse_size(text);
            if (!size) reject("--capacity", "\"" + text + "\" is not a size");
            arguments.capacity = *size;
          },
          "Size of the file that --create makes")
      ->type_name("SIZE")
      ->needs(create);
  add_admission_option(command, arguments.admission);
  add_size_option(command, "--admission-memory", arguments.admission_memory_bytes,
                  "wanted-again: memory for what waits (64MiB)");
  add_size_option(command, "--device-bytes-per-day", arguments.device_bytes_per_day,
                  "What the device is written per day at most (no bound)");
  add_size_option(command, "--memory", arguments.memory_bytes, "Memory for hot values (none)");
  command.add_option("--workers", server.workers, "Threads that call the cache (four per core)")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N");
  add_size_option(command, "--connection-memory", server.memory_bytes_max,
                  "Buffers of all connections together (256MiB)");
  add_size_option(command, "--output-limit", server.output_bytes_max,
                  "Replies that wait for one client (1MiB)");
  add_text_option(command, "--idle-timeout", parse_idle_timeout, arguments,
                  "Close connections on which nothing moves for so long (never)", "TIME");
  command
      .add_option("--http", server.http,
                  "Statistics by HTTP at 127.0.0.1:PORT or unix:PATH: a live page, /metrics, "
                  "/stats.json, /healthz")
      ->type_name("ADDRESS");
  command.add_option("--log", server.log_file, "Messages go here, not to standard error")
      ->type_name("FILE");
  add_memcached_letters(command, arguments);
}

bool parse_durability(std::string_view text, ServeArguments& arguments) {
  constexpr std::string_view kInterval = "interval:";
  arguments.server.acknowledge =
      text == "sync" ? server::Acknowledge::sync : server::Acknowledge::buffered;
  arguments.flush_interval = std::chrono::milliseconds(0);
  if (text == "sync" || text == "buffered") return true;
  if (!text.starts_with(kInterval)) return false;
  text.remove_prefix(kInterval.size());
  std::uint64_t ms = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  arguments.flush_interval = std::chrono::milliseconds(ms);
  return ms > 0 && ms <= kFlushIntervalMax;
}

bool parse_on_start(std::string_view text, ServeArguments& arguments) {
  constexpr std::string_view kMaxAge = "max-age:";
  if (text == "keep" || text == "flush") {
    arguments.on_start = text == "keep" ? server::OnStart::keep : server::OnStart::flush;
    return true;
  }
  if (!text.starts_with(kMaxAge)) return false;
  const auto age = parse_duration(text.substr(kMaxAge.size()));
  if (!age || age->count() <= 0) return false;
  arguments.on_start = server::OnStart::max_age;
  arguments.max_age = *age;
  return true;
}

}  // namespace rawcache::cli
