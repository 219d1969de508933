// Rounding and checked arithmetic on sizes.
#pragma once

#include <bit>
#include <cstdint>

namespace rawcache {

/// `unit` is a power of two.
constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) & ~(unit - 1);
}
constexpr std::uint64_t round_down(std::uint64_t n, std::uint64_t unit) { return n & ~(unit - 1); }
constexpr bool is_aligned(std::uint64_t n, std::uint64_t unit) { return (n & (unit - 1)) == 0; }
constexpr std::uint64_t divide_up(std::uint64_t n, std::uint64_t by) {
  return n / by + (n % by != 0);
}

/// Maps a uniformly distributed 32-bit hash to [0, n) without a division.
constexpr std::uint32_t scale_hash(std::uint32_t hash, std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{hash} * n) >> 32);
}

}  // namespace rawcache
