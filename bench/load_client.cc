#include "bench/load_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "bench/engine.h"
#include "bench/meter.h"

namespace rawcache::bench {

namespace {

constexpr std::size_t kPoolBytes = std::size_t{1} << 20;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;
/// Requests are made in advance only as far as they fill about one write.
constexpr std::size_t kWriteBytes = std::size_t{64} << 10;
constexpr std::string_view kKeyPrefix = "load:";

int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail(path, "too long for a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::fcntl(socket, F_SETFL, O_NONBLOCK) != 0) {
    fail(path, std::strerror(errno));
  }
  return socket;
}

void append_number(std::string& to, std::uint64_t number) {
  char digits[20];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

void append_key(std::string& to, std::uint64_t key) {
  to += kKeyPrefix;
  append_number(to, key);
}

/// The number that follows the prefix.
std::uint64_t number_in(std::string_view line, std::string_view prefix) {
  std::uint64_t number = 0;
  if (!line.starts_with(prefix)) fail("reply", std::string(line));
  (void)std::from_chars(line.data() + prefix.size(), line.data() + line.size(), number);
  return number;
}

}  // namespace

LoadValues::LoadValues(std::uint64_t value_bytes) : value_bytes_(value_bytes) {
  std::mt19937_64 random(value_bytes);
  while (pool_.size() < kPoolBytes + value_bytes) {
    const std::uint64_t bits = random();
    pool_.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
}

std::string_view LoadValues::filling(std::uint64_t key) const {
  return std::string_view(pool_).substr(key * 64 % kPoolBytes, value_bytes_ - sizeof key);
}

void LoadValues::append(std::uint64_t key, std::string& to) const {
  to.append(reinterpret_cast<const char*>(&key), sizeof key);
  to += filling(key);
}

bool LoadValues::matches(std::uint64_t key, std::string_view value) const {
  return value.size() == value_bytes_ && std::memcmp(value.data(), &key, sizeof key) == 0 &&
         value.substr(sizeof key) == filling(key);
}

LoadClient::LoadClient(const LoadPlan& plan)
    : plan_(plan), values_(plan.value_bytes), connections_(plan.connections) {
  if (plan.shuffled) {
    order_.resize(plan.keys);
    std::iota(order_.begin(), order_.end(), std::uint64_t{0});
    std::ranges::shuffle(order_, std::mt19937_64(plan.seed));
  }
  for (Connection& connection : connections_) connection.socket = connect_to(plan.socket);
}

LoadClient::~LoadClient() {
  for (Connection& connection : connections_) ::close(connection.socket);
}

bool LoadClient::may_send(std::uint64_t now) const {
  if (sent_ == plan_.requests) return false;
  if (plan_.requests_per_s == 0) return true;
  const double due = static_cast<double>(now - begun_ns_) / 1e9 * plan_.requests_per_s;
  return static_cast<double>(sent_) < due;
}

std::uint64_t LoadClient::next_key() {
  const std::uint64_t place = next_key_++ % plan_.keys;
  return plan_.first + (order_.empty() ? place : order_[place]);
}

void LoadClient::append_request(Connection& connection) {
  std::string& out = connection.out;
  if (plan_.set) {
    const std::uint64_t key = next_key();
    append_key(out += "set ", key);
    append_number(out += " 0 0 ", plan_.value_bytes);
    values_.append(key, out += "\r\n");
  } else {
    out += "get";
    for (std::uint64_t i = 0; i < plan_.keys_per_get; ++i) append_key(out += ' ', next_key());
  }
  out += "\r\n";
  ++sent_;
}

void LoadClient::send_more(Connection& connection) {
  const std::uint64_t now = now_ns();
  while (connection.under_way.size() < plan_.depth && connection.out.size() < kWriteBytes &&
         may_send(now)) {
    append_request(connection);
    connection.under_way.push_back({.sent_ns = now});
  }
  write(connection);
}

void LoadClient::write(Connection& connection) {
  while (connection.out_done < connection.out.size()) {
    const ssize_t bytes = ::send(connection.socket, connection.out.data() + connection.out_done,
                                 connection.out.size() - connection.out_done, MSG_NOSIGNAL);
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes < 0) fail("send", std::strerror(errno));
    connection.out_done += static_cast<std::size_t>(bytes);
  }
  connection.out.clear();
  connection.out_done = 0;
}

void LoadClient::read(Connection& connection) {
  std::vector<char>& in = connection.in;
  const std::size_t begin = std::exchange(connection.in_begin, 0);
  if (begin != 0) std::memmove(in.data(), in.data() + begin, connection.in_end - begin);
  connection.in_end -= begin;
  if (in.size() < connection.in_end + kReadBytes) in.resize(connection.in_end + 2 * kReadBytes);
  const ssize_t bytes =
      ::recv(connection.socket, in.data() + connection.in_end, in.size() - connection.in_end, 0);
  if (bytes == 0) fail("server", "has closed the connection");
  if (bytes < 0 && errno != EAGAIN) fail("recv", std::strerror(errno));
  connection.in_end += static_cast<std::size_t>(std::max<ssize_t>(bytes, 0));
  while (take_reply(connection)) {
  }
}

bool LoadClient::take_reply(Connection& connection) {
  const std::string_view bytes(connection.in.data() + connection.in_begin,
                               connection.in_end - connection.in_begin);
  const std::size_t end = bytes.find("\r\n");
  if (end == std::string_view::npos) return false;
  const std::string_view line = bytes.substr(0, end);
  if (line.starts_with("VALUE ")) {
    const std::uint64_t size = number_in(line.substr(line.rfind(' ')), " ");
    if (bytes.size() < end + 2 + size + 2) return false;
    take_value(connection, line, bytes.substr(end + 2, size));
    connection.in_begin += end + 2 + size + 2;
    return true;
  }
  connection.in_begin += end + 2;
  if (plan_.set) {
    ++(line == "STORED" ? result_.stored : result_.refused);
  } else if (line != "END") {
    fail("reply", std::string(line));
  }
  answered(connection);
  return true;
}

void LoadClient::take_value(Connection& connection, std::string_view line, std::string_view value) {
  const std::uint64_t key = number_in(line, "VALUE load:");
  if (!values_.matches(key, value)) ++result_.wrong;
  ++result_.hits;
  if (connection.under_way.empty()) fail("value", "nothing was asked for");
  ++connection.under_way.front().hits;
}

void LoadClient::answered(Connection& connection) {
  if (connection.under_way.empty()) fail("reply", "nothing was asked for");
  const Request request = connection.under_way.front();
  connection.under_way.pop_front();
  ++result_.requests;
  if (!plan_.set) result_.misses += plan_.keys_per_get - request.hits;
  if (plan_.set || request.hits == plan_.keys_per_get) {
    result_.latencies.add(now_ns() - request.sent_ns);
  }
}

LoadResult LoadClient::run() {
  begun_ns_ = now_ns();
  std::vector<pollfd> polled(connections_.size());
  while (result_.requests < plan_.requests) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      send_more(connections_[i]);
      const bool blocked = !connections_[i].out.empty();
      polled[i] = {.fd = connections_[i].socket,
                   .events = static_cast<short>(blocked ? POLLIN | POLLOUT : POLLIN),
                   .revents = 0};
    }
    if (::poll(polled.data(), polled.size(), plan_.requests_per_s > 0 ? 1 : -1) < 0) {
      fail("poll", std::strerror(errno));
    }
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if ((polled[i].revents & ~POLLOUT) != 0) read(connections_[i]);
    }
  }
  result_.seconds = static_cast<double>(now_ns() - begun_ns_) / 1e9;
  return result_;
}

}  // namespace rawcache::bench
