// The hash function compiled for wider registers; the same values. Only checksum.cc calls it, and
// only where the processor has them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rawcache {

std::uint64_t hash64_avx2(const void* bytes, std::size_t size, std::uint64_t seed);
std::uint64_t hash64_avx512(const void* bytes, std::size_t size, std::uint64_t seed);

}  // namespace rawcache
