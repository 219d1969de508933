// The blocking calls of the public class: forwards to Impl. The rest of it is in src/async.
#include "rawcache/raw_disk_cache.h"

#include <new>

#include "cache/cache_impl.h"

namespace rawcache {

Result<void> RawDiskCache::store(std::string_view key, std::span<const std::byte> value,
                                 StoreOptions options) {
  return impl_->write(Impl::store_call(key, value, options, true));
}
Result<void> RawDiskCache::store(std::string_view key, std::string_view value,
                                 StoreOptions options) {
  return impl_->write(Impl::store_call(key, std::as_bytes(std::span(value)), options, true));
}

Result<void> RawDiskCache::store_buffered(std::string_view key, std::span<const std::byte> value,
                                          StoreOptions options) {
  return impl_->write(Impl::store_call(key, value, options, false));
}
Result<void> RawDiskCache::store_buffered(std::string_view key, std::string_view value,
                                          StoreOptions options) {
  return impl_->write(Impl::store_call(key, std::as_bytes(std::span(value)), options, false));
}

std::vector<Result<void>> RawDiskCache::store_batch(std::span<const KeyValue> entries,
                                                    const StoreOptions& options) {
  return impl_->store_batch(entries, options);
}
std::vector<Result<void>> RawDiskCache::store_buffered_batch(std::span<const KeyValue> entries,
                                                             const StoreOptions& options) {
  return impl_->store_buffered_batch(entries, options);
}

Result<std::uint64_t> RawDiskCache::flush_writes() { return impl_->flush_writes(); }

Result<Value> RawDiskCache::lookup(std::string_view key) { return impl_->lookup(key); }

std::vector<Result<Value>> RawDiskCache::lookup_batch(std::span<const std::string_view> keys) {
  return impl_->lookup_batch(keys);
}
std::vector<Result<Value>> RawDiskCache::lookup_batch(std::span<const std::string> keys) try {
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  return impl_->lookup_batch(views);
} catch (const std::bad_alloc&) {
  return {keys.size(), Result<Value>(std::unexpected(Errc::out_of_memory))};
}

Result<void> RawDiskCache::remove(std::string_view key) {
  return impl_->write({.kind = EntryKind::remove, .key = key, .value = {}, .durable = true});
}
Result<void> RawDiskCache::remove_buffered(std::string_view key) {
  return impl_->write({.kind = EntryKind::remove, .key = key, .value = {}, .durable = false});
}

Result<Updated> RawDiskCache::update(std::string_view key, const Updater& updater) {
  return impl_->update(key, updater, true);
}
Result<Updated> RawDiskCache::update_buffered(std::string_view key, const Updater& updater) {
  return impl_->update(key, updater, false);
}
Result<void> RawDiskCache::touch(std::string_view key, std::chrono::seconds ttl) {
  return impl_->touch(key, ttl, true);
}
Result<void> RawDiskCache::touch_buffered(std::string_view key, std::chrono::seconds ttl) {
  return impl_->touch(key, ttl, false);
}

Result<bool> RawDiskCache::contains(std::string_view key) { return impl_->contains(key); }
Result<void> RawDiskCache::clear() { return impl_->clear(); }
Result<void> RawDiskCache::clear_at(std::int64_t unix_seconds) {
  return impl_->clear_at(unix_seconds);
}
Result<void> RawDiskCache::for_each_key(const std::function<bool(const KeyInfo&)>& each) {
  return impl_->for_each_key(each);
}
Result<void> RawDiskCache::train_dictionary() { return impl_->train_dictionary(); }
Result<void> RawDiskCache::maintain() { return impl_->maintain(); }
std::vector<SegmentInfo> RawDiskCache::segments() const { return impl_->segments(); }
std::uint64_t RawDiskCache::value_bytes_max(std::size_t key_bytes) const {
  return impl_->value_bytes_max(key_bytes);
}

}  // namespace rawcache
