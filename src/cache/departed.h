// Departed: keys whose entries have been evicted, or withdrawn, and could come back with a crash.
// Internal.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace rawcache {

/// What is evicted is forgotten by the index alone: until a checkpoint without it is durable,
/// recovery may find it again. Whoever gives such a key a value that is not in the log, or refuses
/// it one, must write that the old one is gone.
///
/// Filters, one per checkpoint interval; may take a key for a departed one that is not. Not
/// synchronised: the log's lock guards it.
class Departed {
 public:
  explicit Departed(std::uint64_t entries_max)
      : bits_(std::bit_ceil(std::max(entries_max / kEntriesPerBit, kBitsMin))) {
    for (auto& filter : filters_) filter.resize(bits_ / 64);
  }

  void add(std::uint64_t key_hash) {
    for (const std::uint64_t bit : bits_of(key_hash)) filters_[0][bit / 64] |= mask(bit);
  }
  /// Keys that are not known.
  void add_any() { std::ranges::fill(filters_[0], ~std::uint64_t{0}); }
  bool may_hold(std::uint64_t key_hash) const {
    return std::ranges::any_of(filters_, [&](const auto& filter) {
      return std::ranges::all_of(bits_of(key_hash), [&](std::uint64_t bit) {
        return (filter[bit / 64] & mask(bit)) != 0;
      });
    });
  }
  /// A checkpoint has become durable: what departed before the one before it cannot come back, not
  /// even from that.
  void checkpoint_taken() {
    std::rotate(filters_.begin(), filters_.end() - 1, filters_.end());
    std::ranges::fill(filters_[0], 0);
  }
  void clear() {
    for (auto& filter : filters_) std::ranges::fill(filter, 0);
  }
  std::uint64_t memory_bytes() const { return kIntervals * bits_ / 8; }

 private:
  static constexpr std::size_t kIntervals = 3;
  /// Between two checkpoints a tenth of the entries leave under rc and as a rule up to a quarter
  /// under others, with two bits each.
  static constexpr std::uint64_t kEntriesPerBit = 1;
  static constexpr std::uint64_t kBitsMin = 1024;

  std::array<std::uint64_t, 2> bits_of(std::uint64_t key_hash) const {
    return {key_hash & (bits_ - 1), (key_hash >> 32) & (bits_ - 1)};
  }
  static std::uint64_t mask(std::uint64_t bit) { return std::uint64_t{1} << (bit % 64); }

  const std::uint64_t bits_;
  std::array<std::vector<std::uint64_t>, kIntervals> filters_;
};

}  // namespace rawcache
