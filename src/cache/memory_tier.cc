#include "cache/memory_tier.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/assert.h"
#include "base/copy.h"
#include "base/math.h"
#include "base/mutant.h"

namespace rawcache {
namespace {

constexpr std::size_t kShardsMax = 64;
constexpr std::uint64_t kShardBytesMin = std::uint64_t{64} << 10;
constexpr std::size_t kChainsMin = 16;  ///< of a shard
/// One ghost entry per this many bytes: what has left is remembered about as long as it would have
/// stayed, if values are not much smaller.
constexpr std::uint64_t kGhostShare = 256;
constexpr std::uint64_t kGhostEntriesMin = 64;
constexpr std::uint64_t kSmallShare = 10;  ///< a tenth of the memory is for what is new
constexpr std::uint64_t kItemShare = 8;    ///< a larger share of it is not given to one value
/// Larger values are copied only when they are read for the second time.
constexpr std::size_t kCopyAtOnceBytes = std::size_t{64} << 10;
constexpr std::uint8_t kHitsMax = 3;
/// With so many bits of its filter set a chain's are counted anew.
constexpr int kFilterBitsMax = 8;
constexpr std::size_t kCacheLineBytes = 64;
/// Copies of first reads pay if at least this share of them is read again.
constexpr std::uint32_t kReuseShare = 8;
constexpr std::uint32_t kReuseFirstsMin = 64;    ///< so many first reads before there is a doubt
constexpr std::uint32_t kReuseFirstsMax = 1024;  ///< after so many the older count half
/// Items of the main queue that are sent round again before one is evicted whatever its hits:
/// bounds the time under the lock.
constexpr int kRoundsMax = 128;

std::size_t shards_for(std::uint64_t bytes) {
  return std::clamp<std::uint64_t>(bytes / kShardBytesMin, 1, kShardsMax);
}

}  // namespace

/// Key and value follow it in memory.
struct MemoryTier::Item {
  Item(const MemoryEntry& entry, EntryPlace at, std::uint64_t charged)
      : key_hash(entry.key_hash),
        sequence(entry.sequence),
        place(at),
        expires_at(entry.expires_at),
        flags(entry.flags),
        stale(entry.stale),
        key_bytes(static_cast<std::uint32_t>(entry.key.size())),
        value_bytes(static_cast<std::uint32_t>(entry.value.size())),
        charge(charged) {}

  std::byte* memory() { return reinterpret_cast<std::byte*>(this + 1); }
  std::string_view key() { return {reinterpret_cast<const char*>(memory()), key_bytes}; }
  std::span<const std::byte> value() { return {memory() + key_bytes, value_bytes}; }

  const std::uint64_t key_hash;
  const std::uint64_t sequence;
  EntryPlace place;  ///< guarded by the shard's lock, as is `next`
  ItemPointer next;
  bool read_once = false;  ///< likewise: came with its first read, and has not been read since
  Item* older = nullptr;   ///< guarded by queue_mutex_, as is what follows
  Item* newer = nullptr;
  const std::uint32_t expires_at;
  const std::uint32_t flags;
  const bool stale;
  const std::uint32_t key_bytes;
  const std::uint32_t value_bytes;
  const std::uint64_t charge;  ///< to the account
  QueueName queue = QueueName::small;
  bool queued = false;
  std::atomic<std::uint8_t> hits{0};
};

/// One block for shared_ptr's control block, the item, its key and its value. The account has been
/// charged before; it gets the charge back with the last reference.
template <typename T>
class MemoryTier::Allocator {
 public:
  using value_type = T;
  Allocator(std::shared_ptr<Account> account, std::size_t more_bytes, std::uint64_t charge)
      : account_(std::move(account)), more_bytes_(more_bytes), charge_(charge) {}
  template <typename U>
  explicit Allocator(const Allocator<U>& other)
      : account_(other.account_), more_bytes_(other.more_bytes_), charge_(other.charge_) {}

  T* allocate(std::size_t count) {
    static_assert(sizeof(T) <= sizeof(Item) + kControlBytes);
    return static_cast<T*>(account_->memory().allocate(count * sizeof(T) + more_bytes_));
  }
  void deallocate(T* memory, std::size_t count) {
    account_->memory().deallocate(memory, count * sizeof(T) + more_bytes_);
    account_->give_back(charge_);
  }
  friend bool operator==(const Allocator&, const Allocator&) = default;

  static constexpr std::size_t kControlBytes = 64;

 private:
  template <typename U>
  friend class Allocator;
  std::shared_ptr<Account> account_;
  std::size_t more_bytes_;
  std::uint64_t charge_;
};

// --- Making ---

bool MemoryTier::Account::take(std::uint64_t bytes) {
  std::uint64_t before = bytes_.load(std::memory_order_relaxed);
  do {
    const bool fits = bytes <= bytes_max_ - std::min(before, bytes_max_);
    if (!fits && !mutated(Mutant::kMemoryUnbounded)) return false;
  } while (!bytes_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  return true;
}

std::unique_ptr<MemoryTier> MemoryTier::create(std::uint64_t bytes_max) try {
  return std::unique_ptr<MemoryTier>(new MemoryTier(
      bytes_max, shards_for(bytes_max), std::max(bytes_max / kGhostShare, kGhostEntriesMin)));
} catch (const std::bad_alloc&) {
  return nullptr;
}

MemoryTier::MemoryTier(std::uint64_t bytes_max, std::size_t shards, std::uint64_t ghost_entries)
    : bytes_max_(bytes_max),
      account_(std::make_shared<Account>(bytes_max)),
      shards_(shards),
      ghost_(ghost_entries, bytes_max) {
  (void)account_->take(account_->memory().own_bytes() + ghost_.memory_bytes() +
                       shards * sizeof(Shard) + shards * heap_bytes(kChainsMin * sizeof(Chain)));
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    shard.use(std::vector<Chain>(kChainsMin));
  }
}

void MemoryTier::Shard::use(std::vector<Chain> others) {
  chains = std::move(others);
  chains_at.set(reinterpret_cast<std::uintptr_t>(chains.data()));
  chains_mask.set(chains.size() - 1);
}

MemoryTier::~MemoryTier() { clear(); }

MemoryTier::ItemPointer* MemoryTier::find_link(Shard& shard, std::uint64_t key_hash,
                                               std::string_view key) {
  Chain& chain = chain_of(shard.chains, key_hash);
  if ((chain.filter & filter_bit(key_hash)) == 0) return nullptr;
  ItemPointer* link = &chain.first;
  const auto is_it = [&](Item& item) {
    return item.key_hash == key_hash &&
           (item.key() == key || mutated(Mutant::kMemoryKeyNotCompared));
  };
  while (*link && !is_it(**link)) link = &(*link)->next;
  return *link ? link : nullptr;
}

Value MemoryTier::value_of(const ItemPointer& item) {
  return {item, item->value(), item->sequence, item->expires_at, item->flags, item->stale};
}

std::uint64_t MemoryTier::charge_of(std::size_t key_bytes, std::size_t value_bytes) const {
  return account_->memory().charge_of(sizeof(Item) + Allocator<Item>::kControlBytes + key_bytes +
                                      value_bytes);
}

// --- Reading ---

// Chains that grow meanwhile are fetched in vain, no more.
void MemoryTier::prefetch_find(std::uint64_t key_hash) const {
  const Shard& shard = shards_[shard_number(key_hash)];
  const std::size_t number = chain_number(key_hash, shard.chains_mask.get());
  __builtin_prefetch(reinterpret_cast<const void*>(shard.chains_at.get() + number * sizeof(Chain)));
}

std::optional<Value> MemoryTier::find(std::string_view key, std::uint64_t key_hash,
                                      EntryPlace place) {
  Shard& shard = shard_of(key_hash);
  MutexLock lock(shard.mutex);
  const ItemPointer* link = find_link(shard, key_hash, key);
  if (link == nullptr) return std::nullopt;
  if ((*link)->place != place && !mutated(Mutant::kMemoryIsStale)) return std::nullopt;
  Item& item = **link;
  const std::uint8_t hits = item.hits.load(std::memory_order_relaxed);
  if (hits < kHitsMax) {
    item.hits.store(static_cast<std::uint8_t>(hits + 1), std::memory_order_relaxed);
  }
  if (std::exchange(item.read_once, false)) count_read_again();
  ++shard.hits;
  return value_of(*link);
}

MemoryTier::ItemPointer MemoryTier::held(std::string_view key, std::uint64_t key_hash) {
  Shard& shard = shard_of(key_hash);
  if (shard.items.get() == 0) return nullptr;  // while a cache is loaded
  MutexLock lock(shard.mutex);
  const ItemPointer* link = find_link(shard, key_hash, key);
  return link == nullptr ? nullptr : *link;
}

// --- Writing ---

// The charge has been taken; it is given back if there is no memory.
MemoryTier::ItemPointer MemoryTier::make_item(const MemoryEntry& entry, EntryPlace place,
                                              std::uint64_t charge) try {
  ItemPointer item = std::allocate_shared<Item>(
      Allocator<Item>(account_, entry.key.size() + entry.value.size(), charge), entry, place,
      charge);
  std::byte* const memory = item->memory();
  copy_bytes(memory, std::as_bytes(std::span(entry.key)).data(), entry.key.size());
  copy_bytes(memory + entry.key.size(), entry.value.data(), entry.value.size());
  return item;
} catch (const std::bad_alloc&) {
  account_->give_back(charge);
  return nullptr;
}

std::optional<Value> MemoryTier::fill(const MemoryEntry& entry, EntryPlace place) {
  const std::uint64_t charge = charge_of(entry.key.size(), entry.value.size());
  if (charge > bytes_max_ / kItemShare) return std::nullopt;
  QueueName name = QueueName::small;
  {
    MutexLock lock(queue_mutex_);
    if (ghost_.take(entry.key_hash)) {
      name = QueueName::main;
      count_read_again();
    } else {
      count_first_read();
      if (entry.value.size() > kCopyAtOnceBytes || !copies_of_first_reads_pay()) {
        ghost_.remember(entry.key_hash, charge);
        return std::nullopt;
      }
    }
  }
  if (!make_room(charge)) return std::nullopt;
  const ItemPointer item = make_item(entry, place, charge);
  if (!item) return std::nullopt;
  item->read_once = name == QueueName::small;  // nobody else knows it yet
  MutexLock lock(queue_mutex_);
  if (!insert(item, name)) return std::nullopt;
  return value_of(item);
}

void MemoryTier::stored(const MemoryEntry& entry, EntryPlace place) {
  const ItemPointer before = held(entry.key, entry.key_hash);
  if (!before) return;
  const std::uint64_t charge = charge_of(entry.key.size(), entry.value.size());
  const bool wanted = charge <= bytes_max_ / kItemShare && make_room(charge);
  const ItemPointer item = wanted ? make_item(entry, place, charge) : nullptr;
  MutexLock lock(queue_mutex_);
  if (item) {
    item->hits.store(before->hits.load(std::memory_order_relaxed), std::memory_order_relaxed);
    insert(item, before->queue);
  } else {
    unlink(*before);
  }
}

void MemoryTier::removed(std::string_view key, std::uint64_t key_hash) {
  const ItemPointer before = held(key, key_hash);
  if (!before) return;
  MutexLock lock(queue_mutex_);
  unlink(*before);
}

void MemoryTier::moved(std::uint64_t key_hash, EntryPlace from, EntryPlace to) {
  Shard& shard = shard_of(key_hash);
  MutexLock lock(shard.mutex);
  Item* item = chain_of(shard.chains, key_hash).first.get();
  for (; item != nullptr; item = item->next.get()) {
    if (item->key_hash == key_hash && item->place == from) item->place = to;
  }
}

// In place of an older entry of the same key. False if a newer one is there.
bool MemoryTier::insert(const ItemPointer& item, QueueName name) {
  ItemPointer before;
  {
    Shard& shard = shard_of(item->key_hash);
    MutexLock lock(shard.mutex);
    if (ItemPointer* link = find_link(shard, item->key_hash, item->key())) {
      const bool newer = (*link)->sequence > item->sequence;
      if (newer && !mutated(Mutant::kMemoryTakesOlder)) return false;
      before = std::exchange(*link, item);
      item->next = std::move(before->next);
    } else {
      if (shard.items.get() >= shard.chains.size()) grow(shard);
      Chain& chain = chain_of(shard.chains, item->key_hash);
      item->next = std::exchange(chain.first, item);
      chain.filter |= filter_bit(item->key_hash);
      shard.items.set(shard.items.get() + 1);
    }
  }
  if (before) dequeue(*before);
  enqueue(*item, name);
  return true;
}

// Without memory for it chains become longer.
void MemoryTier::grow(Shard& shard) try {
  const std::size_t before = heap_bytes(shard.chains.size() * sizeof(Chain));
  const std::size_t after = heap_bytes(2 * shard.chains.size() * sizeof(Chain));
  if (!account_->take(after)) return;
  std::vector<Chain> chains(2 * shard.chains.size());
  for (Chain& chain : shard.chains) {
    while (chain.first) {
      ItemPointer item = std::move(chain.first);
      chain.first = std::move(item->next);
      Chain& to = chain_of(chains, item->key_hash);
      to.filter |= filter_bit(item->key_hash);
      item->next = std::move(to.first);
      to.first = std::move(item);
    }
  }
  shard.use(std::move(chains));
  account_->give_back(before);
} catch (const std::bad_alloc&) {
  account_->give_back(heap_bytes(2 * shard.chains.size() * sizeof(Chain)));
}

/// Lets the filter name those only that are there.
void MemoryTier::narrow(Chain& chain) {
  chain.filter = 0;
  for (Item* left = chain.first.get(); left != nullptr; left = left->next.get()) {
    chain.filter |= filter_bit(left->key_hash);
  }
}

/// Takes the item out of table and queue, if it is there.
void MemoryTier::unlink(Item& item) {
  ItemPointer gone;
  {
    Shard& shard = shard_of(item.key_hash);
    MutexLock lock(shard.mutex);
    ItemPointer* link = find_link(shard, item.key_hash, item.key());
    if (link == nullptr || link->get() != &item) return;
    gone = std::move(*link);
    *link = std::move(gone->next);
    shard.items.set(shard.items.get() - 1);
    Chain& chain = chain_of(shard.chains, item.key_hash);
    if (!chain.first || std::popcount(chain.filter) > kFilterBitsMax) narrow(chain);
  }
  dequeue(item);
}

void MemoryTier::clear() {
  MutexLock lock(queue_mutex_);
  while (small_.oldest != nullptr) unlink(*small_.oldest);
  while (main_.oldest != nullptr) unlink(*main_.oldest);
  ghost_.clear();
}

// --- What first reads are worth ---

void MemoryTier::count_first_read() {
  if (++first_reads_ < kReuseFirstsMax) return;
  first_reads_ /= 2;
  reads_again_.fetch_sub(reads_again_.load(std::memory_order_relaxed) / 2,
                         std::memory_order_relaxed);
}

bool MemoryTier::copies_of_first_reads_pay() const {
  return first_reads_ < kReuseFirstsMin ||
         reads_again_.load(std::memory_order_relaxed) >= first_reads_ / kReuseShare;
}

// --- Queues ---

void MemoryTier::enqueue(Item& item, QueueName name) {
  Queue& to = queue(name);
  item.queue = name;
  item.queued = true;
  item.older = to.newest;
  item.newer = nullptr;
  (to.newest != nullptr ? to.newest->newer : to.oldest) = &item;
  to.newest = &item;
  to.bytes += item.charge;
}

void MemoryTier::dequeue(Item& item) {
  if (!std::exchange(item.queued, false)) return;
  Queue& from = queue(item.queue);
  (item.older != nullptr ? item.older->newer : from.oldest) = item.newer;
  (item.newer != nullptr ? item.newer->older : from.newest) = item.older;
  from.bytes -= item.charge;
}

// Charges the account, evicting as much as that takes. False if callers hold what has been evicted.
bool MemoryTier::make_room(std::uint64_t charge) {
  if (account_->take(charge)) return true;
  MutexLock lock(queue_mutex_);
  for (std::uint64_t freed = 0; freed <= 2 * charge;) {
    const std::uint64_t evicted = evict_one();
    if (account_->take(charge)) return true;
    if (evicted == 0) return false;
    freed += evicted;
  }
  return false;
}

// Returns the charge of what was evicted; 0 if there is nothing.
std::uint64_t MemoryTier::evict_one() {
  for (int rounds = 0;;) {
    const bool from_small = small_.oldest != nullptr &&
                            (main_.oldest == nullptr || small_.bytes > bytes_max_ / kSmallShare);
    Item* const item = from_small ? small_.oldest : main_.oldest;
    if (item == nullptr) return 0;
    const std::uint8_t hits = item->hits.load(std::memory_order_relaxed);
    if (hits > 0 && rounds < kRoundsMax) {
      item->hits.store(from_small ? std::uint8_t{0} : static_cast<std::uint8_t>(hits - 1),
                       std::memory_order_relaxed);
      dequeue(*item);
      enqueue(*item, QueueName::main);
      ++rounds;
      continue;
    }
    const std::uint64_t charge = item->charge;
    if (from_small) ghost_.remember(item->key_hash, charge);
    unlink(*item);
    ++evicted_;
    prefetch_victims(queue(from_small ? QueueName::small : QueueName::main));
    return charge;
  }
}

// Nobody has looked at them for long. They are evicted some reads later, one after the other: each
// time what the next one leads to is fetched, and those behind it come a step nearer.
void MemoryTier::prefetch_victims(const Queue& from) {
  Item* const next = from.oldest;
  Item* const second = next == nullptr ? nullptr : next->newer;
  Item* const third = second == nullptr ? nullptr : second->newer;
  if (third == nullptr) return;
  if (&from == &small_) ghost_.prefetch(next->key_hash);
  prefetch_find(second->key_hash);
  const auto* const header = reinterpret_cast<const std::byte*>(third);
  __builtin_prefetch(header - kCacheLineBytes);  // the count of its owners
  __builtin_prefetch(header);
  __builtin_prefetch(header + kCacheLineBytes);
}

MemoryTier::Counts MemoryTier::counts() const {
  Counts counts{.bytes = account_->bytes(), .entries = 0, .hits = 0, .evicted = 0};
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    counts.entries += shard.items.get();
    counts.hits += shard.hits;
  }
  MutexLock lock(queue_mutex_);
  counts.evicted = evicted_;
  return counts;
}

}  // namespace rawcache
