// Connection: one client. Reads, parses, has runs executed, writes; a state machine on its loop.
//
//   readable -> parse -> run on a worker (or here, if it calls no cache) -> write -> readable ...
//
// One run is under way at a time, so replies come in order. While it is, and while the client does
// not take its replies, nothing is read.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "server/hub.h"
#include "server/input_buffer.h"
#include "server/parser.h"
#include "server/run.h"
#include "server/stream.h"

namespace rawcache::server {

/// Input read at once, at most, unless a value is larger.
inline constexpr std::size_t kReadBytesMax = std::size_t{256} << 10;
/// How long a client that has been answered for the last time may take to close first.
inline constexpr std::chrono::seconds kLingerTime{1};
/// Commands executed at once, at most.
inline constexpr std::size_t kRequestsPerRun = 1024;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(Hub& hub, Loop& loop, std::unique_ptr<Stream> stream);
  ~Connection();

  // All on the loop's thread.
  void start();
  /// What has been read is executed and answered, then the connection is closed.
  void finish();
  void close();
  bool closed() const { return closed_; }
  /// When something last moved.
  Clock::time_point last_moved() const { return last_moved_; }
  bool busy() const { return executing_; }
  /// Whether it has waited long enough for a client that has been answered to close first.
  bool lingered(Clock::time_point now) const {
    return lingering_ && now - last_moved_ >= kLingerTime;
  }
  /// Called once, when it is closed.
  void on_close(std::function<void(Connection*)> gone) { gone_ = std::move(gone); }

 private:
  void advance();
  void wait_for_input();
  void readable(std::error_code error);
  bool read();
  /// Parses what is there into a run; true if there is something to execute.
  bool parse();
  bool take_incomplete(Request& request, const Parsed& parsed);
  void skip(std::uint64_t bytes);
  void execute();
  void measure();
  void executed();
  void write();
  bool hold_output();
  void linger();
  void drain();
  std::size_t capacity_wanted() const;

  Hub& hub_;
  Loop& loop_;
  std::unique_ptr<Stream> stream_;
  std::function<void(Connection*)> gone_;
  const ParseLimits limits_;
  InputBuffer in_;
  std::uint64_t skip_ = 0;    ///< bytes of the input to be dropped
  std::uint64_t wanted_ = 0;  ///< bytes without which parsing is in vain
  std::size_t parsed_ = 0;    ///< bytes that the run was parsed from
  std::uint64_t held_ = 0;    ///< of the budget, for replies that the client does not take
  Session session_;
  Run run_;
  Replies out_;
  Clock::time_point last_moved_;
  bool waiting_input_ = false, waiting_output_ = false;
  bool executing_ = false;
  bool read_on_ = false;    ///< there may be input although nobody has said so
  bool stalled_ = false;    ///< nothing is read until the client takes its replies
  bool no_room_ = false;    ///< the input buffer is full and may not grow
  bool end_seen_ = false;   ///< the client sends no more
  bool finishing_ = false;  ///< nothing more is executed but what has been read
  bool lingering_ = false;  ///< all is answered; what comes is dropped
  bool closed_ = false;
};

}  // namespace rawcache::server
