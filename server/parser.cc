#include "server/parser.h"

#include <array>
#include <charconv>
#include <limits>

#include "server/options.h"

namespace rawcache::server {

namespace {

/// Words of a line, as many as the classic commands have, and whether there are more.
struct Words {
  std::array<std::string_view, 8> word;
  std::size_t count = 0;  ///< one more than fit, if there are more
  std::string_view operator[](std::size_t i) const { return word[i]; }
};

Words split(std::string_view line) {
  Words words;
  for (;;) {
    const std::string_view word = take_word(line);
    if (word.empty()) return words;
    if (words.count == words.word.size()) {
      ++words.count;
      return words;
    }
    words.word[words.count++] = word;
  }
}

void fail(Request& request, std::string_view error) {
  request.verb = Verb::error;
  request.error = error;
}

bool key_fits(std::string_view key) { return key.size() <= kProtocolKeyBytesMax; }

/// noreply is what it is only at the end.
void take_noreply(Words& words, Request& request) {
  if (words.count <= words.word.size() && words.count > 1 && words[words.count - 1] == "noreply") {
    request.quiet = true;
    --words.count;
  }
}

void parse_keys(std::string_view line, Request& request) {
  std::string_view rest = line;
  (void)take_word(rest);
  if (request.verb == Verb::gat || request.verb == Verb::gats) {
    const std::string_view exptime = take_word(rest);
    std::int32_t seconds = 0;
    std::string_view look = rest;
    if (exptime.empty() || take_word(look).empty()) return fail(request, kBadFormat);
    if (!parse_number(exptime, seconds)) return fail(request, kBadExptime);
    request.exptime = seconds;
  }
  request.keys = rest;
  bool any = false;
  for (std::string_view key = take_word(rest); !key.empty(); key = take_word(rest)) {
    if (!key_fits(key)) return fail(request, kBadFormat);
    any = true;
  }
  if (!any) fail(request, kBadFormat);
}

/// set key flags exptime bytes [noreply], cas with one number more. Sets value_bytes if a value
/// follows.
void parse_store(Words words, Request& request, std::int64_t& value_bytes) {
  const std::size_t want = request.verb == Verb::cas ? 6 : 5;
  take_noreply(words, request);
  if (words.count != want || !key_fits(words[1])) return fail(request, kBadFormat);
  request.key = words[1];
  std::int32_t exptime = 0;
  std::int32_t bytes = 0;
  std::uint64_t flags = 0;
  if (!parse_number(words[2], flags) || !parse_number(words[3], exptime) ||
      !parse_number(words[4], bytes) || bytes < 0 ||
      bytes > std::numeric_limits<std::int32_t>::max() - 2) {
    return fail(request, kBadFormat);
  }
  if (request.verb == Verb::cas && !parse_number(words[5], request.number)) {
    return fail(request, kBadFormat);
  }
  request.flags = static_cast<std::uint32_t>(flags);
  request.exptime = exptime;
  value_bytes = bytes;
}

void parse_arithmetic(Words words, Request& request) {
  take_noreply(words, request);
  if (words.count != 3 || !key_fits(words[1])) return fail(request, kBadFormat);
  request.key = words[1];
  if (!parse_number(words[2], request.number)) fail(request, kBadDelta);
}

void parse_touch(Words words, Request& request) {
  take_noreply(words, request);
  if (words.count != 3 || !key_fits(words[1])) return fail(request, kBadFormat);
  request.key = words[1];
  std::int32_t exptime = 0;
  if (!parse_number(words[2], exptime)) return fail(request, kBadExptime);
  request.exptime = exptime;
}

void parse_delete(Words words, Request& request) {
  take_noreply(words, request);
  if (words.count < 2 || words.count > 3 || !key_fits(words[1])) return fail(request, kBadFormat);
  if (words.count == 3 && words[2] != "0") {
    return fail(request, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]");
  }
  request.key = words[1];
}

void parse_flush_all(Words words, const ParseLimits& limits, Request& request) {
  take_noreply(words, request);
  std::int32_t delay = 0;
  if (words.count > 2) return fail(request, kBadFormat);
  if (!limits.flush_all_allowed) return fail(request, "CLIENT_ERROR flush_all not allowed");
  if (words.count == 2 && !parse_number(words[1], delay)) return fail(request, kBadExptime);
  request.exptime = delay;
}

void parse_rest(const Words& words, std::string_view line, const ParseLimits& limits,
                Request& request) {
  std::string_view rest = line;
  const std::string_view command = take_word(rest);
  if (command == "stats") {
    request.verb = Verb::stats;
    request.value = rest;
  } else if (command == "version") {
    request.verb = Verb::version;
  } else if (command == "quit") {
    request.verb = Verb::quit;
  } else if (command == "verbosity") {
    request.verb = Verb::verbosity;
    Words mine = words;
    take_noreply(mine, request);
    if (words.count < 2) fail(request, kBadFormat);
  } else if (command == "flush_all") {
    request.verb = Verb::flush_all;
    parse_flush_all(words, limits, request);
  } else if (command == "shutdown") {
    request.verb = Verb::shutdown;
    if (!limits.shutdown_allowed) fail(request, "ERROR: shutdown not enabled");
  } else if (command == "cache_memlimit" && words.count >= 2) {
    request.verb = Verb::ok;
    Words mine = words;
    take_noreply(mine, request);
  } else {
    fail(request, "ERROR");
  }
}

/// Sets verb and fields; value_bytes if a value follows the line.
void parse_line(std::string_view line, const ParseLimits& limits, Request& request,
                std::int64_t& value_bytes) {
  struct Command {
    std::string_view name;
    Verb verb;
  };
  constexpr std::array kKeys{Command{"get", Verb::get}, Command{"gets", Verb::gets},
                             Command{"gat", Verb::gat}, Command{"gats", Verb::gats}};
  constexpr std::array kStores{Command{"set", Verb::set},         Command{"add", Verb::add},
                               Command{"replace", Verb::replace}, Command{"append", Verb::append},
                               Command{"prepend", Verb::prepend}, Command{"cas", Verb::cas}};
  std::string_view rest = line;
  const std::string_view command = take_word(rest);
  if (command.empty()) return fail(request, kBadFormat);
  for (const Command& each : kKeys) {
    if (command != each.name) continue;
    request.verb = each.verb;
    return parse_keys(line, request);
  }
  if (command.size() == 2 && command[0] == 'm') {
    return parse_meta(command[1], rest, request, value_bytes);
  }
  const Words words = split(line);
  for (const Command& each : kStores) {
    if (command != each.name) continue;
    request.verb = each.verb;
    return parse_store(words, request, value_bytes);
  }
  if (command == "incr" || command == "decr") {
    request.verb = command == "incr" ? Verb::incr : Verb::decr;
    return parse_arithmetic(words, request);
  }
  if (command == "touch") {
    request.verb = Verb::touch;
    return parse_touch(words, request);
  }
  if (command == "delete") {
    request.verb = Verb::remove;
    return parse_delete(words, request);
  }
  parse_rest(words, line, limits, request);
}

bool asks_for_keys(std::string_view start) {
  while (start.starts_with(' ')) start.remove_prefix(1);
  for (const std::string_view name : {"get ", "gets ", "gat ", "gats "}) {
    if (start.starts_with(name)) return true;
  }
  return false;
}

}  // namespace

bool parse_number(std::string_view text, std::uint64_t& into) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_number(std::string_view text, std::int32_t& into) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

Parsed parse_request(std::string_view bytes, const ParseLimits& limits, Request& request) {
  Parsed parsed;
  const std::size_t end = bytes.find('\n');
  const std::size_t line_bytes = end == std::string_view::npos ? bytes.size() : end;
  if (line_bytes > kLineBytesMax &&
      (line_bytes > kKeysLineBytesMax || !asks_for_keys(bytes.substr(0, kLineBytesMax)))) {
    parsed.state = Parsed::State::hopeless;
    return parsed;
  }
  if (end == std::string_view::npos) return parsed;
  std::string_view line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);

  request = Request();
  std::int64_t value_bytes = -1;
  parse_line(line, limits, request, value_bytes);
  parsed.state = Parsed::State::request;
  parsed.consumed = end + 1;
  if (value_bytes < 0) return parsed;

  const auto body_bytes = static_cast<std::uint64_t>(value_bytes) + 2;
  if (request.verb == Verb::error) {
    parsed.skip = body_bytes;
    return parsed;
  }
  if (request.key.size() + body_bytes + kItemOverheadBytes > limits.item_bytes_max) {
    refuse_value(request, Verb::too_large, kTooLarge);
    parsed.skip = body_bytes;
    return parsed;
  }
  if (bytes.size() - parsed.consumed < body_bytes) {
    parsed.state = Parsed::State::incomplete;
    parsed.wanted = parsed.consumed + body_bytes;
    return parsed;
  }
  const std::string_view body = bytes.substr(parsed.consumed, body_bytes);
  parsed.consumed += body_bytes;
  request.value = body.substr(0, body_bytes - 2);
  if (!body.ends_with("\r\n")) {
    request.verb = Verb::bad_data;
    request.error = kBadData;
  }
  return parsed;
}

}  // namespace rawcache::server
