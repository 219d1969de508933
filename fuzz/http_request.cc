// The head of an HTTP request: any bytes are understood, refused or waited for, the same whatever
// pieces they come in.
#include <algorithm>
#include <array>
#include <string>

#include "fuzz/input.h"
#include "server/http_request.h"

namespace rawcache::fuzz {
namespace {

using server::HttpRequest;
using server::kHttpHeadBytesMax;
using State = HttpRequest::State;

void check(const HttpRequest& request, std::string_view bytes) {
  if (request.state == State::refused) {
    constexpr std::array kStatus{400, 405, 413, 414, 431, 505};
    expect(std::ranges::find(kStatus, request.status) != kStatus.end(), "refused as what?");
    return;
  }
  expect(request.status == 0, "a status although it was not refused");
  if (request.state == State::incomplete) {
    expect(bytes.size() < kHttpHeadBytesMax, "waits for more than the limit");
    return;
  }
  expect(request.bytes <= std::min(bytes.size(), kHttpHeadBytesMax), "longer than what there is");
  expect(bytes.substr(0, request.bytes).ends_with('\n'), "does not end with a line");
  expect(request.path.starts_with('/') && !request.path.contains('?'), "not a path");
  expect(std::ranges::all_of(request.path, [](char c) { return c > ' ' && c < '\x7F'; }),
         "a path that cannot be repeated in an answer or a log");
  expect(!request.host.contains('\n') && !request.host.contains('\0'), "a host of two lines");
  (void)server::is_loopback_host(request.host);
}

void equal(const HttpRequest& a, const HttpRequest& b) {
  expect(a.state == b.state && a.bytes == b.bytes && a.status == b.status && a.head == b.head &&
             a.keep_alive == b.keep_alive && a.path == b.path && a.host == b.host,
         "what was decided changes with what follows");
}

std::string with_words(const std::string& text) {
  static const std::array<std::string, 24> kWords = {"GET ",
                                                     "HEAD ",
                                                     "POST ",
                                                     "/",
                                                     "/metrics",
                                                     " HTTP/1.1\r\n",
                                                     " HTTP/1.0\r\n",
                                                     " HTTP/2\r\n",
                                                     "\r\n",
                                                     "Host: ",
                                                     "localhost",
                                                     "127.0.0.1",
                                                     "[::1]",
                                                     ":80",
                                                     "Connection: ",
                                                     "close",
                                                     "keep-alive",
                                                     "Content-Length: ",
                                                     "0",
                                                     "Transfer-Encoding: chunked",
                                                     "?a=b",
                                                     ": ",
                                                     std::string(512, 'x'),
                                                     std::string(8000, 'x')};
  return replace_words(text, kWords);
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  Input input(data, size);
  const auto choices = input.take<std::uint8_t>();
  const std::size_t step = 1 + choices / 2;
  const std::string bytes = (choices & 1) != 0 ? input.take_rest() : with_words(input.take_rest());
  const auto whole = rawcache::server::parse_http_request(bytes);
  check(whole, bytes);
  for (std::size_t have = 0; have < bytes.size(); have += step) {
    const std::string piece = bytes.substr(0, have);
    const auto early = rawcache::server::parse_http_request(piece);
    check(early, piece);
    if (early.state != State::incomplete) return equal(early, whole), 0;
  }
  return 0;
}
