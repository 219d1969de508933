// update, touch, and stores with a condition: look -> decide -> append, unless somebody else has
// written the key meanwhile; then again.
#include <new>

#include "cache/cache_impl.h"

namespace rawcache {
namespace {

/// Why a store with this condition is refused; nullopt: it is not.
std::optional<Errc> refusal(StoreIf when, std::uint64_t sequence, const Value* now) {
  switch (when) {
    case StoreIf::always:
      return std::nullopt;
    case StoreIf::absent:
      return now == nullptr ? std::nullopt : std::optional(Errc::condition_failed);
    case StoreIf::present:
      return now != nullptr ? std::nullopt : std::optional(Errc::not_found);
    case StoreIf::unchanged:
      if (now == nullptr) return Errc::not_found;
      if (now->sequence() != sequence) return Errc::condition_failed;
      return std::nullopt;
  }
  return Errc::condition_failed;
}

}  // namespace

RawDiskCache::Impl::Watching::Watching(Impl& impl, std::string_view key) : impl_(impl) {
  impl_.begin_watch(key, watched_);
}

RawDiskCache::Impl::Watching::~Watching() { impl_.end_watch(watched_); }

// Every round that is in vain is one in which somebody else has written the key.
Result<RawDiskCache::Impl::StoredAs> RawDiskCache::Impl::begin_decided(std::string_view key,
                                                                       std::uint64_t key_hash,
                                                                       const Decide& decide,
                                                                       DirectWrite* direct) {
  for (;;) {
    const Watching watching(*this, key);
    const auto found = find_value(key, nullptr);
    if (!found && found.error() != Errc::not_found) return std::unexpected(found.error());
    auto call = decide(found ? &*found : nullptr);
    if (!call) return StoredAs();
    if (auto checked = check(*call); !checked) return std::unexpected(checked.error());
    call->unless_written = &watching.watched();
    auto begun = begin_write(*call, key_hash, direct);
    if (!begun || begun->verdict != Verdict::overtaken) return begun;
  }
}

Result<RawDiskCache::Impl::StoredAs> RawDiskCache::Impl::begin_conditional(const WriteCall& call,
                                                                           std::uint64_t key_hash,
                                                                           DirectWrite* direct) {
  std::optional<Errc> refused;
  const auto decide = [&](const Value* now) -> std::optional<WriteCall> {
    refused = refusal(call.when, call.expected_sequence, now);
    if (refused) return std::nullopt;
    WriteCall plain = call;
    plain.when = StoreIf::always;
    return plain;
  };
  auto begun = begin_decided(call.key, key_hash, decide, direct);
  if (refused) return std::unexpected(*refused);
  return begun;
}

Result<Updated> RawDiskCache::Impl::update(std::string_view key, const Updater& updater,
                                           bool durable) try {
  if (auto checked = check_key(key); !checked) return std::unexpected(checked.error());
  Updated updated;
  WriteCall call;
  const auto decide = [&](const Value* now) -> std::optional<WriteCall> {
    const Change change = updater(now);
    updated.kind = change.kind;
    if (change.kind == Change::Kind::remove && now == nullptr) updated.kind = Change::Kind::keep;
    if (updated.kind == Change::Kind::keep) return std::nullopt;
    call = {.kind = EntryKind::remove, .key = key, .value = {}, .durable = durable};
    if (updated.kind == Change::Kind::remove) return call;
    call = store_call(key, change.value, change.options, durable);
    call.when = StoreIf::always;
    if (change.keep_expiry && now != nullptr) call.expires_at = now->expires_at();
    return call;
  };
  DirectWrite direct;
  const std::uint64_t key_hash = hash_key(key, superblock_.id);
  auto begun = begin_decided(key, key_hash, decide, durable ? &direct : nullptr);
  auto ended = begun ? end_write(call, *begun, &direct)
                     : Result<void>(std::unexpected(std::move(begun.error())));
  end_writes();
  if (!ended) return std::unexpected(std::move(ended.error()));
  updated.sequence = begun->sequence;
  updated.expires_at = begun->expires_at;
  return updated;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<void> RawDiskCache::Impl::touch(std::string_view key, std::chrono::seconds ttl,
                                       bool durable) try {
  bool found = false;
  auto touched = update(
      key,
      [&](const Value* now) -> Change {
        found = now != nullptr;
        if (!found) return {};
        return {.kind = Change::Kind::store,
                .value = now->bytes(),
                .options = {.ttl = ttl, .flags = now->flags(), .stale = now->stale()}};
      },
      durable);
  if (!touched) return std::unexpected(std::move(touched.error()));
  if (!found) return std::unexpected(Errc::not_found);
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
