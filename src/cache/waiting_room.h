// WaitingRoom: values in memory that wait to be asked for before they are written. Internal.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "format/entry.h"

namespace rawcache {

/// A queue, first in first out, that keys are found in. It decides nothing: who needs room takes
/// the oldest and sees to it that it is written or forgotten.
///
/// Memory: what callers hold of values that have left counts, too. Threads: any, but that insert,
/// erase and clear are called under the log's lock, by which a key's value here and in the log
/// follow each other.
class WaitingRoom {
 public:
  struct Item {
    std::string key;
    std::uint64_t key_hash = 0;
    std::vector<std::byte> value;  ///< as it would be written: perhaps compressed
    Encoding encoding;
    std::uint64_t sequence = 0;
    std::uint32_t expires_at = 0;
    std::uint32_t flags = 0;
    bool stale = false;
    std::atomic<std::uint8_t> hits{0};
  };
  using Pointer = std::shared_ptr<Item>;

  explicit WaitingRoom(std::uint64_t bytes_max)
      : bytes_max_(bytes_max), bytes_(std::make_shared<std::atomic<std::uint64_t>>(0)) {}

  /// Whether a value of this size may wait at all: no one takes more than an eighth.
  bool takes(std::size_t key_bytes, std::size_t value_bytes) const;
  /// A copy of the entry, not yet in the queue. Null: there is no room for it.
  Pointer make(const EntryFields& entry);
  /// Puts it at the end of the queue, in place of what the key had. False: out of memory, and the
  /// key has nothing.
  bool insert(const Pointer& item);
  void erase(std::uint64_t key_hash);
  void erase_if(std::uint64_t key_hash, std::uint64_t sequence);
  void clear();

  /// The key's value, counted as a hit; null if none waits. It may have expired.
  Pointer find(std::string_view key, std::uint64_t key_hash);
  bool holds(const Item& item) const;
  /// Null if nothing waits.
  Pointer oldest() const;
  std::vector<Pointer> items() const;

  struct Counts {
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    std::uint64_t hits = 0;
  };
  Counts counts() const;
  static std::uint64_t charge_of(std::size_t key_bytes, std::size_t value_bytes);

 private:
  using Places = std::unordered_map<std::uint64_t, std::list<Pointer>::iterator>;

  bool take(std::uint64_t bytes);
  Pointer take_out(Places::iterator place) REQUIRES(mutex_);

  const std::uint64_t bytes_max_;
  const std::shared_ptr<std::atomic<std::uint64_t>> bytes_;  ///< in use; outlives this with values

  mutable Mutex mutex_;
  std::list<Pointer> queue_ GUARDED_BY(mutex_);  ///< oldest first
  Places places_ GUARDED_BY(mutex_);
  std::uint64_t hits_ GUARDED_BY(mutex_) = 0;
};

}  // namespace rawcache
