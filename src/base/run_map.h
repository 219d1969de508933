// RunMap: which units of a block of memory are taken, and where so many of them in a row are free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rawcache {

/// Hands out runs of units, the lowest first: so the same memory is used again and again and stays
/// in the processor's caches, and what is not needed stays untouched. A search skips blocks, and
/// groups of blocks, in which no run is long enough. Threads: one at a time.
class RunMap {
 public:
  /// Units of a block; a unit takes a bit and a little.
  static constexpr std::size_t kBlockUnits = 4096;

  /// All units are free. Throws std::bad_alloc.
  explicit RunMap(std::size_t units);

  /// The first unit of a run of `length` (at least 1) that now is taken.
  std::optional<std::size_t> take(std::size_t length);
  /// Part of what take() returned, or all.
  void give_back(std::size_t first, std::size_t length);

  struct Run {
    std::size_t begin = 0, end = 0;
  };
  /// The first free run of [begin, end), cut off at its ends; empty if there is none.
  Run free_run(std::size_t begin, std::size_t end) const;
  /// Memory of its own, bytes.
  std::size_t memory_bytes() const;

 private:
  static constexpr std::size_t kGroupBlocks = 64;

  std::optional<std::size_t> take_in_group(std::size_t group, std::size_t length);
  std::optional<std::size_t> find_in(std::size_t block, std::size_t length);
  std::size_t skip_full_words(std::size_t unit, std::size_t end) const;
  void raise_longest(std::size_t block, std::size_t length);
  std::size_t free_before(std::size_t unit, std::size_t begin) const;
  std::size_t free_from(std::size_t unit, std::size_t end) const;
  void flip(std::size_t first, std::size_t length, bool taken_before);

  const std::size_t units_;
  std::vector<std::uint64_t> taken_;  ///< one bit per unit
  // No run that begins in the block, or in the group of kGroupBlocks, is longer.
  std::vector<std::uint32_t> longest_;
  std::vector<std::uint32_t> longest_in_group_;
};

}  // namespace rawcache
