// Seals the structures of a damaged image, so that a fuzzer gets past the checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "format/superblock.h"

namespace rawcache::fuzz {

/// Which kinds of structures get right checksums.
enum Sealed : std::uint8_t {
  kSuperblocks = 1,
  kCheckpoints = 2,
  kBatches = 4,  ///< headers, and the entries that are well-formed
  kFooters = 8,
};

/// Recomputes checksums and digests of everything that lies where `geometry` says and has its
/// magic.
void seal(std::span<std::byte> image, const Superblock& geometry, std::uint8_t kinds);

}  // namespace rawcache::fuzz
