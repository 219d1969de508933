#include "cache/waiting_room.h"

#include <new>

namespace rawcache {
namespace {

constexpr std::uint64_t kItemShare = 8;
constexpr std::uint8_t kHitsMax = 3;
/// Of an item beside key and value: nodes of list and table, control block, what malloc adds.
constexpr std::uint64_t kOverheadBytes = 192;

}  // namespace

std::uint64_t WaitingRoom::charge_of(std::size_t key_bytes, std::size_t value_bytes) {
  return sizeof(Item) + kOverheadBytes + key_bytes + value_bytes;
}

bool WaitingRoom::takes(std::size_t key_bytes, std::size_t value_bytes) const {
  return charge_of(key_bytes, value_bytes) <= bytes_max_ / kItemShare;
}

bool WaitingRoom::take(std::uint64_t bytes) {
  std::uint64_t before = bytes_->load(std::memory_order_relaxed);
  do {
    if (before + bytes > bytes_max_) return false;
  } while (!bytes_->compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  return true;
}

WaitingRoom::Pointer WaitingRoom::make(const EntryFields& entry) {
  const std::uint64_t charge = charge_of(entry.key.size(), entry.value.size());
  if (!take(charge)) return nullptr;
  try {
    auto item = std::make_unique<Item>();
    item->key = entry.key;
    item->key_hash = entry.key_hash;
    item->value.assign(entry.value.begin(), entry.value.end());
    item->encoding = entry.encoding;
    item->expires_at = entry.expires_at;
    item->flags = entry.user_flags;
    item->stale = entry.stale;
    const auto forget = [bytes = bytes_, charge](Item* gone) {
      delete gone;
      bytes->fetch_sub(charge, std::memory_order_relaxed);
    };
    // If it throws it has called `forget`.
    Item* const made = item.release();
    try {
      return Pointer(made, forget);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  } catch (const std::bad_alloc&) {
    bytes_->fetch_sub(charge, std::memory_order_relaxed);
    return nullptr;
  }
}

bool WaitingRoom::insert(const Pointer& item) {
  Pointer before;
  MutexLock lock(mutex_);
  if (const auto place = places_.find(item->key_hash); place != places_.end()) {
    before = take_out(place);
  }
  try {
    queue_.push_back(item);
    places_.emplace(item->key_hash, std::prev(queue_.end()));
    return true;
  } catch (const std::bad_alloc&) {
    if (!queue_.empty() && queue_.back() == item) queue_.pop_back();
    return false;
  }
}

void WaitingRoom::erase(std::uint64_t key_hash) {
  Pointer gone;  // its memory is given back without the lock
  MutexLock lock(mutex_);
  if (const auto place = places_.find(key_hash); place != places_.end()) gone = take_out(place);
}

void WaitingRoom::erase_if(std::uint64_t key_hash, std::uint64_t sequence) {
  Pointer gone;
  MutexLock lock(mutex_);
  const auto place = places_.find(key_hash);
  if (place == places_.end() || (*place->second)->sequence != sequence) return;
  gone = take_out(place);
}

WaitingRoom::Pointer WaitingRoom::take_out(Places::iterator place) {
  Pointer gone = *place->second;
  queue_.erase(place->second);
  places_.erase(place);
  return gone;
}

void WaitingRoom::clear() {
  MutexLock lock(mutex_);
  places_.clear();
  queue_.clear();
}

WaitingRoom::Pointer WaitingRoom::find(std::string_view key, std::uint64_t key_hash) {
  MutexLock lock(mutex_);
  const auto place = places_.find(key_hash);
  if (place == places_.end() || (*place->second)->key != key) return nullptr;
  const Pointer& item = *place->second;
  const std::uint8_t hits = item->hits.load(std::memory_order_relaxed);
  if (hits < kHitsMax) {
    item->hits.store(static_cast<std::uint8_t>(hits + 1), std::memory_order_relaxed);
  }
  ++hits_;
  return item;
}

bool WaitingRoom::holds(const Item& item) const {
  MutexLock lock(mutex_);
  const auto place = places_.find(item.key_hash);
  return place != places_.end() && place->second->get() == &item;
}

WaitingRoom::Pointer WaitingRoom::oldest() const {
  MutexLock lock(mutex_);
  return queue_.empty() ? nullptr : queue_.front();
}

std::vector<WaitingRoom::Pointer> WaitingRoom::items() const {
  MutexLock lock(mutex_);
  return {queue_.begin(), queue_.end()};
}

WaitingRoom::Counts WaitingRoom::counts() const {
  MutexLock lock(mutex_);
  return {
      .bytes = bytes_->load(std::memory_order_relaxed), .entries = queue_.size(), .hits = hits_};
}

}  // namespace rawcache
