// AsioLoop: an event loop on one thread, and the connections that live on it.
#pragma once

#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <thread>
#include <unordered_map>

#include "server/connection.h"
#include "server/stream.h"

namespace rawcache::server {

using Socket = asio::generic::stream_protocol::socket;

class AsioLoop final : public Loop {
 public:
  explicit AsioLoop(Hub& hub);
  ~AsioLoop() override;

  asio::io_context& context() { return context_; }
  void start();
  void post(std::move_only_function<void()> task) override;
  /// Serves the client. On the loop's thread.
  void adopt(std::unique_ptr<Stream> stream);
  /// Closes its connections once they have been answered, at the latest at `deadline`, then ends.
  /// Any thread.
  void stop(std::chrono::steady_clock::time_point deadline);
  void join();

 private:
  void sweep();
  void end_if_empty();

  Hub& hub_;
  asio::io_context context_{1};
  asio::steady_timer sweeper_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point deadline_;
  std::thread thread_;
};

/// The error as std::errc knows it: Asio has a category of its own for those of the system, which
/// compares equal to nothing.
std::error_code plain_error(std::error_code error);

/// A stream on a socket, TCP or Unix.
std::unique_ptr<Stream> make_stream(Socket socket, std::string peer);

}  // namespace rawcache::server
