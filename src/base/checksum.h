// The one hash function: XXH3, 64 bits. For checksums, key hashes and seeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rawcache {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

}  // namespace rawcache
