// The meta commands: mg, ms, md, ma, me, mn.
#include <array>
#include <limits>

#include "server/parser.h"

namespace rawcache::server {

namespace {

constexpr std::string_view kBadToken = "CLIENT_ERROR bad token in command line format";

/// Parses one flag; returns what is wrong with it, or nothing.
std::string_view parse_flag(std::string_view word, Request& request) {
  MetaFlags& meta = request.meta;
  const std::string_view token = word.substr(1);
  std::int32_t seconds = 0;
  std::uint64_t number = 0;
  switch (word[0]) {
    case 'T':
    case 'N':
    case 'R': {
      if (!parse_number(token, seconds)) return kBadToken;
      const char flag = word[0];
      (flag == 'T' ? meta.has_ttl : flag == 'N' ? meta.has_vivify : meta.has_recache) = true;
      (flag == 'T' ? meta.ttl : flag == 'N' ? meta.vivify_ttl : meta.recache_ttl) = seconds;
      return {};
    }
    case 'C':
      if (!parse_number(token, meta.cas)) return kBadToken;
      meta.has_cas = true;
      return {};
    case 'D':
      return parse_number(token, meta.delta) ? std::string_view{} : kBadToken;
    case 'J':
      return parse_number(token, meta.initial) ? std::string_view{} : kBadToken;
    case 'F':
      if (!parse_number(token, number)) return kBadToken;
      meta.client_flags = static_cast<std::uint32_t>(number);
      meta.has_client_flags = true;
      return {};
    case 'M':
      if (token.size() != 1) return "CLIENT_ERROR incorrect length for M token";
      meta.mode = token[0];
      return {};
    case 'O':
      return word.size() > kOpaqueBytesMax ? "CLIENT_ERROR opaque token too long"
                                           : std::string_view{};
    case 'I':
      meta.invalidate = true;
      return {};
    case 'b':
      meta.base64 = true;
      return {};
    case 'q':
      request.quiet = true;
      return {};
    case 'u':
      meta.no_update = true;
      return {};
    case 'v':
      meta.value = true;
      return {};
    case 'x':
      meta.drop_value = true;
      return {};
    case 'c':
      meta.cas_wanted = true;
      return {};
    case 'f':
    case 'h':
    case 'k':
    case 'l':
    case 's':
    case 't':
    case 'S':
    case 'L':
    case 'P':
      return {};
    default:
      return "CLIENT_ERROR invalid flag";
  }
}

std::string_view parse_flags(std::string_view text, Request& request) {
  std::array<bool, 128> seen{};
  std::size_t count = 0;
  std::string_view wrong;
  for (std::string_view word = take_word(text); !word.empty(); word = take_word(text)) {
    if (++count > kMetaFlagsMax) return "CLIENT_ERROR options flags are too long";
    const auto letter = static_cast<unsigned char>(word[0]);
    if (letter >= seen.size()) return "CLIENT_ERROR invalid flag";
    if (seen[letter]) return "CLIENT_ERROR duplicate flag";
    seen[letter] = true;
    if (const auto bad = parse_flag(word, request); !bad.empty() && wrong.empty()) wrong = bad;
  }
  return wrong;
}

void fail(Request& request, std::string_view error) {
  request.verb = Verb::error;
  request.error = error;
  request.quiet = false;
}

bool is_mode(char mode, std::string_view modes) {
  return mode == 0 || modes.find(mode) != std::string_view::npos;
}

}  // namespace

void parse_meta(char kind, std::string_view words, Request& request, std::int64_t& value_bytes) {
  switch (kind) {
    case 'n':
      request.verb = Verb::meta_noop;
      return;
    case 'g':
      request.verb = Verb::meta_get;
      break;
    case 's':
      request.verb = Verb::meta_set;
      break;
    case 'd':
      request.verb = Verb::meta_delete;
      break;
    case 'a':
      request.verb = Verb::meta_arithmetic;
      break;
    case 'e':
      request.verb = Verb::meta_debug;
      break;
    default:
      return fail(request, "ERROR");
  }
  request.is_meta = true;
  request.key = take_word(words);
  if (request.key.empty()) return fail(request, kBadFormat);
  if (kind == 's') {
    const std::string_view size = take_word(words);
    std::int32_t bytes = 0;
    if (!parse_number(size, bytes) || bytes < 0 ||
        bytes > std::numeric_limits<std::int32_t>::max() - 2) {
      return fail(request, kBadFormat);
    }
    value_bytes = bytes;  // read also if something else is wrong
  }
  request.meta.text = words;
  if (request.key.size() > kProtocolKeyBytesMax) return fail(request, kBadFormat);
  if (const auto wrong = parse_flags(words, request); !wrong.empty()) return fail(request, wrong);
  if (request.meta.base64) {
    std::string key;
    if (!decode_base64(request.key, kProtocolKeyBytesMax, key) || key.empty()) {
      return fail(request, "CLIENT_ERROR error decoding key");
    }
  }
  if (kind == 's' && !is_mode(request.meta.mode, "EeAaPpRrSs")) {
    return fail(request, "CLIENT_ERROR invalid mode for ms M token");
  }
  if (kind == 'a' && !is_mode(request.meta.mode, "Ii+Dd-")) {
    return fail(request, "CLIENT_ERROR invalid mode for ma M token");
  }
}

bool decode_base64(std::string_view text, std::size_t bytes_max, std::string& into) {
  into.clear();
  while (text.ends_with('=') && into.empty() && text.size() % 4 == 0) {
    text.remove_suffix(1);
    if (text.ends_with('=')) text.remove_suffix(1);
    break;
  }
  if (text.size() % 4 == 1 || text.size() / 4 * 3 > bytes_max + 3) return false;
  std::uint32_t bits = 0;
  unsigned have = 0;
  for (const char c : text) {
    std::uint32_t digit = 0;
    if (c >= 'A' && c <= 'Z') {
      digit = static_cast<std::uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      digit = static_cast<std::uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint32_t>(c - '0' + 52);
    } else if (c == '+' || c == '/') {
      digit = c == '+' ? 62 : 63;
    } else {
      return false;
    }
    bits = bits << 6 | digit;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    into.push_back(static_cast<char>(bits >> have & 0xff));
  }
  return into.size() <= bytes_max;
}

std::string encode_base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    const std::size_t some = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (j < some ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text.push_back(j <= some ? kDigits[bits >> (18 - 6 * j) & 63] : '=');
    }
  }
  return text;
}

}  // namespace rawcache::server
