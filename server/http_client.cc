#include "server/http_client.h"

#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>

#include "server/listener.h"

namespace rawcache::server {

namespace {

constexpr std::string_view kHttp = "http://";
constexpr std::string_view kUnix = "unix:";
/// No page of ours comes near it.
constexpr std::size_t kAnswerBytesMax = std::size_t{16} << 20;

Error failure(std::string_view address, std::string_view what) {
  return {Errc::io_error, std::string(address) + ": " + std::string(what)};
}

/// Asks over a stream that is connected, and reads until the other side closes.
template <typename Stream>
Result<std::string> ask(Stream& stream, std::string_view address, std::string_view path) {
  if (!stream) return std::unexpected(failure(address, stream.error().message()));
  stream << "GET " << path << " HTTP/1.0\r\nHost: localhost\r\n\r\n" << std::flush;
  std::string answer;
  char piece[65536];
  while (answer.size() <= kAnswerBytesMax) {
    stream.read(piece, sizeof piece);
    answer.append(piece, static_cast<std::size_t>(stream.gcount()));
    if (!stream) break;
  }
  const bool complete = stream.error() == asio::error::eof || !stream.error();
  if (!complete) return std::unexpected(failure(address, stream.error().message()));
  const std::size_t head_end = answer.find("\r\n\r\n");
  const std::size_t line_end = answer.find("\r\n");
  if (!answer.starts_with("HTTP/1.") || head_end == std::string::npos) {
    return std::unexpected(failure(address, "this is no HTTP server"));
  }
  const std::string status = answer.substr(9, line_end - 9);
  if (status != "200 OK") return std::unexpected(failure(address, "answered " + status));
  if (answer.size() > kAnswerBytesMax) return std::unexpected(failure(address, "answer too long"));
  return answer.substr(head_end + 4);
}

}  // namespace

bool is_http_address(std::string_view text) {
  return text.starts_with(kHttp) || text.starts_with(kUnix);
}

Result<std::string> http_get(std::string_view address, std::string_view path,
                             std::chrono::milliseconds timeout) {
  if (address.starts_with(kUnix)) {
    const std::string file(address.substr(kUnix.size()));
    if (file.size() >= sizeof(sockaddr_un::sun_path)) {
      return std::unexpected(Error(Errc::invalid_options, file + ": too long for a socket"));
    }
    asio::local::stream_protocol::iostream stream;
    stream.expires_after(timeout);
    stream.connect(asio::local::stream_protocol::endpoint(file));
    return ask(stream, address, path);
  }
  std::string_view text = address.substr(kHttp.size());
  if (text.ends_with('/')) text.remove_suffix(1);
  const auto where = parse_address(text);
  if (!where) return std::unexpected(where.error());
  asio::ip::tcp::iostream stream;
  stream.expires_after(timeout);
  stream.connect(where->host, std::to_string(where->port));
  return ask(stream, address, path);
}

}  // namespace rawcache::server
