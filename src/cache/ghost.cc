#include "cache/ghost.h"

#include <algorithm>

#include "base/math.h"

namespace rawcache {

Ghost::Ghost(std::uint64_t entries, std::uint64_t window_bytes)
    : buckets_(std::max<std::uint64_t>(divide_up(entries, kBucketSlots), 1)),
      epoch_bytes_(std::max<std::uint64_t>(window_bytes / kEpochsPerWindow, 1)) {}

std::size_t Ghost::bucket_of(std::uint64_t key_hash) const {
  const std::uint64_t mixed = key_hash * 0x9E3779B97F4A7C15;
  return (mixed >> 32) * buckets_.size() >> 32;
}

std::uint16_t Ghost::tag_of(std::uint64_t key_hash) {
  const auto tag = static_cast<std::uint16_t>(key_hash >> 24);
  return tag == 0 ? 1 : tag;
}

void Ghost::remember(std::uint64_t key_hash, std::uint64_t entry_bytes) {
  pass(entry_bytes);
  Bucket& bucket = buckets_[bucket_of(key_hash)];
  const std::uint16_t tag = tag_of(key_hash);
  Slot* place = nullptr;
  for (Slot& slot : bucket) {
    if (slot.tag == tag) {
      place = &slot;
      break;
    }
    const bool better =
        place == nullptr || (place->tag != 0 && (slot.tag == 0 || age(slot) > age(*place)));
    if (better) place = &slot;
  }
  entries_ += place->tag == 0;
  *place = {tag, epoch_};
}

bool Ghost::knows(std::uint64_t key_hash) const {
  const std::uint16_t tag = tag_of(key_hash);
  return std::ranges::any_of(buckets_[bucket_of(key_hash)], [&](const Slot& slot) {
    return slot.tag == tag && age(slot) <= kEpochsPerWindow;
  });
}

bool Ghost::take(std::uint64_t key_hash) {
  const std::uint16_t tag = tag_of(key_hash);
  for (Slot& slot : buckets_[bucket_of(key_hash)]) {
    if (slot.tag != tag) continue;
    const bool remembered = age(slot) <= kEpochsPerWindow;
    slot = {};
    --entries_;
    return remembered;
  }
  return false;
}

void Ghost::clear() {
  std::ranges::fill(buckets_, Bucket{});
  entries_ = 0;
}

void Ghost::copy_bucket(std::size_t bucket, std::vector<RememberedKey>& keys) const {
  for (const Slot& slot : buckets_[bucket]) {
    if (slot.tag != 0 && age(slot) <= kEpochsPerWindow) keys.push_back({slot.tag, age(slot)});
  }
}

bool Ghost::load_bucket(std::size_t bucket, std::span<const RememberedKey> keys) {
  if (bucket >= buckets_.size() || keys.size() > kBucketSlots) return false;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].tag == 0 || keys[i].age > kEpochsPerWindow) return false;
    buckets_[bucket][i] = {keys[i].tag, static_cast<std::uint16_t>(epoch_ - keys[i].age)};
    ++entries_;
  }
  return true;
}

// Epochs are 16 bits: before they come round, everything has been swept many times.
void Ghost::pass(std::uint64_t bytes) {
  bytes_in_epoch_ += bytes;
  for (; bytes_in_epoch_ >= epoch_bytes_; bytes_in_epoch_ -= epoch_bytes_) {
    ++epoch_;
    const std::size_t step = divide_up(buckets_.size(), kEpochsPerWindow);
    for (std::size_t i = 0; i < step; ++i) {
      if (swept_ >= buckets_.size()) swept_ = 0;
      for (Slot& slot : buckets_[swept_]) {
        if (slot.tag == 0 || age(slot) <= kEpochsPerWindow) continue;
        slot = {};
        --entries_;
      }
      ++swept_;
    }
  }
}

}  // namespace rawcache
