// incr, decr, ma: numbers in decimal digits, 64 bits.
#include <algorithm>
#include <charconv>
#include <optional>

#include "server/executor.h"
#include "server/expiry.h"
#include "server/meta_reply.h"
#include "server/parser.h"

namespace rawcache::server {

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// What memcached takes for a number: digits, perhaps between spaces, with anything behind them.
std::optional<std::uint64_t> number_in(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const char* const last = text.data() + text.size();
  if (error != std::errc() || (end != last && !is_space(*end))) return std::nullopt;
  return number;
}

}  // namespace

/// What is wanted, and what came of it.
struct Executor::Arithmetic {
  bool down = false;
  std::uint64_t delta = 1;
  std::optional<std::int64_t> exptime = {};      ///< a new one
  std::optional<std::uint64_t> unless_cas = {};  ///< only the entry with this one
  std::optional<std::int64_t> create_exptime = {};
  std::uint64_t initial = 0;

  bool found = false, numeric = false, same = true;
  std::uint64_t number = 0;
  std::string digits = {};  ///< as stored: a number that gets shorter keeps its width
};

Result<Updated> Executor::calculate(std::string_view key, Arithmetic& work) {
  return update(key, [&](const Value* now) -> Change {
    work.found = now != nullptr;
    work.numeric = work.same = true;
    if (now == nullptr) {
      if (!work.create_exptime) return {};
      work.number = work.initial;
      work.digits = std::to_string(work.number);
      return stored(work.digits, *work.create_exptime, 0);
    }
    work.same = !work.unless_cas || *work.unless_cas == now->sequence();
    if (!work.same) return {};
    const auto before = number_in(now->view());
    work.numeric = before.has_value();
    if (!before) return {};
    work.number = work.down ? *before - std::min(*before, work.delta) : *before + work.delta;
    work.digits = std::to_string(work.number);
    work.digits.resize(std::max(work.digits.size(), now->size()), ' ');
    Change change = stored(work.digits, work.exptime.value_or(0), now->flags());
    change.options.stale = now->stale();
    change.keep_expiry = !work.exptime;
    return change;
  });
}

void Executor::increase(const Request& request) {
  Arithmetic work{.down = request.verb == Verb::decr, .delta = request.number};
  const auto updated = calculate(request.key, work);
  if (!updated) return fail(request, updated.error());
  auto& counts = run_.counts;
  if (!work.found) {
    ++(work.down ? counts.decr_misses : counts.incr_misses);
    return reply(request, "NOT_FOUND\r\n");
  }
  if (!work.numeric) return fail(request, kNotNumeric);
  ++(work.down ? counts.decr_hits : counts.incr_hits);
  acknowledge(request, std::to_string(work.number) + "\r\n");
}

void Executor::meta_arithmetic(const Request& request) {
  ++run_.counts.cmd_meta;
  const MetaFlags& meta = request.meta;
  Arithmetic work{.down = meta.mode == 'D' || meta.mode == 'd' || meta.mode == '-',
                  .delta = meta.delta,
                  .initial = meta.initial};
  if (meta.has_ttl) work.exptime = meta.ttl;
  if (meta.has_cas) work.unless_cas = meta.cas;
  if (meta.has_vivify) work.create_exptime = meta.vivify_ttl;
  const std::string_view key = key_of(request);
  const auto updated = calculate(key, work);
  if (!updated) return fail(request, updated.error());
  auto& counts = run_.counts;
  if (work.found) {
    ++(work.down ? counts.decr_hits : counts.incr_hits);
  } else {
    ++(work.down ? counts.decr_misses : counts.incr_misses);
    if (!meta.has_vivify) return miss(request, "NF");
  }
  if (!work.same) return reply(request, with_flags("EX", request, nullptr));
  if (!work.numeric) return fail(request, kNotNumeric);
  const std::string number = std::to_string(work.number);
  const MetaItem item{.sequence = updated->sequence,
                      .expires_at = updated->expires_at,
                      .value_bytes = number.size(),
                      .now = now_};
  if (!meta.value) return acknowledge(request, with_flags("HD", request, &item));
  acknowledge(request,
              with_flags("VA " + std::to_string(number.size()), request, &item) + number + "\r\n");
}

}  // namespace rawcache::server
