#include "server/tls.h"

#ifdef RAWCACHE_HAVE_TLS

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <asio/ssl/context.hpp>
#include <cstring>
#include <utility>

namespace rawcache::server {

namespace {

/// What one record holds at most.
constexpr std::size_t kRecordBytes = 16384;

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

/// OpenSSL reads and writes the socket itself; the stream below waits for it and closes it.
class TlsStream final : public Stream {
 public:
  TlsStream(std::unique_ptr<Stream> plain, std::unique_ptr<SSL, FreeSsl> ssl, Loop& loop)
      : plain_(std::move(plain)), ssl_(std::move(ssl)), loop_(loop) {}

  void wait_readable(Ready ready) override {
    if (SSL_pending(ssl_.get()) > 0) {  // read from the socket already, with what was asked for
      loop_.post([ready = std::move(ready)]() mutable { ready({}); });
    } else if (read_waits_for_room_) {
      plain_->wait_writable(std::move(ready));
    } else {
      plain_->wait_readable(std::move(ready));
    }
  }
  void wait_writable(Ready ready) override { plain_->wait_writable(std::move(ready)); }

  std::size_t read(std::span<std::byte> into, std::error_code& error) override {
    error.clear();
    std::size_t bytes = 0;
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &bytes);
    if (result == 1) return bytes;
    const int why = SSL_get_error(ssl_.get(), result);
    read_waits_for_room_ = why == SSL_ERROR_WANT_WRITE;  // in the handshake
    if (why != SSL_ERROR_ZERO_RETURN) error = error_of(why);
    return 0;
  }
  /// One record of what comes first.
  std::size_t write(std::span<const std::span<const std::byte>> pieces,
                    std::error_code& error) override {
    error.clear();
    std::array<std::byte, kRecordBytes> record;
    std::size_t size = 0;
    for (const std::span<const std::byte> piece : pieces) {
      const std::size_t taken = std::min(piece.size(), record.size() - size);
      std::memcpy(record.data() + size, piece.data(), taken);
      size += taken;
    }
    std::size_t bytes = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_.get(), record.data(), size, &bytes);
    if (result != 1) error = error_of(SSL_get_error(ssl_.get(), result));
    return bytes;
  }
  void end_writes() override {
    ERR_clear_error();
    (void)SSL_shutdown(ssl_.get());  // who is gone need not hear it
    plain_->end_writes();
  }
  void close() override {
    end_writes();
    plain_->close();
  }
  std::string peer() const override { return plain_->peer(); }

 private:
  static std::error_code error_of(int why) {
    const bool waits = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
    return std::make_error_code(waits ? std::errc::operation_would_block
                                      : std::errc::connection_aborted);
  }

  const std::unique_ptr<Stream> plain_;
  const std::unique_ptr<SSL, FreeSsl> ssl_;
  Loop& loop_;
  bool read_waits_for_room_ = false;
};

class OpenSslTls final : public Tls {
 public:
  Result<void> load_files(const TlsFiles& files) {
    std::error_code error;
    const auto failed = [&](const std::string& file) {
      return std::unexpected(Error(Errc::invalid_options, file + ": " + error.message()));
    };
    if (context_.use_certificate_chain_file(files.certificate, error)) {
      return failed(files.certificate);
    }
    if (context_.use_private_key_file(files.key, asio::ssl::context::pem, error)) {
      return failed(files.key);
    }
    SSL_CTX* context = context_.native_handle();
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    // A write that is tried again comes from another place, and may have more behind it.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    constexpr std::array<unsigned char, 8> kSessions{'r', 'a', 'w', 'c', 'a', 'c', 'h', 'e'};
    (void)SSL_CTX_set_session_id_context(context, kSessions.data(), kSessions.size());
    if (files.client_ca.empty()) return {};
    if (context_.load_verify_file(files.client_ca, error)) return failed(files.client_ca);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files.client_ca.c_str()));
    const auto needed = asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert;
    if (context_.set_verify_mode(needed, error)) return failed(files.client_ca);
    return {};
  }

  std::unique_ptr<Stream> wrap(std::unique_ptr<Stream> plain, int descriptor,
                               Loop& loop) const override {
    std::unique_ptr<SSL, FreeSsl> ssl(SSL_new(context_.native_handle()));
    if (!ssl || SSL_set_fd(ssl.get(), descriptor) != 1) return nullptr;
    SSL_set_accept_state(ssl.get());
    return std::make_unique<TlsStream>(std::move(plain), std::move(ssl), loop);
  }

 private:
  mutable asio::ssl::context context_{asio::ssl::context::tls_server};
};

}  // namespace

Result<std::shared_ptr<const Tls>> Tls::load(const TlsFiles& files) {
  auto tls = std::make_shared<OpenSslTls>();
  if (auto loaded = tls->load_files(files); !loaded) return std::unexpected(loaded.error());
  return tls;
}

}  // namespace rawcache::server

#else

namespace rawcache::server {

Result<std::shared_ptr<const Tls>> Tls::load(const TlsFiles& files) {
  return std::unexpected(Error(Errc::not_supported, files.certificate + ": built without OpenSSL"));
}

}  // namespace rawcache::server

#endif
