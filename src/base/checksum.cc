#include "base/checksum.h"

#include "base/checksum_isa.h"

// Inlined here and nowhere else: no symbol of xxHash leaves this file.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rawcache {
namespace {

/// Below this the width of the registers does not matter: XXH3 has paths of its own.
constexpr std::size_t kWideBytesMin = 241;

std::uint64_t hash64_baseline(const void* bytes, std::size_t size, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

using Hash64 = std::uint64_t (*)(const void*, std::size_t, std::uint64_t);

Hash64 widest() {
#if defined(RAWCACHE_WIDE_CHECKSUMS)
  if (__builtin_cpu_supports("avx512f")) return hash64_avx512;
  if (__builtin_cpu_supports("avx2")) return hash64_avx2;
#endif
  return hash64_baseline;
}

}  // namespace

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  if (bytes.size() < kWideBytesMin) return hash64_baseline(bytes.data(), bytes.size(), seed);
  static const Hash64 hash = widest();
  return hash(bytes.data(), bytes.size(), seed);
}

}  // namespace rawcache
