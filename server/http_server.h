// HttpServer: a few read-only pages on a thread of their own, so that who looks at them never
// waits for, nor delays, the connections that use the cache.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "rawcache/result.h"

namespace rawcache::server {

struct HttpResponse {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

struct HttpLimits {
  unsigned connections_max = 64;  ///< beyond it new ones are closed at once
  /// For the whole of a request to come, and for the whole of a response to be taken.
  std::chrono::milliseconds request_timeout{10'000};
};

class HttpServer {
 public:
  /// Answers for a path; called on the server's thread.
  using Handler = std::function<HttpResponse(std::string_view path)>;

  explicit HttpServer(Handler handler, HttpLimits limits = {});
  /// Stops; what is under way is cut off.
  ~HttpServer();

  /// Binds "HOST:PORT" or "unix:PATH" (mode 0600). Before start(). Errors: invalid_options, also
  /// for an address that other machines can reach unless `anywhere`; already_open,
  /// permission_denied, io_error.
  Result<void> listen(const std::string& address, bool anywhere);
  /// Serves on a thread of its own, and calls `each_second` there about once a second.
  void start(std::function<void()> each_second);
  /// The port that it really has; 0 for Unix.
  std::uint16_t port() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rawcache::server
