// Connection: one client. Reads, parses, has runs executed, writes; a state machine.
//
//   readable -> parse -> run on a worker (or here, if it calls no cache) -> write -> readable ...
//
// One run is under way at a time, so replies come in order. While it is, and while the client does
// not take its replies, nothing is read. The loop says when there is something to read or room to
// write; the worker that has executed a run also writes the replies and goes on, since waking the
// loop for that takes longer than doing it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "server/hub.h"
#include "server/input_buffer.h"
#include "server/parser.h"
#include "server/run.h"
#include "server/stream.h"

namespace rawcache::server {

/// Input read at once, at most, unless a value is larger.
inline constexpr std::size_t kReadBytesMax = std::size_t{256} << 10;
/// Commands executed at once, at most.
inline constexpr std::size_t kRequestsPerRun = 1024;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(Hub& hub, std::unique_ptr<Stream> stream);
  ~Connection();

  // Any thread.
  /// Calls `gone` once, when it is closed, from within any other call or from a worker.
  void start(std::function<void(Connection*)> gone) EXCLUDES(mutex_);
  /// What has been read is executed and answered, then the connection is closed.
  void finish() EXCLUDES(mutex_);
  void close() EXCLUDES(mutex_);
  /// Whether nothing has been asked for, nor taken, for so long.
  bool idle(Clock::time_point now, Clock::duration limit) EXCLUDES(mutex_);
  /// Whether it has waited long enough for a client that has been answered to close first.
  bool lingered(Clock::time_point now) EXCLUDES(mutex_);

 private:
  void close_locked() REQUIRES(mutex_);
  bool lingered_locked(Clock::time_point now) const REQUIRES(mutex_);
  void advance() REQUIRES(mutex_);
  void wait_for_input() REQUIRES(mutex_);
  void readable(std::error_code error) REQUIRES(mutex_);
  bool read() REQUIRES(mutex_);
  /// Parses what is there into a run; true if there is something to execute.
  bool parse() REQUIRES(mutex_);
  bool take_incomplete(Request& request, const Parsed& parsed) REQUIRES(mutex_);
  void skip(std::uint64_t bytes) REQUIRES(mutex_);
  void execute() REQUIRES(mutex_);
  void execute_on_worker() EXCLUDES(mutex_);
  void measure();
  void executed() REQUIRES(mutex_);
  void write() REQUIRES(mutex_);
  bool hold_output() REQUIRES(mutex_);
  void linger() REQUIRES(mutex_);
  void drain() REQUIRES(mutex_);
  std::size_t capacity_wanted() const REQUIRES(mutex_);

  Hub& hub_;
  /// Guards everything but what a run is executed with, which belongs to who executes it: session_,
  /// run_ and the bytes of in_ that it was parsed from.
  Mutex mutex_;
  std::unique_ptr<Stream> stream_;
  std::function<void(Connection*)> gone_ GUARDED_BY(mutex_);
  const ParseLimits limits_;
  InputBuffer in_ GUARDED_BY(mutex_);
  std::uint64_t skip_ GUARDED_BY(mutex_) = 0;    ///< bytes of the input to be dropped
  std::uint64_t wanted_ GUARDED_BY(mutex_) = 0;  ///< bytes without which parsing is in vain
  std::size_t parsed_ GUARDED_BY(mutex_) = 0;    ///< bytes that the run was parsed from
  std::uint64_t held_ GUARDED_BY(mutex_) =
      0;  ///< of the budget, for replies that the client does not take
  Session session_;
  Run run_;
  Replies out_ GUARDED_BY(mutex_);
  Clock::time_point last_moved_ GUARDED_BY(mutex_);
  bool waiting_input_ GUARDED_BY(mutex_) = false;
  bool waiting_output_ GUARDED_BY(mutex_) = false;
  bool executing_ GUARDED_BY(mutex_) = false;
  bool read_on_ GUARDED_BY(mutex_) = false;  ///< there may be input although nobody has said so
  bool stalled_ GUARDED_BY(mutex_) = false;  ///< nothing is read until the client takes its replies
  bool no_room_ GUARDED_BY(mutex_) = false;  ///< the input buffer is full and may not grow
  bool end_seen_ GUARDED_BY(mutex_) = false;   ///< the client sends no more
  bool finishing_ GUARDED_BY(mutex_) = false;  ///< nothing more is executed but what has been read
  bool lingering_ GUARDED_BY(mutex_) = false;  ///< all is answered; what comes is dropped
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace rawcache::server
