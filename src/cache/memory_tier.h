// MemoryTier: hot values in memory, in front of the disk. Internal.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/published.h"
#include "cache/ghost.h"
#include "cache/item_memory.h"
#include "rawcache/value.h"

namespace rawcache {

/// Which entry is meant: where it lies, in which life of that segment. No two entries ever have the
/// same.
struct EntryPlace {
  std::uint64_t offset = 0;  ///< bytes from the start of the disk
  std::uint32_t generation = 0;
  friend bool operator==(const EntryPlace&, const EntryPlace&) = default;
};

/// What is held of an entry. `value` is what the user stored, however the disk holds it.
struct MemoryEntry {
  std::string_view key;
  std::uint64_t key_hash = 0;
  std::span<const std::byte> value;
  std::uint64_t sequence = 0;
  std::uint32_t expires_at = 0;  ///< Unix time, seconds; 0: never
  std::uint32_t flags = 0;       ///< the user's
  bool stale = false;            ///< likewise
};

/// Values of entries that have been read, evicted as S3-FIFO does: what is not asked for again
/// leaves early and without displacing what is. Where hardly anything is read again (scans, uniform
/// reads of much more than fits) a first read is only remembered: a copy costs as much as a tenth
/// of the read that it might save.
///
/// Coherence: a value is found only by who names the place that the index points at now. Whatever
/// is overwritten, removed, evicted or cleared is out of reach as soon as the index says so, and a
/// reader that fills too late fills something that nobody asks for.
///
/// Memory: items, tables and ghost are bounded by the bytes given to `create`, and so is what has
/// been evicted while callers hold values of it; what lies between items see ItemMemory. Threads:
/// any. A hit takes one lock of many.
class MemoryTier {
 public:
  /// Null if memory is short.
  static std::unique_ptr<MemoryTier> create(std::uint64_t bytes_max);
  ~MemoryTier();

  /// Fetches what `find` will look at first.
  void prefetch_find(std::uint64_t key_hash) const;
  /// The same for `fill`. Reads nothing that changes, and so needs no lock.
  void prefetch_fill(std::uint64_t key_hash) const NO_THREAD_SAFETY_ANALYSIS {
    ghost_.prefetch(key_hash);
  }
  /// The key's value if it is held and lies at `place`; counted as a hit. It may have expired.
  std::optional<Value> find(std::string_view key, std::uint64_t key_hash, EntryPlace place);
  /// Takes in a copy of an entry that has been read at `place`, and hands out its value. nullopt if
  /// it only remembers it, has no memory for it or holds a newer one.
  std::optional<Value> fill(const MemoryEntry& entry, EntryPlace place);
  /// The entry has been stored and lies at `place`: if its key is held, with this value from now
  /// on.
  void stored(const MemoryEntry& entry, EntryPlace place);
  /// The key has been removed: gives the memory back.
  void removed(std::string_view key, std::uint64_t key_hash);
  /// An entry has been copied to another place.
  void moved(std::uint64_t key_hash, EntryPlace from, EntryPlace to);
  void clear();

  struct Counts {
    std::uint64_t bytes = 0;  ///< memory in use
    std::uint64_t entries = 0;
    std::uint64_t hits = 0;
    std::uint64_t evicted = 0;
  };
  Counts counts() const;

 private:
  struct Item;
  template <typename T>
  class Allocator;
  using ItemPointer = std::shared_ptr<Item>;

  /// Memory of items, and how much is in use; outlives the tier as long as values do.
  class Account {
   public:
    explicit Account(std::uint64_t bytes_max) : bytes_max_(bytes_max), memory_(bytes_max) {}
    ItemMemory& memory() { return memory_; }
    bool take(std::uint64_t bytes);
    void give_back(std::uint64_t bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

   private:
    const std::uint64_t bytes_max_;
    ItemMemory memory_;
    std::atomic<std::uint64_t> bytes_{0};
  };

  /// Items of some hashes. Most keys that are looked for are not held, and the filter says so
  /// without a look at an item, which lies in memory that nobody has touched for long.
  struct Chain {
    ItemPointer first;
    std::uint64_t filter = 0;  ///< filter_bit of each, and of some that have left
  };

  /// A part of the table.
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::vector<Chain> chains GUARDED_BY(mutex);
    // Set under the lock, the first two for who only fetches ahead.
    Published<std::uintptr_t> chains_at;
    Published<std::uint64_t> chains_mask;
    Published<std::uint64_t> items;
    std::uint64_t hits GUARDED_BY(mutex) = 0;

    void use(std::vector<Chain> others) REQUIRES(mutex);
  };

  enum class QueueName : std::uint8_t { small, main };
  struct Queue {
    Item* oldest = nullptr;
    Item* newest = nullptr;
    std::uint64_t bytes = 0;
  };

  MemoryTier(std::uint64_t bytes_max, std::size_t shards, std::uint64_t ghost_entries);

  // Distinct bits of the hash choose the shard, the chain and the bit in its filter.
  std::size_t shard_number(std::uint64_t key_hash) const {
    return (key_hash & 0xFFFF) * shards_.size() >> 16;
  }
  Shard& shard_of(std::uint64_t key_hash) { return shards_[shard_number(key_hash)]; }
  static std::size_t chain_number(std::uint64_t key_hash, std::uint64_t mask) {
    return (key_hash >> 16) & mask;
  }
  static Chain& chain_of(std::vector<Chain>& chains, std::uint64_t key_hash) {
    return chains[chain_number(key_hash, chains.size() - 1)];
  }
  static std::uint64_t filter_bit(std::uint64_t key_hash) {
    return std::uint64_t{1} << (key_hash >> 58);
  }
  static ItemPointer* find_link(Shard& shard, std::uint64_t key_hash, std::string_view key)
      REQUIRES(shard.mutex);
  static Value value_of(const ItemPointer& item);
  std::uint64_t charge_of(std::size_t key_bytes, std::size_t value_bytes) const;
  ItemPointer make_item(const MemoryEntry& entry, EntryPlace place, std::uint64_t charge);
  bool insert(const ItemPointer& item, QueueName name) REQUIRES(queue_mutex_);
  ItemPointer held(std::string_view key, std::uint64_t key_hash);
  void grow(Shard& shard) REQUIRES(shard.mutex);
  static void narrow(Chain& chain);
  void unlink(Item& item) REQUIRES(queue_mutex_);
  void count_first_read() REQUIRES(queue_mutex_);
  void count_read_again() { reads_again_.fetch_add(1, std::memory_order_relaxed); }
  bool copies_of_first_reads_pay() const REQUIRES(queue_mutex_);
  bool make_room(std::uint64_t charge);
  std::uint64_t evict_one() REQUIRES(queue_mutex_);
  void prefetch_victims(const Queue& from) REQUIRES(queue_mutex_);
  Queue& queue(QueueName name) REQUIRES(queue_mutex_) {
    return name == QueueName::small ? small_ : main_;
  }
  void enqueue(Item& item, QueueName name) REQUIRES(queue_mutex_);
  void dequeue(Item& item) REQUIRES(queue_mutex_);

  const std::uint64_t bytes_max_;
  const std::shared_ptr<Account> account_;
  std::vector<Shard> shards_;
  std::atomic<std::uint32_t> reads_again_{0};  ///< of what first_reads_ counts

  // Locked before a shard's.
  mutable Mutex queue_mutex_;
  Queue small_ GUARDED_BY(queue_mutex_), main_ GUARDED_BY(queue_mutex_);
  Ghost ghost_ GUARDED_BY(queue_mutex_);
  std::uint64_t evicted_ GUARDED_BY(queue_mutex_) = 0;
  std::uint32_t first_reads_ GUARDED_BY(queue_mutex_) = 0;  ///< lately
};

}  // namespace rawcache
