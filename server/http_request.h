// The head of an HTTP/1.x request, as far as a server of a few read-only pages needs it. Pure
// functions on bytes from anywhere.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rawcache::server {

/// Request line and header lines together, bytes.
inline constexpr std::size_t kHttpHeadBytesMax = 8192;

struct HttpRequest {
  enum class State { incomplete, complete, refused };
  State state = State::incomplete;
  std::size_t bytes = 0;  ///< of the head, if complete
  int status = 0;         ///< what a refused one is answered with
  bool head = false;      ///< HEAD instead of GET
  bool keep_alive = false;
  std::string path;  ///< without the query
  std::string host;  ///< of the header Host, without the port; empty: there was none
};

/// What the bytes begin with. Only GET and HEAD without a body are understood; everything else is
/// refused: 400, 405, 413 (a body), 414 and 431 (too long), 505.
HttpRequest parse_http_request(std::string_view bytes);

/// Whether a host is this machine by name or number, so that no page from elsewhere, whose name was
/// made to point here, is answered.
bool is_loopback_host(std::string_view host);

}  // namespace rawcache::server
