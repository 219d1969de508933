// What eviction has learnt, saved with the checkpoint of an orderly close: the keys that it
// remembers and the bytes that it may copy. Losing it costs hits, never entries, so whatever is
// wrong with it means to begin anew.
#include <algorithm>
#include <array>

#include "base/mutant.h"
#include "cache/cache_impl.h"
#include "cache/checkpoint_io.h"

namespace rawcache {
namespace {

/// Copied under one hold of the log's lock.
constexpr std::size_t kBucketsAtOnce = 64;

template <typename T>
void add(std::vector<std::byte>& bytes, std::span<const T> values) {
  const auto raw = std::as_bytes(values);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

}  // namespace

// As far as the area has room: what lies in a bucket is a matter of the hash, so that the first
// ones are as good a choice as any.
Result<void> RawDiskCache::Impl::write_hints(CheckpointWriter& writer) const {
  if (!ghost_) return {};
  if (auto begun = writer.begin_hints(); !begun) return begun;
  std::vector<std::byte> piece;
  std::vector<RememberedKey> keys;
  for (std::size_t bucket = 0;;) {
    const bool first = bucket == 0;
    {
      MutexLock lock(log_mutex_);
      if (first) add(piece, std::span(&tokens_, 1));
      const std::size_t end = std::min(bucket + kBucketsAtOnce, ghost_->buckets());
      for (; bucket < end; ++bucket) {
        keys.clear();
        ghost_->copy_bucket(bucket, keys);
        piece.push_back(static_cast<std::byte>(keys.size()));
        add(piece, std::span<const RememberedKey>(keys));
      }
    }
    if (piece.empty() || !writer.takes(piece.size())) return {};
    if (auto appended = writer.append(piece); !appended) return appended;
    piece.clear();
  }
}

void RawDiskCache::Impl::load_hints(int area) {
  if (!ghost_ || mutated(Mutant::kHintsNotLoaded)) return;
  if (mutated(Mutant::kHintsOfOlderCheckpoint)) area = 1 - area;
  auto reader = CheckpointReader::open_hints(*disk_, superblock_, area);
  if (!reader) return;
  MutexLock lock(log_mutex_);
  std::uint64_t tokens = 0;
  bool sound = reader->read(std::as_writable_bytes(std::span(&tokens, 1)));
  std::array<RememberedKey, Ghost::kBucketSlots> keys;
  for (std::size_t bucket = 0; sound && !reader->complete(); ++bucket) {
    std::uint8_t count = 0;
    sound = reader->read(std::as_writable_bytes(std::span(&count, 1))) && count <= keys.size() &&
            reader->read(std::as_writable_bytes(std::span(keys).first(count))) &&
            ghost_->load_bucket(bucket, std::span(keys).first(count));
  }
  if (!sound && !mutated(Mutant::kUnsoundHintsKept)) return ghost_->clear();
  if (mutated(Mutant::kEarnedCopiesForgotten)) return;
  if (tokens_per_byte_ > 0) tokens_ = std::min(tokens, tokens_max_);
}

}  // namespace rawcache
