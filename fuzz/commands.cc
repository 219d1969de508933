// The commands of memcached's protocol, text and meta: any bytes are understood or refused, the
// same whatever pieces they come in, and what is understood lies within them and within the limits.
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "server/options.h"
#include "server/parser.h"

namespace rawcache::fuzz {
namespace {

using namespace server;

/// What must not depend on the pieces: a command, or that there is no more to come of it.
struct Seen {
  Parsed::State state = Parsed::State::incomplete;
  Verb verb = Verb::error;
  bool quiet = false, drops_old = false;
  std::string key, keys, value, error, flags;
  std::int64_t exptime = 0, ttl = 0;
  std::uint64_t number = 0, cas = 0, consumed = 0, skip = 0;
  std::uint32_t client_flags = 0;
  bool operator==(const Seen&) const = default;
};

bool within(std::string_view part, std::string_view whole) {
  const std::less_equal<const char*> before;
  return part.empty() || (before(whole.data(), part.data()) &&
                          before(part.data() + part.size(), whole.data() + whole.size()));
}

bool wants_key(Verb verb) {
  switch (verb) {
    case Verb::set:
    case Verb::add:
    case Verb::replace:
    case Verb::append:
    case Verb::prepend:
    case Verb::cas:
    case Verb::incr:
    case Verb::decr:
    case Verb::remove:
    case Verb::touch:
    case Verb::meta_get:
    case Verb::meta_set:
    case Verb::meta_delete:
    case Verb::meta_arithmetic:
    case Verb::meta_debug:
      return true;
    default:
      return false;
  }
}

void check_key(const Request& request) {
  std::string decoded(request.key);
  if (request.meta.base64) {
    expect(decode_base64(request.key, kProtocolKeyBytesMax, decoded), "a key that is no base64");
    std::string again;
    expect(decode_base64(encode_base64(decoded), decoded.size(), again) && again == decoded,
           "base64 does not come back");
  }
  expect(!decoded.empty() && decoded.size() <= kProtocolKeyBytesMax, "a key of a bad length");
  expect(request.key.find_first_of(" \n") == std::string_view::npos, "a key with a space");
}

void check_request(const Request& request, std::string_view command, const ParseLimits& limits) {
  for (const auto part : {request.key, request.keys, request.value, request.meta.text}) {
    expect(within(part, command), "a part from outside of the command");
  }
  const bool refused = request.verb == Verb::error || request.verb == Verb::bad_data ||
                       request.verb == Verb::too_large || request.verb == Verb::no_memory;
  expect(refused == !request.error.empty(), "refused without a reason, or taken with one");
  expect(request.error.find_first_of("\r\n") == std::string_view::npos, "a reason of two lines");
  if (request.verb == Verb::stats) return;
  expect(request.value.empty() ||
             request.key.size() + request.value.size() + kItemOverheadBytes < limits.item_bytes_max,
         "a value beyond the limit");
  if (wants_key(request.verb)) check_key(request);
  if (refused) return;
  std::string_view keys = request.keys;
  for (auto key = take_word(keys); !key.empty(); key = take_word(keys)) {
    expect(key.size() <= kProtocolKeyBytesMax, "one of the keys is too long");
  }
}

Seen look(const Parsed& parsed, const Request& request) {
  Seen seen;
  seen.state = parsed.state;
  if (parsed.state != Parsed::State::request) return seen;
  seen.verb = request.verb;
  seen.quiet = request.quiet;
  seen.drops_old = request.drops_old;
  seen.key = request.key;
  seen.keys = request.keys;
  seen.value = request.value;
  seen.error = request.error;
  seen.flags = request.meta.text;
  seen.exptime = request.exptime;
  seen.ttl = request.meta.ttl;
  seen.number = request.number;
  seen.cas = request.meta.cas;
  seen.consumed = parsed.consumed;
  seen.skip = parsed.skip;
  seen.client_flags = request.meta.has_client_flags ? request.meta.client_flags : request.flags;
  return seen;
}

Seen parse(std::string_view bytes, const ParseLimits& limits, std::uint64_t& wanted) {
  Request request;
  const Parsed parsed = parse_request(bytes, limits, request);
  wanted = parsed.wanted;
  if (parsed.state == Parsed::State::request) {
    expect(parsed.consumed > 0 && parsed.consumed <= bytes.size(), "consumed nothing, or too much");
    check_request(request, bytes.substr(0, parsed.consumed), limits);
  } else {
    expect(parsed.state == Parsed::State::hopeless || wanted == 0 || wanted > bytes.size(),
           "waits for what is there");
    expect(wanted <= kLineBytesMax + 2 + limits.item_bytes_max, "waits for more than an item");
  }
  return look(parsed, request);
}

/// All commands of the bytes. With `pieces`, each is parsed again and again as it grows by as many
/// bytes as the next of them says.
std::vector<Seen> parse_all(std::string_view bytes, const ParseLimits& limits,
                            std::string_view pieces) {
  std::vector<Seen> all;
  std::size_t next = 0;
  while (!bytes.empty()) {
    std::size_t have = pieces.empty() ? bytes.size() : 0;
    Seen seen;
    std::uint64_t wanted = 0;
    do {
      if (!pieces.empty()) {
        have += 1 + static_cast<unsigned char>(pieces[next++ % pieces.size()]);
        have = std::min(have, bytes.size());
      }
      const std::uint64_t wanted_before = wanted;
      seen = parse(bytes.substr(0, have), limits, wanted);
      const bool done = seen.state != Parsed::State::incomplete;
      expect(!done || wanted_before <= have, "done with less than was wanted");
      expect(wanted_before == 0 || done || wanted == wanted_before, "wants something else now");
    } while (seen.state == Parsed::State::incomplete && have < bytes.size());
    all.push_back(seen);
    if (seen.state != Parsed::State::request) break;
    bytes.remove_prefix(seen.consumed);
    bytes.remove_prefix(std::min<std::uint64_t>(seen.skip, bytes.size()));
  }
  return all;
}

std::string with_words(const std::string& text) {
  static const std::array<std::string, 52> kWords = {"get ",
                                                     "gets ",
                                                     "gat ",
                                                     "gats ",
                                                     "set ",
                                                     "add ",
                                                     "replace ",
                                                     "append ",
                                                     "cas ",
                                                     "prepend ",
                                                     "incr ",
                                                     "decr ",
                                                     "delete ",
                                                     "touch ",
                                                     "stats ",
                                                     "version",
                                                     "quit",
                                                     "shutdown",
                                                     "mg ",
                                                     "ms ",
                                                     "md ",
                                                     "ma ",
                                                     "me ",
                                                     "mn",
                                                     "\r\n",
                                                     " noreply",
                                                     " 0 0 ",
                                                     " 3\r\n",
                                                     "abc\r\n",
                                                     "flush_all",
                                                     " q",
                                                     " b",
                                                     " v",
                                                     " Oxyz",
                                                     " T0",
                                                     " N30",
                                                     " M",
                                                     " C1",
                                                     " F7",
                                                     " I",
                                                     " R30",
                                                     " D1",
                                                     " J10",
                                                     "YWJj",
                                                     "YWI=",
                                                     "-1",
                                                     " 0",
                                                     " 1000000",
                                                     " 2147483647",
                                                     "key",
                                                     std::string(251, 'k'),
                                                     std::string(9000, 'k')};
  return replace_words(text, kWords);
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  Input input(data, size);
  const auto choices = input.take<std::uint8_t>();
  const rawcache::server::ParseLimits limits{
      .item_bytes_max = (choices & 1) != 0 ? std::uint64_t{64} << (choices >> 5) : 1u << 20,
      .flush_all_allowed = (choices & 2) == 0,
      .shutdown_allowed = (choices & 4) != 0};
  const std::string pieces = input.take_text(1 + (choices >> 4));
  const std::string text = (choices & 8) != 0 ? input.take_rest() : with_words(input.take_rest());
  const auto whole = parse_all(text, limits, {});
  expect(pieces.empty() || parse_all(text, limits, pieces) == whole,
         "the commands depend on the pieces");
  return 0;
}
