// ServerOptions: every choice and limit of the server, with its unit and default.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rawcache::server {

/// When a command that changes something is answered.
enum class Acknowledge : std::uint8_t {
  buffered,  ///< once it is readable; Options::flush_interval says how long it may stay in memory
  sync,      ///< once it is durable; one flush for all that came in one read
};

/// What happens at start to what earlier runs of the server have left.
enum class OnStart : std::uint8_t {
  keep,     ///< everything is served
  flush,    ///< nothing is: like memcached, but for the cost of it
  max_age,  ///< it is served if the last write was not longer ago than what goes with it
};

struct ServerOptions {
  /// TCP addresses, "HOST:PORT" or "[HOST]:PORT". Empty: none.
  std::vector<std::string> listen;
  /// Unix socket, and who may connect to it. Empty: none.
  std::string unix_path;
  unsigned unix_mode = 0600;
  /// Listen on other addresses than those of the machine itself although nobody has to say who they
  /// are.
  bool insecure_listen = false;
  /// PEM files that TCP connections are encrypted with. Empty: they are not. Read again on SIGHUP.
  std::string tls_certificate, tls_key;
  /// Clients must show a certificate that one of these has signed. Empty: they need none.
  std::string tls_client_ca;
  /// Lines "user:password"; a connection must name one of them before anything else. Read again on
  /// SIGHUP.
  std::string auth_file;

  /// Threads that read and write sockets; 0: one per core.
  unsigned loops = 0;
  /// Threads that call the cache, and wait for the disk; 0: four per core, at least eight.
  unsigned workers = 0;

  Acknowledge acknowledge = Acknowledge::buffered;
  /// Largest item, bytes: its key, its value and kItemOverheadBytes.
  std::uint64_t item_bytes_max = std::uint64_t{1} << 20;
  bool flush_all_allowed = true;
  bool shutdown_allowed = false;

  std::uint32_t connections_max = 1024;
  /// Replies that wait for a client to read them; beyond it nothing more is read from that client.
  std::uint64_t output_bytes_max = std::uint64_t{1} << 20;
  /// What all connections together may hold in buffers beyond kConnectionBufferMin each.
  std::uint64_t memory_bytes_max = std::uint64_t{256} << 20;
  /// A connection on which nothing moves for so long is closed; 0: never.
  std::chrono::seconds idle_timeout{0};
  /// What a stopping server waits at most for replies to be taken.
  std::chrono::milliseconds stop_timeout{5000};

  /// "HOST:PORT" or "unix:PATH" for statistics by HTTP. Empty: none. Anybody who can connect may
  /// read them, so other addresses than the machine's own take insecure_listen.
  std::string http;

  /// Where messages go; empty: standard error. Opened again on SIGHUP.
  std::string log_file;
};

/// What memcached counts for an item beside key and value; so the same values are refused.
inline constexpr std::uint64_t kItemOverheadBytes = 50;

/// A connection always gets a buffer of this size.
inline constexpr std::size_t kConnectionBufferMin = 4096;

}  // namespace rawcache::server
