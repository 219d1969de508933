#include "server/http_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <cstring>
#include <thread>

#include "server/http_request.h"
#include "server/listener.h"
#include "server/stream.h"

namespace rawcache::server {

namespace {

constexpr int kBacklog = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Bad Request";
  }
}

HttpResponse plain(int status) {
  return {.status = status, .body = std::string(reason_of(status)) + '\n'};
}

/// Pages may load from here and from nowhere else, and be framed by nobody.
std::string head_of(const HttpResponse& response, bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + ' ' +
                     reason_of(response.status) + "\r\nContent-Type: " + response.type +
                     "\r\nContent-Length: " + std::to_string(response.body.size()) +
                     "\r\nCache-Control: no-store"
                     "\r\nX-Content-Type-Options: nosniff"
                     "\r\nContent-Security-Policy: default-src 'self'; img-src data:; "
                     "frame-ancestors 'none'";
  if (response.status == 405) head += "\r\nAllow: GET, HEAD";
  return head + (keep_alive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
}

}  // namespace

class HttpServer::Impl {
 public:
  using Socket = asio::generic::stream_protocol::socket;

  Impl(Handler handler, HttpLimits limits) : handler_(std::move(handler)), limits_(limits) {}
  ~Impl() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
    if (!path_.empty()) unlink(path_.c_str());
  }

  Result<void> listen_tcp(const std::string& text, bool anywhere);
  Result<void> listen_unix(const std::string& path);
  void start(std::function<void()> each_second);
  std::uint16_t port() const;

 private:
  /// One client: a request, its response, the next request.
  class Session : public std::enable_shared_from_this<Session> {
   public:
    Session(Impl& impl, Socket socket)
        : impl_(impl), socket_(std::move(socket)), timer_(impl.context_) {
      ++impl_.sessions_;
    }
    ~Session() { --impl_.sessions_; }
    void run() {
      close_after(impl_.limits_.request_timeout);
      take();
    }

   private:
    void close_after(std::chrono::milliseconds time) {
      timer_.expires_after(time);
      timer_.async_wait([self = shared_from_this()](std::error_code error) {
        std::error_code ignored;
        // One that was about to be told when the next request set the timer anew says nothing.
        const bool over = self->timer_.expiry() <= std::chrono::steady_clock::now();
        if (!error && over) (void)self->socket_.close(ignored);
      });
    }
    /// What has come, or more of it.
    void take() {
      const HttpRequest request = parse_http_request(in_);
      if (request.state == HttpRequest::State::incomplete) return read();
      HttpResponse response = plain(request.status);
      const bool complete = request.state == HttpRequest::State::complete;
      if (complete) {
        in_.erase(0, request.bytes);
        response = impl_.loopback_only_ && !is_loopback_host(request.host)
                       ? plain(421)
                       : impl_.handler_(request.path);
      }
      write(response, complete && request.keep_alive, request.head);
    }
    void read() {
      const std::size_t before = in_.size();
      in_.resize(kHttpHeadBytesMax);
      socket_.async_read_some(
          asio::buffer(in_.data() + before, in_.size() - before),
          [self = shared_from_this(), before](std::error_code error, std::size_t bytes) {
            self->in_.resize(before + bytes);
            if (error) {
              self->timer_.cancel();
            } else {
              self->take();
            }
          });
    }
    void write(const HttpResponse& response, bool keep_alive, bool head_only) {
      out_ = head_of(response, keep_alive);
      if (!head_only) out_ += response.body;
      asio::async_write(
          socket_, asio::buffer(out_),
          [self = shared_from_this(), keep_alive](std::error_code error, std::size_t) {
            self->timer_.cancel();
            if (error) return;
            if (keep_alive) return self->run();
            self->end();
          });
    }
    /// Closing while there is something to read would take the response away from the client.
    void end() {
      std::error_code ignored;
      (void)socket_.shutdown(Socket::shutdown_send, ignored);
      close_after(kLingerTime);
      drain();
    }
    void drain() {
      in_.resize(kHttpHeadBytesMax);
      socket_.async_read_some(asio::buffer(in_),
                              [self = shared_from_this()](std::error_code error, std::size_t) {
                                if (!error) return self->drain();
                                self->timer_.cancel();
                              });
    }

    Impl& impl_;
    Socket socket_;
    asio::steady_timer timer_;
    std::string in_, out_;
  };

  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

  std::error_code bind(const asio::generic::stream_protocol::endpoint& endpoint);
  void accept();
  void tick();

  const Handler handler_;
  const HttpLimits limits_;
  unsigned sessions_ = 0;
  asio::io_context context_{1};
  Acceptor acceptor_{context_};
  asio::steady_timer pause_{context_}, ticker_{context_};
  std::function<void()> each_second_;
  bool loopback_only_ = false;
  std::string path_;
  std::thread thread_;
};

std::error_code HttpServer::Impl::bind(const asio::generic::stream_protocol::endpoint& endpoint) {
  std::error_code error;
  (void)acceptor_.close(error);
  (void)acceptor_.open(endpoint.protocol(), error);
  if (!error && endpoint.protocol().family() != AF_UNIX) {
    (void)acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  }
  if (!error) (void)acceptor_.bind(endpoint, error);
  if (!error) (void)acceptor_.listen(kBacklog, error);
  return error;
}

Result<void> HttpServer::Impl::listen_tcp(const std::string& text, bool anywhere) {
  const auto address = parse_address(text);
  if (!address) return std::unexpected(address.error());
  asio::ip::tcp::resolver resolver(context_);
  std::error_code error;
  const auto found = resolver.resolve(address->host, std::to_string(address->port),
                                      asio::ip::tcp::resolver::passive, error);
  if (error || found.empty()) {
    return std::unexpected(Error(Errc::invalid_options, text + ": " + error.message()));
  }
  for (const auto& each : found) {
    loopback_only_ = each.endpoint().address().is_loopback();
    if (!loopback_only_ && !anywhere) {
      return std::unexpected(
          Error(Errc::invalid_options, text + ": other machines could reach the statistics there"));
    }
    error = bind(each.endpoint());
    if (!error) return {};
  }
  return std::unexpected(listen_error(error, text));
}

Result<void> HttpServer::Impl::listen_unix(const std::string& path) {
  using Unix = asio::local::stream_protocol;
  if (auto free = free_unix_path(path); !free) return free;
  // Nobody else may connect before the mode is set.
  const mode_t before = umask(0177);
  const std::error_code error = bind(Unix::endpoint(path));
  umask(before);
  if (error) return std::unexpected(listen_error(error, path));
  path_ = path;
  return {};
}

std::uint16_t HttpServer::Impl::port() const {
  std::error_code error;
  const auto endpoint = acceptor_.local_endpoint(error);
  if (error || endpoint.protocol().family() == AF_UNIX) return 0;
  asio::ip::tcp::endpoint tcp;
  tcp.resize(endpoint.size());
  std::memcpy(tcp.data(), endpoint.data(), endpoint.size());
  return tcp.port();
}

void HttpServer::Impl::start(std::function<void()> each_second) {
  each_second_ = std::move(each_second);
  accept();
  tick();
  thread_ = std::thread([this] { context_.run(); });
}

void HttpServer::Impl::accept() {
  acceptor_.async_accept([this](std::error_code error, Socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this](std::error_code stopped) {
        if (!stopped) accept();
      });
      return;
    }
    if (sessions_ < limits_.connections_max) {
      std::make_shared<Session>(*this, std::move(socket))->run();
    }
    accept();
  });
}

void HttpServer::Impl::tick() {
  if (each_second_) each_second_();
  ticker_.expires_after(std::chrono::seconds(1));
  ticker_.async_wait([this](std::error_code error) {
    if (!error) tick();
  });
}

HttpServer::HttpServer(Handler handler, HttpLimits limits)
    : impl_(std::make_unique<Impl>(std::move(handler), limits)) {}
HttpServer::~HttpServer() = default;

Result<void> HttpServer::listen(const std::string& address, bool anywhere) {
  if (address.starts_with("unix:")) return impl_->listen_unix(address.substr(5));
  return impl_->listen_tcp(address, anywhere);
}
void HttpServer::start(std::function<void()> each_second) { impl_->start(std::move(each_second)); }
std::uint16_t HttpServer::port() const { return impl_->port(); }

}  // namespace rawcache::server
