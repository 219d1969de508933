// Ghost: remembers keys that were evicted before they proved their worth. Internal.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "format/checkpoint.h"

namespace rawcache {

/// A table of fingerprints, 4 bytes each, in buckets of eight; forgets the oldest first, and what
/// is older than a window of bytes dropped. About one key in 8192 is taken for another one.
/// Not synchronised.
class Ghost {
 public:
  static constexpr std::size_t kBucketSlots = 8;

  /// Room for about `entries`; remembers what was dropped within the last `window_bytes`.
  Ghost(std::uint64_t entries, std::uint64_t window_bytes);

  /// Fetches the key's bucket ahead of the others. Any thread, without a lock.
  void prefetch(std::uint64_t key_hash) const {
    __builtin_prefetch(&buckets_[bucket_of(key_hash)]);
  }
  void remember(std::uint64_t key_hash, std::uint64_t entry_bytes);
  bool knows(std::uint64_t key_hash) const;
  /// Whether the key is remembered; forgets it.
  bool take(std::uint64_t key_hash);
  void clear();

  // To be saved and loaded, bucket by bucket, by a table of as many entries and the same window.

  std::size_t buckets() const { return buckets_.size(); }
  /// Adds what a bucket remembers to `keys`.
  void copy_bucket(std::size_t bucket, std::vector<RememberedKey>& keys) const;
  /// Fills an empty bucket. False: no bucket remembers such keys.
  bool load_bucket(std::size_t bucket, std::span<const RememberedKey> keys);

  std::uint64_t entries() const { return entries_; }
  std::uint64_t memory_bytes() const { return buckets_.size() * sizeof(Bucket); }

 private:
  /// Steps in which time passes; a window is that many.
  static constexpr std::uint64_t kEpochsPerWindow = 1024;
  struct Slot {
    std::uint16_t tag = 0;  ///< 0: empty
    std::uint16_t epoch = 0;
  };
  using Bucket = std::array<Slot, kBucketSlots>;

  std::size_t bucket_of(std::uint64_t key_hash) const;
  static std::uint16_t tag_of(std::uint64_t key_hash);
  std::uint16_t age(const Slot& slot) const {
    return static_cast<std::uint16_t>(epoch_ - slot.epoch);
  }
  void pass(std::uint64_t bytes);

  std::vector<Bucket> buckets_;
  const std::uint64_t epoch_bytes_;
  std::uint64_t bytes_in_epoch_ = 0;
  std::uint16_t epoch_ = 0;
  std::size_t swept_ = 0;  ///< buckets before it have been swept in this window
  std::uint64_t entries_ = 0;
};

}  // namespace rawcache
