// Listener: accepts on one address, TCP or Unix, and hands clients to the loops in turn.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rawcache/result.h"
#include "server/asio_loop.h"

namespace rawcache::server {

/// "HOST:PORT", "[HOST]:PORT" or ":PORT".
struct Address {
  std::string host;
  std::uint16_t port = 0;
};
Result<Address> parse_address(std::string_view text);

/// What went wrong in listening at `what`.
Error listen_error(const std::error_code& error, const std::string& what);
/// Removes a socket that nobody listens on any more, so that the path can be bound. Errors:
/// already_open, already_exists (something else), invalid_options (too long).
Result<void> free_unix_path(const std::string& path);

class Listener {
 public:
  using Loops = std::vector<std::unique_ptr<AsioLoop>>;
  /// What becomes of a client; called on the thread of its loop.
  using Welcome = std::function<void(AsioLoop&, Socket, std::string peer)>;

  virtual ~Listener() = default;
  /// Accepts from now on. Once.
  virtual void start() = 0;
  /// On the thread of the first loop.
  virtual void stop() = 0;
  /// The port that it really has; 0 for Unix.
  virtual std::uint16_t port() const = 0;
  /// Only programs on this machine can connect.
  virtual bool local() const = 0;

  /// Errors: invalid_options (no such host), already_open (in use), permission_denied, io_error.
  static Result<std::vector<std::unique_ptr<Listener>>> listen_tcp(const std::string& address,
                                                                   Loops& loops, Welcome welcome);
  /// Replaces a socket that nobody listens on any more.
  static Result<std::unique_ptr<Listener>> listen_unix(const std::string& path, unsigned mode,
                                                       Loops& loops, Welcome welcome);
};

}  // namespace rawcache::server
