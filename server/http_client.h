// One page of an HTTP server like http_server.h's, fetched and waited for.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "rawcache/result.h"

namespace rawcache::server {

/// Whether the text names a server, "http://HOST:PORT" or "unix:PATH", and not a file.
bool is_http_address(std::string_view text);

/// The body of `path`. Errors: invalid_options (no such host, or not HOST:PORT), io_error (no
/// answer within `timeout`, or one that is not 200 OK, or too long).
Result<std::string> http_get(std::string_view address, std::string_view path,
                             std::chrono::milliseconds timeout);

}  // namespace rawcache::server
