// Server: the memcached protocol over a cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rawcache/raw_disk_cache.h"
#include "server/options.h"
#include "server/stats.h"

namespace rawcache::server {

class Server {
 public:
  /// The cache must outlive the server, and be opened with a maintenance thread.
  Server(RawDiskCache& cache, ServerOptions options);
  ~Server();

  /// Listens on every address. Errors: invalid_options (an address that is not one, or that anybody
  /// can reach while nobody has to authenticate), already_open, permission_denied, io_error,
  /// no_such_file (auth_file).
  Result<void> listen();
  /// Serves until stop(), SIGTERM or SIGINT, then answers what has been read, and flushes. Once,
  /// after listen(). Error: that of the last flush.
  Result<void> run();
  /// Any thread; also before run().
  void stop();

  /// Any thread.
  ServerStats stats() const;
  /// The TCP ports that it listens on, in the order of ServerOptions::listen.
  std::vector<std::uint16_t> ports() const;
  /// That of ServerOptions::http; 0: none.
  std::uint16_t http_port() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rawcache::server
