// get, gets: consecutive ones become one lookup_batch, whether they came in one line or in many.
#include <algorithm>

#include "server/executor.h"
#include "server/parser.h"

namespace rawcache::server {

namespace {

bool is_plain_get(const Request& request) {
  return request.verb == Verb::get || request.verb == Verb::gets;
}

}  // namespace

std::size_t Executor::keys_wanted() const {
  // Values of the size that this client usually gets should fit its share of the memory.
  const std::uint64_t fit = hub_.options.output_bytes_max / (session_.value_bytes_average + 1);
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(fit, 1, kKeysPerLookup));
}

void Executor::gather() {
  asks_.clear();
  keys_.clear();
  const std::size_t wanted = keys_wanted();
  std::string_view rest = run_.begun ? run_.keys_left : run_.requests[run_.next].keys;
  for (std::size_t i = run_.next; keys_.size() < wanted;) {
    std::string_view left = rest;
    const std::string_view key = take_word(rest);
    if (!key.empty()) {
      asks_.push_back({.request = i, .key = key, .keys_left = left, .end = false});
      keys_.push_back(key);
      continue;
    }
    asks_.push_back({.request = i, .key = {}, .keys_left = {}, .end = true});
    if (++i == run_.requests.size() || !is_plain_get(run_.requests[i])) break;
    rest = run_.requests[i].keys;
  }
}

void Executor::retrieve() {
  gather();
  const auto found = hub_.cache.lookup_batch(keys_);
  std::size_t answered = 0;
  for (const Ask& ask : asks_) {
    if (ask.end) {
      out_.text("END\r\n");
      run_.next = ask.request + 1;
      run_.begun = false;
      continue;
    }
    const Result<Value>& value = found[answered];
    if (!value && value.error() == Errc::out_of_memory && answered > 0) {
      // Once the client has taken the values before it, there is room again.
      run_.next = ask.request;
      run_.begun = true;
      run_.keys_left = ask.keys_left;
      return;
    }
    ++answered;
    run_.next = ask.request;
    run_.begun = true;
    run_.keys_left = ask.keys_left.substr(ask.keys_left.find(ask.key) + ask.key.size());
    answer_key(run_.requests[ask.request], ask.key, value);
  }
}

void Executor::answer_key(const Request& request, std::string_view key,
                          const Result<Value>& found) {
  ++run_.counts.cmd_get;
  if (!found) {
    // What cannot be read is a miss for a client of a cache; the cache's own statistics tell them
    // apart.
    ++run_.counts.get_misses;
    return;
  }
  ++run_.counts.get_hits;
  session_.value_bytes_average = (session_.value_bytes_average * 7 + found->size()) / 8;
  out_.text("VALUE ");
  out_.text(key);
  out_.text(" ");
  out_.number(found->flags());
  out_.text(" ");
  out_.number(found->size());
  if (request.verb == Verb::gets) {
    out_.text(" ");
    out_.number(found->sequence());
  }
  out_.text("\r\n");
  out_.value(*found);
  out_.text("\r\n");
}

}  // namespace rawcache::server
