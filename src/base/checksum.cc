#include "base/checksum.h"

// Inlined here and nowhere else: no symbol of xxHash leaves this file.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rawcache {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace rawcache
