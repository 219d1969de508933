#include "server/listener.h"

#include <sys/stat.h>
#include <unistd.h>

#include <asio/ip/tcp.hpp>
#include <asio/ip/v6_only.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <charconv>

namespace rawcache::server {

namespace {

constexpr int kBacklog = 1024;
/// After an accept that failed, for want of file descriptors as a rule.
constexpr std::chrono::milliseconds kAcceptPause{100};

std::string name_of(const asio::ip::tcp::endpoint& peer) {
  std::error_code ignored;
  return peer.address().to_string(ignored) + ":" + std::to_string(peer.port());
}
std::string name_of(const asio::local::stream_protocol::endpoint&) { return "unix"; }

void tune(asio::ip::tcp::socket& socket) {
  std::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
}
void tune(asio::local::stream_protocol::socket&) {}

template <typename Protocol>
class ListenerOf final : public Listener {
 public:
  ListenerOf(Loops& loops, Welcome welcome)
      : loops_(loops),
        welcome_(std::move(welcome)),
        acceptor_(loops.front()->context()),
        pause_(loops.front()->context()) {}
  ~ListenerOf() override {
    if (!path_.empty()) unlink(path_.c_str());
  }

  std::error_code bind(const typename Protocol::endpoint& endpoint) {
    std::error_code error;
    (void)acceptor_.open(endpoint.protocol(), error);
    if constexpr (std::is_same_v<Protocol, asio::ip::tcp>) {
      if (!error) (void)acceptor_.set_option(asio::socket_base::reuse_address(true), error);
      if (!error && endpoint.address().is_v6()) {
        (void)acceptor_.set_option(asio::ip::v6_only(true), error);
      }
      local_ = endpoint.address().is_loopback();
    }
    if (!error) (void)acceptor_.bind(endpoint, error);
    return error;
  }
  std::error_code listen() {
    std::error_code error;
    (void)acceptor_.listen(kBacklog, error);
    return error;
  }
  /// Who made the file also removes it.
  void own_path(std::string path) { path_ = std::move(path); }

  void start() override {
    AsioLoop& loop = *loops_[next_++ % loops_.size()];
    acceptor_.async_accept(
        loop.context(), [this, &loop](std::error_code error, typename Protocol::socket socket) {
          if (error == asio::error::operation_aborted) return;
          if (error) {
            pause_.expires_after(kAcceptPause);
            pause_.async_wait([this](std::error_code stopped) {
              if (!stopped) start();
            });
            return;
          }
          tune(socket);
          std::error_code gone;
          const auto peer = socket.remote_endpoint(gone);
          asio::post(loop.context(),
                     [this, &loop, socket = std::move(socket), name = name_of(peer)]() mutable {
                       welcome_(loop, Socket(std::move(socket)), std::move(name));
                     });
          start();
        });
  }
  void stop() override {
    std::error_code ignored;
    (void)acceptor_.close(ignored);
    pause_.cancel();
  }
  std::uint16_t port() const override {
    if constexpr (std::is_same_v<Protocol, asio::ip::tcp>) {
      std::error_code error;
      const auto endpoint = acceptor_.local_endpoint(error);
      if (!error) return endpoint.port();
    }
    return 0;
  }
  bool local() const override { return local_; }

 private:
  Loops& loops_;
  Welcome welcome_;
  typename Protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  std::size_t next_ = 0;
  bool local_ = true;
  std::string path_;
};

}  // namespace

Error listen_error(const std::error_code& error, const std::string& what) {
  const std::error_code plain = plain_error(error);
  Errc code = Errc::io_error;
  if (plain == std::errc::address_in_use) code = Errc::already_open;
  if (plain == std::errc::permission_denied) code = Errc::permission_denied;
  return {code, what, error.value()};
}

Result<void> free_unix_path(const std::string& path) {
  using Unix = asio::local::stream_protocol;
  struct stat status{};
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return std::unexpected(Error(Errc::invalid_options, path + ": too long for a socket"));
  }
  if (lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) return std::unexpected(Error(Errc::already_exists, path));
    asio::io_context context;
    Unix::socket probe(context);
    std::error_code refused;
    (void)probe.connect(Unix::endpoint(path), refused);
    if (!refused) return std::unexpected(Error(Errc::already_open, path));
    unlink(path.c_str());
  }
  return {};
}

Result<Address> parse_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  Address address;
  std::string_view host = text.substr(0, colon);
  const auto bad = [&] {
    return std::unexpected(
        Error(Errc::invalid_options, "\"" + std::string(text) + "\" is not HOST:PORT"));
  };
  if (colon == std::string_view::npos) return bad();
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) return bad();
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.host = host;
  return address;
}

Result<std::vector<std::unique_ptr<Listener>>> Listener::listen_tcp(const std::string& text,
                                                                    Loops& loops, Welcome welcome) {
  const auto address = parse_address(text);
  if (!address) return std::unexpected(address.error());
  asio::ip::tcp::resolver resolver(loops.front()->context());
  std::error_code error;
  const std::string host = address->host == "*" ? "" : address->host;
  const auto found = resolver.resolve(host, std::to_string(address->port),
                                      asio::ip::tcp::resolver::passive, error);
  if (error) return std::unexpected(Error(Errc::invalid_options, text + ": " + error.message()));
  std::vector<std::unique_ptr<Listener>> listeners;
  for (const auto& each : found) {
    auto listener = std::make_unique<ListenerOf<asio::ip::tcp>>(loops, welcome);
    error = listener->bind(each.endpoint());
    if (!error) error = listener->listen();
    // A machine without IPv6 has addresses of that kind all the same.
    if (error && !listeners.empty()) continue;
    if (error) return std::unexpected(listen_error(error, text));
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

Result<std::unique_ptr<Listener>> Listener::listen_unix(const std::string& path, unsigned mode,
                                                        Loops& loops, Welcome welcome) {
  using Unix = asio::local::stream_protocol;
  if (auto free = free_unix_path(path); !free) return std::unexpected(free.error());
  auto listener = std::make_unique<ListenerOf<Unix>>(loops, std::move(welcome));
  // Nobody else may connect before the mode is set.
  const mode_t before = umask(0777 & ~mode);
  std::error_code error = listener->bind(Unix::endpoint(path));
  umask(before);
  if (error) return std::unexpected(listen_error(error, path));
  listener->own_path(path);
  if (chmod(path.c_str(), mode) != 0) {
    return std::unexpected(Error(Errc::permission_denied, path, errno));
  }
  if ((error = listener->listen())) return std::unexpected(listen_error(error, path));
  return std::unique_ptr<Listener>(std::move(listener));
}

}  // namespace rawcache::server
