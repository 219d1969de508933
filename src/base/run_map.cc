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
      longest_(divide_up(units, kBlockUnits), kUnknown),
      longest_in_group_(divide_up(longest_.size(), kGroupBlocks), kUnknown) {}

std::optional<std::size_t> RunMap::take(std::size_t length) {
  RAWCACHE_ASSERT(length > 0 && length < kUnknown);
  for (std::size_t group = 0; group < longest_in_group_.size(); ++group) {
    if (longest_in_group_[group] < length) continue;
    const auto found = take_in_group(group, length);
    if (found) return found;
  }
  return std::nullopt;
}

std::optional<std::size_t> RunMap::take_in_group(std::size_t group, std::size_t length) {
  const std::size_t end = std::min((group + 1) * kGroupBlocks, longest_.size());
  std::uint32_t longest = 0;
  for (std::size_t block = group * kGroupBlocks; block < end; ++block) {
    if (longest_[block] >= length) {
      const auto found = find_in(block, length);
      if (found) {
        flip(*found, length, false);
        return found;
      }
    }
    longest = std::max(longest, longest_[block]);
  }
  longest_in_group_[group] = longest;
  return std::nullopt;
}

std::size_t RunMap::skip_full_words(std::size_t unit, std::size_t end) const {
  while (unit < end && taken_[unit / kWordBits] == ~std::uint64_t{0}) unit += kWordBits;
  return unit;
}

/// The first free run of `length` that begins in this block. If there is none the longest that does
/// is known from then on.
std::optional<std::size_t> RunMap::find_in(std::size_t block, std::size_t length) {
  const std::size_t block_end = std::min((block + 1) * kBlockUnits, units_);
  std::size_t run_begin = block * kBlockUnits;
  std::size_t longest = 0;
  for (std::size_t at = run_begin; at < units_ && run_begin < block_end;) {
    const std::uint64_t word = taken_[at / kWordBits] >> (at % kWordBits);
    const std::size_t left = std::min(kWordBits - at % kWordBits, units_ - at);
    const std::size_t clear = std::min<std::size_t>(std::countr_zero(word), left);
    at += clear;
    if (at - run_begin >= length) return run_begin;
    if (clear < left) {
      longest = std::max(longest, at - run_begin);
      at += static_cast<std::size_t>(std::countr_one(word >> clear));
      if (at % kWordBits == 0) at = skip_full_words(at, block_end);
      run_begin = at;
    }
  }
  if (run_begin < block_end) longest = std::max(longest, units_ - run_begin);
  longest_[block] = static_cast<std::uint32_t>(longest);
  return std::nullopt;
}

void RunMap::give_back(std::size_t first, std::size_t length) {
  flip(first, length, true);
  const std::size_t first_block = first / kBlockUnits;
  const std::size_t last_block = (first + length - 1) / kBlockUnits;
  for (std::size_t block = first_block; block <= last_block; ++block) {
    if (longest_[block] == kUnknown) continue;
    const std::size_t begin = block * kBlockUnits, end = begin + kBlockUnits;
    const std::size_t freed_begin = std::max(first, begin);
    const std::size_t freed_end = std::min(first + length, end);
    const std::size_t run_begin = freed_begin - free_before(freed_begin, begin);
    const std::size_t run_end = freed_end + free_from(freed_end, std::min(end, units_));
    raise_longest(block, run_end == end ? kUnknown : run_end - run_begin);
  }
  // Runs that reach this far from blocks before it have become longer. Of a block that is not known
  // and free up to its end the blocks before it that reach it are not known either.
  std::size_t block = first_block;
  bool reaches = free_before(first, block * kBlockUnits) == first - block * kBlockUnits;
  while (reaches && block > 0) {
    const std::size_t end = block * kBlockUnits;
    const std::size_t free = free_before(end, end - kBlockUnits);
    if (free == 0 || longest_[block - 1] == kUnknown) break;
    raise_longest(--block, kUnknown);
    reaches = free == kBlockUnits;
  }
}

RunMap::Run RunMap::free_run(std::size_t begin, std::size_t end) const {
  end = std::min(end, units_);
  std::size_t at = begin;
  while (at < end) {
    const std::size_t left = kWordBits - at % kWordBits;
    const std::uint64_t word = taken_[at / kWordBits] >> (at % kWordBits);
    const std::size_t taken = std::min<std::size_t>(std::countr_one(word), left);
    at += taken;
    if (taken < left) break;
  }
  if (at >= end) return {end, end};
  return {at, at + free_from(at, end)};
}

std::size_t RunMap::memory_bytes() const {
  return taken_.size() * sizeof(taken_[0]) + longest_.size() * sizeof(longest_[0]) +
         longest_in_group_.size() * sizeof(longest_in_group_[0]);
}

void RunMap::raise_longest(std::size_t block, std::size_t length) {
  const auto longest = static_cast<std::uint32_t>(length);
  longest_[block] = std::max(longest_[block], longest);
  std::uint32_t& in_group = longest_in_group_[block / kGroupBlocks];
  in_group = std::max(in_group, longest);
}

/// How many units right before `unit` are free, down to `begin`.
std::size_t RunMap::free_before(std::size_t unit, std::size_t begin) const {
  std::size_t at = unit;
  while (at > begin) {
    const std::size_t in_word = (at - 1) % kWordBits + 1;
    const std::uint64_t word = taken_[(at - 1) / kWordBits] << (kWordBits - in_word);
    const std::size_t clear = std::min<std::size_t>(std::countl_zero(word), in_word);
    at -= std::min(clear, at - begin);
    if (clear < in_word) break;
  }
  return unit - at;
}

/// How many units from `unit` on are free, up to `end`.
std::size_t RunMap::free_from(std::size_t unit, std::size_t end) const {
  std::size_t at = unit;
  while (at < end) {
    const std::size_t left = kWordBits - at % kWordBits;
    const std::uint64_t word = taken_[at / kWordBits] >> (at % kWordBits);
    const std::size_t clear = std::min<std::size_t>(std::countr_zero(word), left);
    at += std::min(clear, end - at);
    if (clear < left) break;
  }
  return at - unit;
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

}  // namespace rawcache
