// Tls: certificates and keys of the server, and streams that are encrypted with them.
#pragma once

#include <memory>
#include <string>

#include "rawcache/result.h"
#include "server/stream.h"

namespace rawcache::server {

struct TlsFiles {
  std::string certificate;  ///< the server's own, then those up to a root; PEM
  std::string key;          ///< its private key; PEM
  std::string client_ca;    ///< who signs clients' certificates; empty: clients need none
};

class Tls {
 public:
  virtual ~Tls() = default;
  /// A stream over one that is connected through `descriptor` and lives on `loop`. The handshake
  /// happens within the first reads. Any thread.
  virtual std::unique_ptr<Stream> wrap(std::unique_ptr<Stream> plain, int descriptor,
                                       Loop& loop) const = 0;

  /// Reads the files. TLS 1.2 and newer. Errors: invalid_options (which file, and why),
  /// not_supported (built without OpenSSL).
  static Result<std::shared_ptr<const Tls>> load(const TlsFiles& files);
};

}  // namespace rawcache::server
