#include "server/asio_loop.h"

#include <algorithm>
#include <array>
#include <asio/buffer.hpp>
#include <asio/post.hpp>
#include <vector>

namespace rawcache::server {

namespace {

/// How often idle connections are looked for, and how promptly a stopping loop ends.
constexpr std::chrono::milliseconds kSweepInterval{500};

class SocketStream final : public Stream {
 public:
  SocketStream(Socket socket, std::string peer)
      : socket_(std::move(socket)), peer_(std::move(peer)) {
    std::error_code ignored;
    socket_.non_blocking(true, ignored);
  }
  void wait_readable(Ready ready) override {
    socket_.async_wait(Socket::wait_read, std::move(ready));
  }
  void wait_writable(Ready ready) override {
    socket_.async_wait(Socket::wait_write, std::move(ready));
  }
  std::size_t read(std::span<std::byte> into, std::error_code& error) override {
    const std::size_t bytes = socket_.read_some(asio::buffer(into.data(), into.size()), error);
    if (error == asio::error::eof) error.clear();
    error = plain_error(error);
    return bytes;
  }
  std::size_t write(std::span<const std::span<const std::byte>> pieces,
                    std::error_code& error) override {
    std::array<asio::const_buffer, 64> buffers;
    const std::size_t count = std::min(pieces.size(), buffers.size());
    for (std::size_t i = 0; i < count; ++i) {
      buffers[i] = asio::const_buffer(pieces[i].data(), pieces[i].size());
    }
    const std::size_t bytes = socket_.write_some(std::span(buffers).first(count), error);
    error = plain_error(error);
    return bytes;
  }
  void end_writes() override {
    std::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  void close() override {
    std::error_code ignored;
    socket_.close(ignored);
  }
  std::string peer() const override { return peer_; }

 private:
  Socket socket_;
  std::string peer_;
};

}  // namespace

std::error_code plain_error(std::error_code error) {
  if (error.category() != asio::error::get_system_category()) return error;
  return {error.value(), std::system_category()};
}

std::unique_ptr<Stream> make_stream(Socket socket, std::string peer) {
  return std::make_unique<SocketStream>(std::move(socket), std::move(peer));
}

AsioLoop::AsioLoop(Hub& hub) : hub_(hub), sweeper_(context_) {}

AsioLoop::~AsioLoop() { join(); }

void AsioLoop::start() {
  sweep();
  thread_ = std::thread([this] { context_.run(); });
}

void AsioLoop::post(std::move_only_function<void()> task) { asio::post(context_, std::move(task)); }

void AsioLoop::adopt(std::unique_ptr<Stream> stream) {
  auto connection = std::make_shared<Connection>(hub_, std::move(stream));
  connections_.emplace(connection.get(), connection);
  connection->start([this](Connection* gone) {
    post([this, gone] {
      connections_.erase(gone);
      end_if_empty();
    });
  });
  if (stopping_) connection->finish();
}

void AsioLoop::stop(std::chrono::steady_clock::time_point deadline) {
  post([this, deadline] {
    stopping_ = true;
    deadline_ = deadline;
    const std::vector<std::pair<Connection*, std::shared_ptr<Connection>>> all(connections_.begin(),
                                                                               connections_.end());
    for (const auto& [pointer, connection] : all) connection->finish();
    end_if_empty();
  });
}

void AsioLoop::join() {
  if (thread_.joinable()) thread_.join();
}

void AsioLoop::end_if_empty() {
  if (!stopping_ || !connections_.empty()) return;
  sweeper_.cancel();
  context_.stop();
}

void AsioLoop::sweep() {
  const auto now = std::chrono::steady_clock::now();
  const auto limit = hub_.options.idle_timeout;
  for (auto& [pointer, connection] : connections_) {
    if (limit.count() > 0 && connection->idle(now, limit)) {
      hub_.counters.connections_idled.fetch_add(1, std::memory_order_relaxed);
      connection->close();
    } else if (connection->lingered(now) || (stopping_ && now >= deadline_)) {
      connection->close();
    }
  }
  sweeper_.expires_after(kSweepInterval);
  sweeper_.async_wait([this](std::error_code error) {
    if (!error) sweep();
  });
}

}  // namespace rawcache::server
