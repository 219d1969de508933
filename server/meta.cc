// mg, ms, md, me. mg without changes is part of a batch: see retrieve.cc.
#include "server/executor.h"
#include "server/expiry.h"
#include "server/meta_reply.h"
#include "server/parser.h"

namespace rawcache::server {

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

enum class Mode : char { set = 'S', add = 'E', append = 'A', prepend = 'P', replace = 'R' };

Mode mode_of(const MetaFlags& meta) {
  if (meta.mode == 0) return Mode::set;
  return static_cast<Mode>(meta.mode >= 'a' ? meta.mode - 'a' + 'A' : meta.mode);
}

}  // namespace

std::string_view Executor::key_of(const Request& request) {
  if (!request.meta.base64) return request.key;
  std::string& key = decoded_.emplace_back();
  (void)decode_base64(request.key, kProtocolKeyBytesMax, key);  // the parser has tried it
  return key;
}

void Executor::miss(const Request& request, std::string_view code) {
  out_.text(with_flags(std::string(code), request, nullptr));
}

// --- mg ---

void Executor::meta_get(const Request& request, const Result<Value>& found) {
  ++run_.counts.cmd_meta;
  if (found) return meta_hit(request, *found, {found->sequence(), found->expires_at()}, false);
  if (!request.quiet) miss(request, "EN");
}

void Executor::meta_get_and_change(const Request& request) {
  ++run_.counts.cmd_meta;
  ++run_.counts.cmd_get;
  const MetaFlags& meta = request.meta;
  const std::string_view key = key_of(request);
  std::optional<Value> value;
  const auto updated = update(key, [&](const Value* now) -> Change {
    value = now != nullptr ? std::optional(*now) : std::nullopt;
    if (now == nullptr) return meta.has_vivify ? stored("", meta.vivify_ttl, 0) : Change{};
    return meta.has_ttl ? touched(*now, meta.ttl) : Change{};
  });
  const bool changed = updated && updated->kind == Change::Kind::store;
  ++(updated && value ? run_.counts.get_hits : run_.counts.get_misses);
  if (meta.has_ttl) {
    ++run_.counts.cmd_touch;
    ++(updated && value ? run_.counts.touch_hits : run_.counts.touch_misses);
  }
  if (changed || (updated && updated->kind == Change::Kind::remove)) dirty_ = true;
  if (!updated || (!value && !changed)) {
    if (!request.quiet) miss(request, "EN");
    return;
  }
  if (!value) return meta_hit(request, Value(), {updated->sequence, updated->expires_at}, true);
  if (!changed) return meta_hit(request, *value, {value->sequence(), value->expires_at()}, false);
  hub_.accesses.move(value->sequence(), updated->sequence);
  meta_hit(request, *value, {updated->sequence, updated->expires_at}, false);
}

// One client at a time is told to fetch the value: when it was just created, is stale, or is about
// to expire.
void Executor::meta_hit(const Request& request, const Value& value, const Version& version,
                        bool created) {
  const MetaFlags& meta = request.meta;
  const bool fading = meta.has_recache && version.expires_at != 0 &&
                      std::int64_t{version.expires_at} < now_ + meta.recache_ttl;
  const bool wanted = created || value.stale() || fading;
  const auto visit = hub_.accesses.visit(version.sequence, now_, !meta.no_update, wanted);
  std::string marks;
  if (visit.before.token_sent) marks += " Z";
  if (value.stale()) marks += " X";
  if (visit.won) marks += " W";
  const MetaItem item{.sequence = version.sequence,
                      .expires_at = version.expires_at,
                      .flags = value.flags(),
                      .value_bytes = value.size(),
                      .asked_for = visit.before.asked_for,
                      .last_access = visit.before.last,
                      .now = now_,
                      .marks = marks};
  if (!meta.value) return out_.text(with_flags("HD", request, &item));
  out_.text(with_flags("VA " + std::to_string(value.size()), request, &item));
  out_.value(value);
  out_.text("\r\n");
}

// --- ms ---

/// What ms makes of an entry, and the code that says so.
Change Executor::meta_change(const Request& request, const Value* now, std::string& whole,
                             std::string_view& code) const {
  const MetaFlags& meta = request.meta;
  const Mode mode = mode_of(meta);
  const bool extends = mode == Mode::append || mode == Mode::prepend;
  bool stale = false;
  code = "NS";
  if (mode == Mode::add && now != nullptr) return {};
  if (mode == Mode::replace && now == nullptr) return {};
  if (extends && now == nullptr && !meta.has_vivify) return {};
  if (meta.has_cas && !(mode == Mode::add) && !(extends && now == nullptr)) {
    code = "NF";
    if (now == nullptr) return {};
    code = "EX";
    stale = meta.invalidate && meta.cas < now->sequence();
    if (meta.cas != now->sequence() && !stale) return {};
  }
  code = "HD";
  Change change = stored(request.value, extends && now == nullptr ? meta.vivify_ttl : meta.ttl,
                         meta.client_flags);
  if (extends && now != nullptr) {
    whole.assign(mode == Mode::prepend ? request.value : now->view());
    whole += mode == Mode::prepend ? now->view() : request.value;
    code = "NS";
    if (request.key.size() + whole.size() + 2 + kItemOverheadBytes > hub_.options.item_bytes_max) {
      return {};
    }
    code = "HD";
    change = {.kind = Change::Kind::store,
              .value = bytes_of(whole),
              .options = {.flags = now->flags(), .stale = now->stale()},
              .keep_expiry = true};
  }
  change.options.stale = change.options.stale || stale;
  return change;
}

void Executor::meta_set(const Request& request) {
  ++run_.counts.cmd_meta;
  ++run_.counts.cmd_set;
  const MetaFlags& meta = request.meta;
  const std::string_view key = key_of(request);
  std::string_view code = "HD";
  std::string whole;
  MetaItem item{.value_bytes = request.value.size()};
  const auto ttl = ttl_of(meta.ttl, now_);
  if (mode_of(meta) == Mode::set && !meta.has_cas && !meta.cas_wanted && ttl) {
    // Needs not know what was there.
    const auto stored =
        hub_.cache.store_buffered(key, request.value, {.ttl = *ttl, .flags = meta.client_flags});
    if (!stored && stored.error() != Errc::flush_failed) return fail(request, stored.error());
    return acknowledge(request, with_flags("HD", request, &item));
  }
  bool late = false;
  const auto updated = update(key, [&](const Value* now) {
    const Change change = meta_change(request, now, whole, code);
    item.value_bytes = change.value.size();
    late = change.options.stale && meta.invalidate;
    return change;
  });
  if (!updated) return fail(request, updated.error());
  // Whoever was told to fetch it will still come.
  if (late) hub_.accesses.send_no_token(updated->sequence);
  item.sequence = updated->sequence;
  if (code == "HD") return acknowledge(request, with_flags("HD", request, &item));
  if (meta.has_cas && code != "NS") {
    ++(code == "EX" ? run_.counts.cas_badval : run_.counts.cas_misses);
  }
  miss(request, code);
}

// --- md, me ---

void Executor::meta_delete(const Request& request) {
  ++run_.counts.cmd_meta;
  const MetaFlags& meta = request.meta;
  std::string_view code;
  const auto updated = update(key_of(request), [&](const Value* now) -> Change {
    code = "NF";
    if (now == nullptr) return {};
    code = "EX";
    if (meta.has_cas && meta.cas != now->sequence()) return {};
    code = "HD";
    if (!meta.invalidate && !meta.drop_value) return {Change::Kind::remove, {}, {}};
    const bool new_ttl = meta.invalidate && meta.has_ttl;
    Change change = touched(*now, new_ttl ? meta.ttl : 0);
    change.keep_expiry = !new_ttl;
    change.options.stale = meta.invalidate || now->stale();
    if (meta.drop_value) {
      change.value = {};
      change.options.flags = 0;
    }
    return change;
  });
  if (!updated) return fail(request, updated.error());
  ++(code == "NF" ? run_.counts.delete_misses : run_.counts.delete_hits);
  if (code == "HD") return acknowledge(request, with_flags("HD", request, nullptr));
  miss(request, code);
}

void Executor::meta_debug(const Request& request) {
  ++run_.counts.cmd_meta;
  const std::string_view key = key_of(request);
  const auto found = hub_.cache.lookup(key);
  if (!found) return out_.text("EN\r\n");
  const Access access = hub_.accesses.find(found->sequence());
  const std::uint32_t expires_at = found->expires_at();
  std::string line = "ME ";
  line += request.key;
  line += " exp=" + (expires_at == 0 ? "-1" : std::to_string(expires_at - now_));
  line += " la=" + std::to_string(now_ - access.last);
  line += " cas=" + std::to_string(found->sequence());
  line += access.asked_for ? " fetch=yes" : " fetch=no";
  line += " cls=1 size=" + std::to_string(kItemOverheadBytes + key.size() + found->size());
  out_.text(line + "\r\n");
}

}  // namespace rawcache::server
