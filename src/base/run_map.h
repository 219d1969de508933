// RunMap: which units of a block of memory are taken, and where so many of them in a row are free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rawcache {

/// Hands out runs of units, the lowest first: so the same memory is used again and again and stays
/// in the processor's caches, and what is not needed stays untouched. A unit takes a bit and a
/// little. A search skips blocks, and groups of blocks, in which no run is long enough. Threads:
/// one at a time.
class RunMap {
 public:
  /// Units are counted by blocks of so many.
  static constexpr std::size_t kBlockUnits = 16384;

  /// All units are free. Throws std::bad_alloc.
  explicit RunMap(std::size_t units);

  /// The first unit of a run of `length` (at least 1) that now is taken.
  std::optional<std::size_t> take(std::size_t length);
  /// Part of what take() returned, or all.
  void give_back(std::size_t first, std::size_t length);

  std::size_t blocks() const { return blocks_.size(); }
  std::size_t taken_in(std::size_t block) const { return blocks_[block].taken; }

 private:
  static constexpr std::size_t kGroupBlocks = 64;
  struct Block {
    std::uint32_t taken = 0;
    std::uint32_t first_free = 0;  ///< no unit of the block before it is free
  };

  std::optional<std::size_t> take_in_group(std::size_t group, std::size_t length);
  std::optional<std::size_t> take_in(std::size_t block, std::size_t length);
  std::optional<std::size_t> find_in(std::size_t block, std::size_t length);
  bool may_hold(std::size_t block, std::size_t length) const;
  std::size_t next_free(std::size_t begin, std::size_t end) const;
  void note_free_in(std::size_t block);
  void flip(std::size_t first, std::size_t length, bool taken_before);
  void count(std::size_t first, std::size_t length, bool taken_before);
  bool is_taken(std::size_t unit) const;

  const std::size_t units_;
  std::vector<std::uint64_t> taken_;  ///< one bit per unit
  std::vector<Block> blocks_;
  // No run that begins in the block, or in the group of kGroupBlocks, is longer.
  std::vector<std::uint32_t> longest_;
  std::vector<std::uint32_t> longest_in_group_;
};

}  // namespace rawcache
