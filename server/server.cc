#include "server/server.h"

#include <algorithm>
#include <asio/signal_set.hpp>
#include <atomic>
#include <csignal>
#include <thread>

#include "base/mutex.h"
#include "server/asio_loop.h"
#include "server/http_server.h"
#include "server/hub.h"
#include "server/listener.h"
#include "server/log.h"
#include "server/observer.h"
#include "server/sd_notify.h"
#include "server/tls.h"

namespace rawcache::server {

namespace {

constexpr unsigned kWorkersPerCore = 4;
constexpr unsigned kWorkersMin = 8;

unsigned cores() { return std::max(1u, std::thread::hardware_concurrency()); }
unsigned loops_of(const ServerOptions& options) {
  return options.loops != 0 ? options.loops : cores();
}
unsigned workers_of(const ServerOptions& options) {
  return options.workers != 0 ? options.workers : std::max(kWorkersMin, kWorkersPerCore * cores());
}

}  // namespace

class Server::Impl {
 public:
  Impl(RawDiskCache& cache, ServerOptions options)
      : options_(std::move(options)), hub_(cache, options_, workers_of(options_)) {
    for (unsigned i = 0; i < loops_of(options_); ++i) {
      loops_.push_back(std::make_unique<AsioLoop>(hub_));
    }
    signals_ = std::make_unique<asio::signal_set>(loops_.front()->context());
    hub_.shut_down = [this] { stop(); };
  }
  ~Impl() {
    stop();
    http_.reset();
    for (auto& loop : loops_) loop->join();
    end_workers();
    listeners_.clear();
    signals_.reset();
    loops_.clear();
  }

  Result<void> listen();
  Result<void> run();
  void stop();

  ServerStats stats() { return hub_.stats(); }
  std::vector<std::uint16_t> ports() const {
    std::vector<std::uint16_t> ports;
    for (const auto& listener : listeners_) {
      if (listener->port() != 0) ports.push_back(listener->port());
    }
    return ports;
  }
  std::uint16_t http_port() const { return http_ ? http_->port() : std::uint16_t{0}; }

 private:
  Result<void> listen_http();
  Result<void> load_tls();
  std::unique_ptr<Stream> stream_on(AsioLoop& loop, Socket socket, std::string peer);
  void welcome(AsioLoop& loop, Socket socket, std::string peer);
  /// Waits for what they are doing, for clients that were given up. After the loops have ended, so
  /// that nobody gives them more.
  void end_workers() {
    hub_.pool.reset();
    hub_.writer.reset();
  }
  void wait_for_signals();
  void reload();

  const ServerOptions options_;
  Hub hub_;
  Log log_;
  Listener::Loops loops_;
  std::unique_ptr<asio::signal_set> signals_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::atomic<bool> stopping_{false};
  Mutex tls_mutex_;
  std::shared_ptr<const Tls> tls_ GUARDED_BY(tls_mutex_);  ///< none: connections are not encrypted
  std::unique_ptr<Observer> observer_;
  std::unique_ptr<HttpServer> http_;
};

Result<void> Server::Impl::listen() {
  if (!log_.open(options_.log_file)) {
    return std::unexpected(Error(Errc::permission_denied, options_.log_file, errno));
  }
  if (!options_.auth_file.empty()) {
    if (auto loaded = hub_.users.load(options_.auth_file); !loaded) return loaded;
  }
  if (auto loaded = load_tls(); !loaded) return loaded;
  const Listener::Welcome welcome = [this](AsioLoop& loop, Socket socket, std::string peer) {
    this->welcome(loop, std::move(socket), std::move(peer));
  };
  for (const std::string& address : options_.listen) {
    auto listening = Listener::listen_tcp(address, loops_, welcome);
    if (!listening) return std::unexpected(listening.error());
    for (auto& listener : *listening) {
      const bool guarded = !options_.auth_file.empty() || !options_.tls_certificate.empty();
      if (!listener->local() && !guarded && !options_.insecure_listen) {
        return std::unexpected(
            Error(Errc::invalid_options,
                  address + " can be reached from other machines: that takes --auth-file or "
                            "--tls-cert, or --insecure-listen if they are all to be trusted"));
      }
      listeners_.push_back(std::move(listener));
    }
  }
  if (!options_.unix_path.empty()) {
    auto listening = Listener::listen_unix(options_.unix_path, options_.unix_mode, loops_, welcome);
    if (!listening) return std::unexpected(listening.error());
    listeners_.push_back(std::move(*listening));
  }
  return options_.http.empty() ? Result<void>() : listen_http();
}

Result<void> Server::Impl::listen_http() {
  observer_ = std::make_unique<Observer>(ObservedServer{
      .cache = [this] { return hub_.cache.stats(); },
      .segments = [this] { return hub_.cache.segments(); },
      .server = [this] { return hub_.stats(); },
      .stopping = [this] { return stopping_.load(); },
  });
  http_ = std::make_unique<HttpServer>(
      [this](std::string_view path) { return observer_->respond(path); });
  return http_->listen(options_.http, options_.insecure_listen);
}

Result<void> Server::Impl::load_tls() {
  if (options_.tls_certificate.empty()) return {};
  auto loaded = Tls::load({.certificate = options_.tls_certificate,
                           .key = options_.tls_key,
                           .client_ca = options_.tls_client_ca});
  if (!loaded) return std::unexpected(loaded.error());
  MutexLock lock(tls_mutex_);
  tls_ = std::move(*loaded);
  return {};
}

/// Encrypted, if it is to be; who comes by a Unix socket is on this machine.
std::unique_ptr<Stream> Server::Impl::stream_on(AsioLoop& loop, Socket socket, std::string peer) {
  std::error_code gone;
  const bool tcp = socket.local_endpoint(gone).protocol().family() != AF_UNIX;
  const int descriptor = socket.native_handle();
  auto stream = make_stream(std::move(socket), std::move(peer));
  std::shared_ptr<const Tls> tls;
  {
    MutexLock lock(tls_mutex_);
    tls = tls_;
  }
  return tls && tcp ? tls->wrap(std::move(stream), descriptor, loop) : std::move(stream);
}

void Server::Impl::welcome(AsioLoop& loop, Socket socket, std::string peer) {
  auto stream = stream_on(loop, std::move(socket), std::move(peer));
  if (!stream) return;
  if (hub_.counters.connections.load(std::memory_order_relaxed) >= options_.connections_max) {
    hub_.counters.connections_rejected.fetch_add(1, std::memory_order_relaxed);
    static constexpr std::string_view kTooMany = "ERROR Too many open connections\r\n";
    const std::span<const std::byte> piece = std::as_bytes(std::span(kTooMany));
    std::error_code ignored;
    (void)stream->write({&piece, 1}, ignored);
    stream->close();
    return;
  }
  hub_.counters.connections_accepted.fetch_add(1, std::memory_order_relaxed);
  loop.adopt(std::move(stream));
}

void Server::Impl::wait_for_signals() {
  signals_->async_wait([this](std::error_code error, int signal) {
    if (error) return;
    if (signal != SIGHUP) return stop();
    reload();
    wait_for_signals();
  });
}

void Server::Impl::reload() {
  if (!log_.open(options_.log_file)) {
    log_.say(Log::Level::error, "the log file cannot be opened: " + options_.log_file);
  }
  if (auto loaded = load_tls(); !loaded) {
    log_.say(Log::Level::error, "the certificates stay as they were: " + loaded.error().message());
  }
  if (options_.auth_file.empty()) return;
  if (auto loaded = hub_.users.load(options_.auth_file); !loaded) {
    log_.say(Log::Level::error, "the users stay as they were: " + loaded.error().message());
  }
}

Result<void> Server::Impl::run() {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    std::error_code ignored;
    (void)signals_->add(signal, ignored);
  }
  wait_for_signals();
  for (auto& listener : listeners_) listener->start();
  for (auto& loop : loops_) loop->start();
  if (http_) http_->start([this] { observer_->sample(); });
  log_.say(Log::Level::notice, "serving");
  sd_notify("READY=1");
  for (auto& loop : loops_) loop->join();
  end_workers();
  log_.say(Log::Level::notice, "stopped; flushing");
  const auto flushed = hub_.cache.flush_writes();
  http_.reset();  // who called may close the cache now: nobody else may look at it any more
  if (flushed) return {};
  log_.say(Log::Level::error, "flush: " + flushed.error().message());
  return std::unexpected(flushed.error());
}

void Server::Impl::stop() {
  if (stopping_.exchange(true)) return;
  sd_notify("STOPPING=1");
  loops_.front()->post([this] {
    for (auto& listener : listeners_) listener->stop();
    std::error_code ignored;
    (void)signals_->cancel(ignored);
    const auto deadline = std::chrono::steady_clock::now() + options_.stop_timeout;
    for (auto& loop : loops_) loop->stop(deadline);
  });
}

Server::Server(RawDiskCache& cache, ServerOptions options)
    : impl_(std::make_unique<Impl>(cache, std::move(options))) {}
Server::~Server() = default;
Result<void> Server::listen() { return impl_->listen(); }
Result<void> Server::run() { return impl_->run(); }
void Server::stop() { impl_->stop(); }
ServerStats Server::stats() const { return impl_->stats(); }
std::vector<std::uint16_t> Server::ports() const { return impl_->ports(); }
std::uint16_t Server::http_port() const { return impl_->http_port(); }

}  // namespace rawcache::server
