// Compiled for AVX-512, so it includes nothing that other files might share the code of.
#include "base/checksum_isa.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rawcache {

std::uint64_t hash64_avx512(const void* bytes, std::size_t size, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

}  // namespace rawcache
