// Stream and Loop: what a connection needs of the machine. Behind them are asio's sockets (with or
// without TLS) or, in tests, a script.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <system_error>

namespace rawcache::server {

/// How long a client that has been answered for the last time may take to close first.
inline constexpr std::chrono::seconds kLingerTime{1};

/// One thread that serves many connections. What runs on it must not wait.
class Loop {
 public:
  virtual ~Loop() = default;
  /// Runs the task on the loop's thread, later. Any thread.
  virtual void post(std::move_only_function<void()> task) = 0;
};

/// A connected socket. All calls on the loop's thread, none of them waits. A handler is called from
/// the loop, never from within the call it was given to; at most one handler of each kind waits.
/// Handlers keep alive what they hold until they have been called; close() calls both, with an
/// error.
class Stream {
 public:
  using Ready = std::move_only_function<void(std::error_code)>;

  virtual ~Stream() = default;
  /// Calls `ready` once there is something to read, or the other side has closed, or an error.
  virtual void wait_readable(Ready ready) = 0;
  /// Reads what is there. 0 with no error: the other side will send no more. 0 with
  /// operation_would_block: nothing is there yet.
  virtual std::size_t read(std::span<std::byte> into, std::error_code& error) = 0;
  /// Writes as much as the socket takes of the pieces, in order. 0 with operation_would_block:
  /// nothing.
  virtual std::size_t write(std::span<const std::span<const std::byte>> pieces,
                            std::error_code& error) = 0;
  virtual void wait_writable(Ready ready) = 0;
  /// Tells the other side that nothing follows what was written. Reading goes on.
  virtual void end_writes() = 0;
  /// What the other side has sent and nobody has read may cost it what it has not read itself.
  virtual void close() = 0;
  /// Who is at the other side, for people.
  virtual std::string peer() const = 0;
};

}  // namespace rawcache::server
