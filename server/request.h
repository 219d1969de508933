// Request: one command of the protocol, as parsed. Views into the bytes it was read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace rawcache::server {

/// Longest key, bytes, also after base64 decoding.
inline constexpr std::size_t kProtocolKeyBytesMax = 250;

enum class Verb : std::uint8_t {
  get,
  gets,
  gat,
  gats,
  set,
  add,
  replace,
  append,
  prepend,
  cas,
  incr,
  decr,
  remove,
  touch,
  flush_all,
  stats,
  version,
  verbosity,
  quit,
  shutdown,
  meta_get,
  meta_set,
  meta_delete,
  meta_arithmetic,
  meta_debug,
  meta_noop,
  ok,         ///< answered OK, means nothing here
  too_large,  ///< a value that will not be stored
  no_memory,  ///< the same, for want of memory
  bad_data,   ///< a value that does not end where it should
  error,      ///< Request::error says it
};

/// The flags of a meta command.
struct MetaFlags {
  std::string_view text;          ///< as they came, to be answered in order
  bool base64 = false;            ///< b: the key is
  bool value = false;             ///< v
  bool no_update = false;         ///< u: the access leaves no trace
  bool invalidate = false;        ///< I
  bool drop_value = false;        ///< x
  bool cas_wanted = false;        ///< c
  bool has_ttl = false;           ///< T
  bool has_vivify = false;        ///< N
  bool has_recache = false;       ///< R
  bool has_cas = false;           ///< C
  bool has_client_flags = false;  ///< F
  char mode = 0;                  ///< M
  std::int64_t ttl = 0;
  std::int64_t vivify_ttl = 0;
  std::int64_t recache_ttl = 0;
  std::uint64_t cas = 0;
  std::uint64_t initial = 0;  ///< J
  std::uint64_t delta = 1;    ///< D
  std::uint32_t client_flags = 0;
};

struct Request {
  Verb verb = Verb::error;
  bool quiet = false;        ///< noreply, or q: hides the usual answer
  bool is_meta = false;      ///< errors are told also if it is quiet
  bool drops_old = false;    ///< too_large, no_memory: the key's old value must go
  std::string_view key;      ///< the first; base64 if meta.base64
  std::string_view keys;     ///< get, gets, gat, gats: all of them, separated by spaces
  std::string_view value;    ///< also the argument of stats
  std::string_view error;    ///< what is answered, without the line end
  std::int64_t exptime = 0;  ///< as memcached means it: see expiry.h; also flush_all's delay
  std::uint64_t number = 0;  ///< cas value or delta
  std::uint32_t flags = 0;
  MetaFlags meta;
};

/// Makes a request to store into one that says why its value is not taken.
inline void refuse_value(Request& request, Verb why, std::string_view error) {
  request.drops_old = request.verb == Verb::set || request.verb == Verb::meta_set;
  request.verb = why;
  request.error = error;
}

/// Takes the next word off `text`; empty at the end.
inline std::string_view take_word(std::string_view& text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) {
    text = {};
    return {};
  }
  const std::size_t end = text.find(' ', begin);
  const std::string_view word = text.substr(begin, end - begin);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end);
  return word;
}

}  // namespace rawcache::server
