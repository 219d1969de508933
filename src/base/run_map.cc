#include "base/run_map.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/math.h"

namespace rawcache {

namespace {
constexpr std::size_t kWordBits = 64;
static_assert(RunMap::kBlockUnits % kWordBits == 0);
constexpr std::uint32_t kUnknown = UINT32_MAX;  ///< of a longest run
}  // namespace

RunMap::RunMap(std::size_t units)
    : units_(units),
      taken_(divide_up(units, kWordBits)),
      blocks_(divide_up(units, kBlockUnits)),
      longest_(blocks_.size(), kUnknown),
      longest_in_group_(divide_up(blocks_.size(), kGroupBlocks), kUnknown) {}

bool RunMap::is_taken(std::size_t unit) const {
  return (taken_[unit / kWordBits] >> (unit % kWordBits) & 1) != 0;
}

std::optional<std::size_t> RunMap::take(std::size_t length) {
  RAWCACHE_ASSERT(length > 0 && length < kUnknown);
  for (std::size_t group = 0; group < longest_in_group_.size(); ++group) {
    if (longest_in_group_[group] < length) continue;
    const auto found = take_in_group(group, length);
    if (found) return found;
    longest_in_group_[group] = static_cast<std::uint32_t>(length - 1);
  }
  return std::nullopt;
}

std::optional<std::size_t> RunMap::take_in_group(std::size_t group, std::size_t length) {
  const std::size_t end = std::min((group + 1) * kGroupBlocks, blocks_.size());
  for (std::size_t block = group * kGroupBlocks;; ++block) {
    while (block < end && longest_[block] < length) ++block;
    if (block == end) return std::nullopt;
    const auto found = take_in(block, length);
    if (found) return found;
    longest_[block] = static_cast<std::uint32_t>(length - 1);
  }
}

std::optional<std::size_t> RunMap::take_in(std::size_t block, std::size_t length) {
  if (!may_hold(block, length)) return std::nullopt;
  const auto found = find_in(block, length);
  if (!found) return std::nullopt;
  flip(*found, length, false);
  count(*found, length, false);
  Block& in = blocks_[block];
  const std::size_t first = *found - block * kBlockUnits;
  if (first == in.first_free) {
    in.first_free = static_cast<std::uint32_t>(std::min(first + length, kBlockUnits));
  }
  return found;
}

/// False if its free units are too few, and none is the last of the block, from where a run might
/// go on.
bool RunMap::may_hold(std::size_t block, std::size_t length) const {
  const std::size_t end = std::min((block + 1) * kBlockUnits, units_);
  const std::size_t free = end - block * kBlockUnits - blocks_[block].taken;
  return free >= length || !is_taken(end - 1);
}

void RunMap::give_back(std::size_t first, std::size_t length) {
  flip(first, length, true);
  count(first, length, true);
  const std::size_t first_block = first / kBlockUnits;
  const std::size_t last_block = (first + length - 1) / kBlockUnits;
  for (std::size_t block = first_block; block <= last_block; ++block) {
    const std::size_t begin = block * kBlockUnits;
    const auto freed = static_cast<std::uint32_t>(std::max(first, begin) - begin);
    blocks_[block].first_free = std::min(blocks_[block].first_free, freed);
    note_free_in(block);
  }
  // Runs that reach this far from blocks before it may have become longer.
  for (std::size_t block = first_block; block > 0 && !is_taken(block * kBlockUnits - 1); --block) {
    note_free_in(block - 1);
    if (blocks_[block - 1].taken > 0) break;
  }
}

void RunMap::note_free_in(std::size_t block) {
  longest_[block] = kUnknown;
  longest_in_group_[block / kGroupBlocks] = kUnknown;
}

/// The first free unit of [begin, end), or `end`.
std::size_t RunMap::next_free(std::size_t begin, std::size_t end) const {
  while (begin < end) {
    const std::uint64_t word = taken_[begin / kWordBits] >> (begin % kWordBits);
    const auto ones = static_cast<std::size_t>(std::countr_one(word));
    const std::size_t left = kWordBits - begin % kWordBits;
    begin += ones;
    if (ones < left) break;
  }
  return std::min(begin, end);
}

/// The first free run of `length` that begins in this block.
std::optional<std::size_t> RunMap::find_in(std::size_t block, std::size_t length) {
  const std::size_t block_begin = block * kBlockUnits;
  const std::size_t block_end = std::min(block_begin + kBlockUnits, units_);
  std::size_t run_begin = next_free(block_begin + blocks_[block].first_free, block_end);
  blocks_[block].first_free = static_cast<std::uint32_t>(run_begin - block_begin);
  for (std::size_t at = run_begin; at < units_ && run_begin < block_end;) {
    const std::uint64_t word = taken_[at / kWordBits] >> (at % kWordBits);
    const std::size_t left = std::min(kWordBits - at % kWordBits, units_ - at);
    const std::size_t clear = std::min<std::size_t>(std::countr_zero(word), left);
    at += clear;
    if (at - run_begin >= length) return run_begin;
    if (clear < left) {
      at += static_cast<std::size_t>(std::countr_one(word >> clear));
      run_begin = at;
    }
  }
  return std::nullopt;
}

void RunMap::flip(std::size_t first, std::size_t length, bool taken_before) {
  while (length > 0) {
    const std::size_t shift = first % kWordBits;
    const std::size_t count = std::min(kWordBits - shift, length);
    const std::uint64_t ones =
        count == kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    std::uint64_t& word = taken_[first / kWordBits];
    RAWCACHE_ASSERT((word >> shift & ones) == (taken_before ? ones : 0));
    word ^= ones << shift;
    first += count;
    length -= count;
  }
}

/// Counts what has been flipped.
void RunMap::count(std::size_t first, std::size_t length, bool taken_before) {
  for (std::size_t at = first; at < first + length;) {
    const std::size_t block = at / kBlockUnits;
    const std::size_t end = std::min(first + length, (block + 1) * kBlockUnits);
    const auto changed = static_cast<std::uint32_t>(end - at);
    std::uint32_t& taken = blocks_[block].taken;
    taken = taken_before ? taken - changed : taken + changed;
    at = end;
  }
}

}  // namespace rawcache
