// What a checksum covers beside the bytes: which cache, where on the disk, which life of the
// segment.
#pragma once

#include <bit>
#include <cstdint>
#include <string>

namespace rawcache {

static_assert(sizeof(void*) == 8, "rawcache is built for 64-bit machines");
static_assert(std::endian::native == std::endian::little,
              "structures are copied to and from the disk as they are in memory");

/// 128 random bits made when a cache is formatted.
struct CacheId {
  std::uint64_t hi = 0, lo = 0;
  friend bool operator==(const CacheId&, const CacheId&) = default;
};
/// 32 lower-case hex digits.
std::string to_string(const CacheId& id);

/// Where bytes belong. A block that was written elsewhere, for another cache or in an earlier life
/// of its segment has another place, so its checksums do not verify.
struct Place {
  CacheId id;
  std::uint64_t offset = 0;      ///< bytes from the start of the disk
  std::uint32_t generation = 0;  ///< of the segment, or of the checkpoint
};

/// A hash of the place; the seed of every checksum.
std::uint64_t place_seed(const Place& place);

}  // namespace rawcache
