// set, add, replace, append, prepend, cas, touch, gat, delete: commands that change one entry.
#include "server/executor.h"
#include "server/expiry.h"
#include "server/parser.h"

namespace rawcache::server {

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

Result<Updated> Executor::update(std::string_view key, const Updater& updater) {
  auto updated = hub_.cache.update_buffered(key, updater);
  if (updated || updated.error() != Errc::flush_failed) return updated;
  Updated stored{.kind = Change::Kind::store};
  if (const auto found = hub_.cache.lookup(key)) {
    stored.sequence = found->sequence();
    stored.expires_at = found->expires_at();
  }
  return stored;
}

Change Executor::stored(std::string_view value, std::int64_t exptime, std::uint32_t flags) const {
  const auto ttl = ttl_of(exptime, now_);
  if (!ttl) return {.kind = Change::Kind::remove, .value = {}, .options = {}};
  return {.kind = Change::Kind::store,
          .value = bytes_of(value),
          .options = {.ttl = *ttl, .flags = flags}};
}

Change Executor::touched(const Value& value, std::int64_t exptime) const {
  Change change = stored(value.view(), exptime, value.flags());
  change.options.stale = value.stale();
  return change;
}

void Executor::store(const Request& request) {
  ++run_.counts.cmd_set;
  const auto ttl = ttl_of(request.exptime, now_);
  const auto stored = ttl ? hub_.cache.store_buffered(request.key, request.value,
                                                      {.ttl = *ttl, .flags = request.flags})
                          : hub_.cache.remove_buffered(request.key);
  if (!stored && stored.error() != Errc::flush_failed) return fail(request, stored.error());
  acknowledge(request, "STORED\r\n");
}

// add, replace
void Executor::store_if(const Request& request) {
  ++run_.counts.cmd_set;
  bool wanted = false;
  const auto updated = update(request.key, [&](const Value* now) -> Change {
    wanted = (now == nullptr) == (request.verb == Verb::add);
    return wanted ? stored(request.value, request.exptime, request.flags) : Change{};
  });
  if (!updated) return fail(request, updated.error());
  if (!wanted) return reply(request, "NOT_STORED\r\n");
  acknowledge(request, "STORED\r\n");
}

void Executor::compare_and_swap(const Request& request) {
  ++run_.counts.cmd_set;
  bool found = false, same = false;
  const auto updated = update(request.key, [&](const Value* now) -> Change {
    found = now != nullptr;
    same = found && now->sequence() == request.number;
    return same ? stored(request.value, request.exptime, request.flags) : Change{};
  });
  if (!updated) return fail(request, updated.error());
  if (!found) {
    ++run_.counts.cas_misses;
    return reply(request, "NOT_FOUND\r\n");
  }
  if (!same) {
    ++run_.counts.cas_badval;
    return reply(request, "EXISTS\r\n");
  }
  ++run_.counts.cas_hits;
  acknowledge(request, "STORED\r\n");
}

// append, prepend: flags and time of expiry stay.
void Executor::extend(const Request& request) {
  ++run_.counts.cmd_set;
  std::string whole;
  bool fits = false;
  const auto updated = update(request.key, [&](const Value* now) -> Change {
    fits = now != nullptr &&
           request.key.size() + now->size() + request.value.size() + 2 + kItemOverheadBytes <=
               hub_.options.item_bytes_max;
    if (!fits) return {};
    whole.clear();
    whole.reserve(now->size() + request.value.size());
    if (request.verb == Verb::prepend) whole += request.value;
    whole += now->view();
    if (request.verb == Verb::append) whole += request.value;
    return {.kind = Change::Kind::store,
            .value = bytes_of(whole),
            .options = {.flags = now->flags(), .stale = now->stale()},
            .keep_expiry = true};
  });
  if (!updated) return fail(request, updated.error());
  if (!fits) return reply(request, "NOT_STORED\r\n");
  acknowledge(request, "STORED\r\n");
}

void Executor::touch(const Request& request) {
  ++run_.counts.cmd_touch;
  std::uint64_t before = 0;
  const auto updated = update(request.key, [&](const Value* now) -> Change {
    before = now != nullptr ? now->sequence() : 0;
    return now != nullptr ? touched(*now, request.exptime) : Change{};
  });
  if (!updated) return fail(request, updated.error());
  ++(before != 0 ? run_.counts.touch_hits : run_.counts.touch_misses);
  if (before == 0) return reply(request, "NOT_FOUND\r\n");
  hub_.accesses.move(before, updated->sequence);
  acknowledge(request, "TOUCHED\r\n");
}

// gat, gats: as many keys as the client has room for; the rest when it has taken them.
void Executor::get_and_touch(const Request& request) {
  std::string_view rest = run_.begun ? run_.keys_left : request.keys;
  run_.begun = true;
  for (std::string_view key = take_word(rest); !key.empty(); key = take_word(rest)) {
    ++run_.counts.cmd_get;
    ++run_.counts.cmd_touch;
    std::optional<Value> value;
    const auto updated = update(key, [&](const Value* now) -> Change {
      value = now != nullptr ? std::optional(*now) : std::nullopt;
      return now != nullptr ? touched(*now, request.exptime) : Change{};
    });
    // What cannot be read is a miss, as for get.
    const bool found = updated && value;
    ++(found ? run_.counts.get_hits : run_.counts.get_misses);
    ++(found ? run_.counts.touch_hits : run_.counts.touch_misses);
    run_.keys_left = rest;
    if (!found) continue;
    dirty_ = true;
    hub_.accesses.move(value->sequence(), updated->sequence);
    answer_key(request, key, *value, updated->sequence);
    if (out_.bytes() >= output_bytes_) return;
  }
  out_.text("END\r\n");
  run_.begun = false;
  ++run_.next;
}

void Executor::remove(const Request& request) {
  const auto updated = update(request.key, [&](const Value*) -> Change {
    return {.kind = Change::Kind::remove, .value = {}, .options = {}};
  });
  if (!updated) return fail(request, updated.error());
  if (updated->kind == Change::Kind::keep) {
    ++run_.counts.delete_misses;
    return reply(request, "NOT_FOUND\r\n");
  }
  ++run_.counts.delete_hits;
  acknowledge(request, "DELETED\r\n");
}

// A client that could not store a new value must not go on reading the old one.
void Executor::refuse_to_store(const Request& request) {
  ++(request.verb == Verb::too_large ? run_.counts.store_too_large : run_.counts.store_no_memory);
  if (request.drops_old) {
    (void)hub_.cache.remove_buffered(key_of(request));
    dirty_ = true;
  }
  fail(request, request.error);
}

}  // namespace rawcache::server
