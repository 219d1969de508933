#include "server/http_request.h"

#include <algorithm>

namespace rawcache::server {

namespace {

HttpRequest refused(int status) {
  HttpRequest request;
  request.state = HttpRequest::State::refused;
  request.status = status;
  return request;
}

bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || kOthers.contains(c);
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

std::string host_without_port(std::string_view host) {
  const std::size_t bracket = host.starts_with('[') ? host.find(']') : std::string_view::npos;
  if (bracket != std::string_view::npos) return lower(host.substr(1, bracket - 1));
  return lower(host.substr(0, host.find(':')));
}

/// 0: taken.
int take_request_line(std::string_view line, HttpRequest& request) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return 400;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || !version.starts_with("HTTP/")) return 400;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return 505;
  if (method != "GET" && method != "HEAD") return 405;
  const bool plain =
      std::ranges::all_of(target, [](char c) { return c > ' ' && c < '\x7F' && c != '"'; });
  if (!target.starts_with('/') || !plain) return 400;
  request.head = method == "HEAD";
  request.keep_alive = version == "HTTP/1.1";
  request.path = target.substr(0, target.find('?'));
  return 0;
}

int take_header(std::string_view line, HttpRequest& request) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return 400;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "host") {
    if (!request.host.empty()) return 400;
    request.host = host_without_port(value);
  } else if (name == "connection") {
    const std::string wanted = lower(value);
    if (wanted.contains("close")) request.keep_alive = false;
    if (wanted.contains("keep-alive")) request.keep_alive = true;
  } else if (name == "transfer-encoding" || (name == "content-length" && value != "0")) {
    return 413;
  }
  return 0;
}

}  // namespace

HttpRequest parse_http_request(std::string_view bytes) {
  HttpRequest request;
  std::string_view rest = bytes.substr(0, kHttpHeadBytesMax);
  for (bool first = true;; first = false) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) {
      if (bytes.size() >= kHttpHeadBytesMax) return refused(first ? 414 : 431);
      return request;
    }
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.contains('\r') || line.contains('\0')) return refused(400);
    if (line.empty() && !first) break;
    if (const int status = first ? take_request_line(line, request) : take_header(line, request)) {
      return refused(status);
    }
  }
  request.state = HttpRequest::State::complete;
  request.bytes = std::min(bytes.size(), kHttpHeadBytesMax) - rest.size();
  return request;
}

bool is_loopback_host(std::string_view host) {
  if (host.empty() || host == "localhost" || host.ends_with(".localhost") || host == "::1") {
    return true;
  }
  const bool number =
      std::ranges::all_of(host, [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
  return number && host.starts_with("127.");
}

}  // namespace rawcache::server
