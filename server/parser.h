// The parser: bytes -> one command. Pure functions; nothing is executed here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/request.h"

namespace rawcache::server {

/// A longer command line closes the connection ...
inline constexpr std::size_t kLineBytesMax = 8192;
/// ... unless it asks for keys, of which there may be many.
inline constexpr std::size_t kKeysLineBytesMax = std::size_t{1} << 20;
/// Longest opaque token of a meta command, with its letter.
inline constexpr std::size_t kOpaqueBytesMax = 32;
/// Most flags of a meta command.
inline constexpr std::size_t kMetaFlagsMax = 20;

struct ParseLimits {
  std::uint64_t item_bytes_max = std::uint64_t{1} << 20;
  bool flush_all_allowed = true;
  bool shutdown_allowed = false;
};

struct Parsed {
  enum class State : std::uint8_t {
    incomplete,  ///< more bytes are needed
    request,     ///< `request` is set
    hopeless,    ///< no end of line where one must be: close
  };
  State state = State::incomplete;
  std::size_t consumed = 0;  ///< bytes of the command, if there is one
  /// Bytes of the input that follow the consumed ones and belong to the command, but are to be
  /// dropped: the value of a command that was refused.
  std::uint64_t skip = 0;
  /// incomplete: bytes that the command takes in all, as far as that is known; else 0.
  std::uint64_t wanted = 0;
};

/// Parses the command at the start of `bytes`. The same bytes in any pieces give the same commands:
/// what is incomplete is parsed again with more.
Parsed parse_request(std::string_view bytes, const ParseLimits& limits, Request& request);

/// Standard base64, padded or not. False: it is not, or is longer than `bytes_max` when decoded.
bool decode_base64(std::string_view text, std::size_t bytes_max, std::string& into);
std::string encode_base64(std::string_view bytes);

// For the parts of the parser.

/// A decimal number with optional sign; false if it is not one or does not fit.
bool parse_number(std::string_view text, std::uint64_t& into);
bool parse_number(std::string_view text, std::int32_t& into);

/// Parses mg, ms, md, ma, me or mn. `line` is all of it, without its end; `words` what follows the
/// command word. For ms, `value_bytes` is set (without its line end) and the value is still to be
/// read; negative: there is none to read.
void parse_meta(char kind, std::string_view words, Request& request, std::int64_t& value_bytes);

inline constexpr std::string_view kBadFormat = "CLIENT_ERROR bad command line format";
inline constexpr std::string_view kTooLarge = "SERVER_ERROR object too large for cache";
inline constexpr std::string_view kNoMemory = "SERVER_ERROR out of memory storing object";
inline constexpr std::string_view kBadData = "CLIENT_ERROR bad data chunk";
inline constexpr std::string_view kBadExptime = "CLIENT_ERROR invalid exptime argument";
inline constexpr std::string_view kBadDelta = "CLIENT_ERROR invalid numeric delta argument";
inline constexpr std::string_view kNotNumeric =
    "CLIENT_ERROR cannot increment or decrement non-numeric value";

}  // namespace rawcache::server
