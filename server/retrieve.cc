// get, gets, mg: consecutive ones become one lookup_batch, whether they came in one line or in
// many.
#include <algorithm>

#include "server/executor.h"
#include "server/parser.h"

namespace rawcache::server {

bool becomes_batch(const Request& request) {
  switch (request.verb) {
    case Verb::get:
    case Verb::gets:
      return true;
    case Verb::meta_get:
      return !request.meta.has_ttl && !request.meta.has_vivify;
    default:
      return false;
  }
}

std::size_t Executor::keys_wanted() const {
  // Values of the size that this client usually gets should fit its share of the memory.
  const std::uint64_t fit = hub_.options.output_bytes_max / (session_.value_bytes_average + 1);
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(fit, 1, kKeysPerLookup));
}

void Executor::gather() {
  asks_.clear();
  keys_.clear();
  decoded_.clear();
  const std::size_t wanted = keys_wanted();
  for (std::size_t i = run_.next; keys_.size() < wanted;) {
    const Request& request = run_.requests[i];
    if (request.verb == Verb::meta_get) {
      keys_.push_back(key_of(request));
      asks_.push_back({.request = i, .key = keys_.back(), .keys_left = {}});
    } else {
      std::string_view rest = i == run_.next && run_.begun ? run_.keys_left : request.keys;
      for (std::string_view left = rest; keys_.size() < wanted; left = rest) {
        const std::string_view key = take_word(rest);
        if (key.empty()) {
          asks_.push_back({.request = i, .key = {}, .keys_left = {}, .end = true});
          break;
        }
        asks_.push_back({.request = i, .key = key, .keys_left = left});
        keys_.push_back(key);
      }
      if (!asks_.back().end) return;  // more than are wanted now
    }
    if (++i == run_.requests.size() || !becomes_batch(run_.requests[i])) return;
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
    const Request& request = run_.requests[ask.request];
    const bool is_meta = request.verb == Verb::meta_get;
    const Result<Value>& value = found[answered];
    run_.next = ask.request;
    run_.begun = !is_meta;
    run_.keys_left = ask.keys_left;
    // Once the client has taken the values before it, there is room again.
    if (!value && value.error() == Errc::out_of_memory && answered > 0) return;
    ++answered;
    answer(request, ask.key, value);
    if (is_meta) {
      ++run_.next;
    } else {
      run_.keys_left = ask.keys_left.substr(ask.keys_left.find(ask.key) + ask.key.size());
    }
  }
}

void Executor::answer(const Request& request, std::string_view key, const Result<Value>& found) {
  ++run_.counts.cmd_get;
  // What cannot be read is a miss for a client of a cache; the cache's own statistics tell them
  // apart.
  ++(found ? run_.counts.get_hits : run_.counts.get_misses);
  if (found) session_.value_bytes_average = (session_.value_bytes_average * 7 + found->size()) / 8;
  if (request.verb == Verb::meta_get) return meta_get(request, found);
  if (found) answer_key(request, key, *found, found->sequence());
}

void Executor::answer_key(const Request& request, std::string_view key, const Value& value,
                          std::uint64_t sequence) {
  out_.text("VALUE ");
  out_.text(key);
  out_.text(" ");
  out_.number(value.flags());
  out_.text(" ");
  out_.number(value.size());
  if (request.verb == Verb::gets || request.verb == Verb::gats) {
    out_.text(" ");
    out_.number(sequence);
  }
  out_.text("\r\n");
  out_.value(value);
  out_.text("\r\n");
}

}  // namespace rawcache::server
