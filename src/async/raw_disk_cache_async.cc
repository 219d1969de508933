// The rest of the public class: its asynchronous calls, loads, and the lifetime, which ends with
// them.
#include <utility>

#include "async/async_impl.h"

namespace rawcache {
namespace {

template <typename C>
Operation<typename C::Outcome> operation(std::shared_ptr<C> call) {
  return Operation<typename C::Outcome>(std::move(call));
}

}  // namespace

// --- Lifetime ---

Result<RawDiskCache> RawDiskCache::with_async(std::unique_ptr<Impl> impl, Completion completion) {
  auto async = std::make_shared<Async>(*impl, completion);
  if (auto opened = async->open(); !opened) return std::unexpected(opened.error());
  return RawDiskCache(std::move(impl), std::move(async));
}

RawDiskCache::RawDiskCache(std::unique_ptr<Impl> impl, std::shared_ptr<Async> async)
    : impl_(std::move(impl)), async_(std::move(async)) {}

RawDiskCache::RawDiskCache(RawDiskCache&&) noexcept = default;

RawDiskCache& RawDiskCache::operator=(RawDiskCache&& other) noexcept {
  if (this == &other) return *this;
  end();
  impl_ = std::move(other.impl_);
  async_ = std::move(other.async_);
  return *this;
}

RawDiskCache::~RawDiskCache() { end(); }

void RawDiskCache::end() {
  if (async_) async_->close();
}

Result<void> RawDiskCache::close() {
  end();
  return impl_->close();
}

Stats RawDiskCache::stats() const {
  Stats stats = impl_->stats();
  async_->add_stats(stats);
  return stats;
}

// --- Get or fetch ---

Result<Value> RawDiskCache::lookup_or_load(std::string_view key, const Loader& loader,
                                           LoadOptions options) {
  const BatchLoader one = [&](std::span<const std::string_view> keys) {
    return std::vector<Result<Loaded>>{loader(keys[0])};
  };
  return std::move(async_->lookup_or_load(std::span(&key, 1), one, options)[0]);
}

std::vector<Result<Value>> RawDiskCache::lookup_or_load_batch(
    std::span<const std::string_view> keys, const BatchLoader& loader, LoadOptions options) {
  return async_->lookup_or_load(keys, loader, options);
}

std::vector<Result<Value>> RawDiskCache::lookup_or_load_batch(std::span<const std::string> keys,
                                                              const BatchLoader& loader,
                                                              LoadOptions options) {
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  return async_->lookup_or_load(views, loader, options);
}

// --- Asynchronous calls ---

Operation<Result<Value>> RawDiskCache::async_lookup(std::string_view key) {
  return operation(std::make_shared<LookupCall>(async_, Verb::lookup, key));
}

Operation<std::vector<Result<Value>>> RawDiskCache::async_lookup_batch(
    std::span<const std::string_view> keys) {
  auto call = std::make_shared<BatchCall>(async_, Verb::lookup_batch, std::string_view());
  call->keys.assign(keys.begin(), keys.end());
  return operation(std::move(call));
}

Operation<std::vector<Result<Value>>> RawDiskCache::async_lookup_batch(
    std::span<const std::string> keys) {
  auto call = std::make_shared<BatchCall>(async_, Verb::lookup_batch, std::string_view());
  call->keys.assign(keys.begin(), keys.end());
  return operation(std::move(call));
}

Operation<Result<bool>> RawDiskCache::async_contains(std::string_view key) {
  return operation(std::make_shared<ContainsCall>(async_, Verb::contains, key));
}

Operation<Result<void>> RawDiskCache::async_store(std::string_view key, OwnedBytes value,
                                                  StoreOptions options) {
  auto call = std::make_shared<WriteCall>(async_, Verb::store, key);
  call->value = std::move(value);
  call->options = options;
  return operation(std::move(call));
}

Operation<Result<void>> RawDiskCache::async_store_buffered(std::string_view key, OwnedBytes value,
                                                           StoreOptions options) {
  auto call = std::make_shared<WriteCall>(async_, Verb::store_buffered, key);
  call->value = std::move(value);
  call->options = options;
  return operation(std::move(call));
}

Operation<Result<void>> RawDiskCache::async_remove(std::string_view key) {
  return operation(std::make_shared<WriteCall>(async_, Verb::remove, key));
}

Operation<Result<void>> RawDiskCache::async_remove_buffered(std::string_view key) {
  return operation(std::make_shared<WriteCall>(async_, Verb::remove_buffered, key));
}

Operation<Result<Updated>> RawDiskCache::async_update(std::string_view key, Updater updater) {
  auto call = std::make_shared<UpdateCall>(async_, Verb::update, key);
  call->updater = std::move(updater);
  return operation(std::move(call));
}

Operation<Result<Updated>> RawDiskCache::async_update_buffered(std::string_view key,
                                                               Updater updater) {
  auto call = std::make_shared<UpdateCall>(async_, Verb::update_buffered, key);
  call->updater = std::move(updater);
  return operation(std::move(call));
}

Operation<Result<void>> RawDiskCache::async_touch(std::string_view key, std::chrono::seconds ttl) {
  auto call = std::make_shared<TouchCall>(async_, Verb::touch, key);
  call->ttl = ttl;
  return operation(std::move(call));
}

Operation<Result<void>> RawDiskCache::async_touch_buffered(std::string_view key,
                                                           std::chrono::seconds ttl) {
  auto call = std::make_shared<TouchCall>(async_, Verb::touch_buffered, key);
  call->ttl = ttl;
  return operation(std::move(call));
}

Operation<Result<std::uint64_t>> RawDiskCache::async_flush_writes() {
  return operation(std::make_shared<FlushCall>(async_, Verb::flush_writes, std::string_view()));
}

Operation<Result<void>> RawDiskCache::async_clear() {
  return operation(std::make_shared<PlainCall>(async_, Verb::clear, std::string_view()));
}

Operation<Result<void>> RawDiskCache::async_clear_at(std::int64_t unix_seconds) {
  auto call = std::make_shared<ClearAtCall>(async_, Verb::clear_at, std::string_view());
  call->unix_seconds = unix_seconds;
  return operation(std::move(call));
}

Operation<Result<void>> RawDiskCache::async_train_dictionary() {
  return operation(std::make_shared<PlainCall>(async_, Verb::train_dictionary, std::string_view()));
}

Operation<Result<void>> RawDiskCache::async_maintain() {
  return operation(std::make_shared<PlainCall>(async_, Verb::maintain, std::string_view()));
}

Operation<Result<void>> RawDiskCache::async_for_each_key(std::function<bool(const KeyInfo&)> each) {
  auto call = std::make_shared<VisitCall>(async_, Verb::for_each_key, std::string_view());
  call->each = std::move(each);
  return operation(std::move(call));
}

Operation<Result<Value>> RawDiskCache::async_lookup_or_load(std::string_view key,
                                                            AsyncLoader loader,
                                                            LoadOptions options) {
  auto call = std::make_shared<LoadCall>(async_, Verb::lookup_or_load, key);
  call->loader = std::move(loader);
  call->options = options;
  return operation(std::move(call));
}

std::size_t RawDiskCache::poll() { return async_->poll(); }
int RawDiskCache::native_handle() const { return async_->native_handle(); }

}  // namespace rawcache
