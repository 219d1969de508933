// The superblock: what a cache is and where its parts lie. Two copies, A and B. Bytes:
// docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "format/identity.h"
#include "rawcache/options.h"
#include "rawcache/result.h"

namespace rawcache {

inline constexpr std::uint64_t kSuperblockMagic = 0x3145484341435752;  // "RWCACHE1"
inline constexpr std::uint32_t kFormatVersion = 2;
/// Each copy has the largest block to itself, so that writing one never touches the other, and is
/// found before the block size is known.
inline constexpr std::uint64_t kSuperblockOffsets[2] = {0, 65536};
inline constexpr std::uint64_t kSuperblockAreaBytes = 131072;

inline constexpr std::uint32_t kBlockBytesMin = 512;
inline constexpr std::uint32_t kBlockBytesMax = 65536;
inline constexpr std::uint64_t kSegmentBytesMax = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kSegmentBlocksMin = 4;
inline constexpr std::uint32_t kSegmentsMin = 4;
inline constexpr std::uint32_t kEntryAlignmentMin = 4;
/// Units of the entry alignment that a location in the index can tell apart, from the disk's start.
inline constexpr unsigned kLocationBitsMax = 36;
inline constexpr std::uint64_t kDeviceBytesMax = std::uint64_t{1} << 60;
inline constexpr std::uint64_t kExpectedEntriesMax = std::uint64_t{1} << 40;
inline constexpr std::uint64_t kEntriesMin = 64;
inline constexpr std::uint64_t kEntriesPerIndexPage = 128;

/// The size, and the places of magic, version, id and checksum, are the same in all versions.
struct Superblock {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t block_bytes;
  /// Grows with every write of a superblock; the newer copy counts.
  std::uint64_t write_generation;
  CacheId id;
  std::uint64_t device_bytes;  ///< size of the device when formatted
  std::uint64_t segment_bytes;
  std::uint64_t checkpoint_offset[2];
  std::uint64_t checkpoint_bytes;  ///< size of each area
  std::uint64_t segments_offset;
  std::uint32_t segments;
  std::uint32_t entry_alignment;  ///< unit of entry offsets: a power of two up to block_bytes
  std::uint32_t index_pages;
  std::uint32_t created;  ///< Unix time, seconds
  std::uint64_t entries_max;
  std::uint64_t dead_below_batch;     ///< batches below this sequence are gone (clear)
  std::uint64_t dead_below_sequence;  ///< the first entry sequence after the last clear
  std::uint64_t time_high;            ///< highest time known when written, Unix seconds
  /// The checkpoint of an orderly close after which the cache has been opened since, or 0. What was
  /// written then may have left traces that recovery does not see, so it skips their numbers.
  std::uint64_t opened_checkpoint;
  /// Everything is gone from this second on, or 0: see RawDiskCache::clear_at.
  std::uint64_t clear_at;
  std::uint64_t reserved[44];
  std::uint64_t checksum;

  /// End of the last segment: what is used of the device.
  std::uint64_t segments_end() const { return segments_offset + segments * segment_bytes; }
};
static_assert(sizeof(Superblock) == 512 && std::has_unique_object_representations_v<Superblock>);

/// Lays out a cache on a device. Pure. `id`, `created` and `write_generation` are left zero.
/// Errors: invalid_options, capacity_too_small, with a message that says the bound.
Result<Superblock> lay_out(const FormatOptions& options, std::uint64_t device_bytes,
                           std::uint32_t io_alignment);

/// Largest entry that fits a segment, exact bytes.
std::uint64_t entry_bytes_max(const Superblock& superblock);

/// Fills in magic, version and checksum, and writes the superblock to the start of `out`; the rest
/// of `out` (block_bytes long) becomes zero. `copy` is 0 (A) or 1 (B) and covered by the checksum.
void encode_superblock(std::span<std::byte> out, Superblock superblock, int copy);

enum class SuperblockError : std::uint8_t {
  absent,   ///< no magic: this was never a cache, or the copy is wiped
  version,  ///< a version that this build does not know, under a checksum that is right
  damaged,  ///< magic, but the checksum or a field is wrong
};

/// Decodes and checks one copy: magic, checksum, version, and every field against every other (no
/// overlap, no overflow, powers of two, inside device_bytes), so that what uses it need not doubt
/// it.
std::expected<Superblock, SuperblockError> decode_superblock(std::span<const std::byte> bytes,
                                                             int copy);

}  // namespace rawcache
