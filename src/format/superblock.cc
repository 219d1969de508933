#include "format/superblock.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "base/math.h"
#include "base/mutant.h"
#include "format/batch.h"
#include "format/bytes.h"
#include "format/checkpoint.h"
#include "format/segment.h"
#include "format/size_class.h"

namespace rawcache {

namespace {

constexpr std::uint64_t kSegmentsAlignment = 4096;
constexpr std::uint64_t kSegmentsByDefault = 256;
constexpr std::uint64_t kBytesPerEntryByDefault = 512;
constexpr std::uint64_t kSegmentsMax = kNoSegment - 1;
/// lay_out stays below it; a superblock that does not was not made by it.
constexpr std::uint64_t kEntriesPerIndexPageMax = 512;

static_assert(kSegmentBytesMax <= kSizeClassBytesMax);

bool is_block_size(std::uint64_t n) {
  return std::has_single_bit(n) && n >= kBlockBytesMin && n <= kBlockBytesMax;
}

bool is_segment_size(std::uint64_t n, std::uint32_t block_bytes) {
  return n % block_bytes == 0 && n >= kSegmentBlocksMin * block_bytes && n <= kSegmentBytesMax;
}

/// Room for entries and how the index is cut, from what the options expect.
struct IndexGeometry {
  std::uint64_t entries_max = 0;
  std::uint32_t pages = 0;
};

IndexGeometry index_geometry(const FormatOptions& options, std::uint64_t capacity) {
  const std::uint64_t expected =
      options.expected_entries != 0
          ? options.expected_entries
          : std::min(capacity / kBytesPerEntryByDefault, kExpectedEntriesMax);
  const std::uint64_t pages = std::clamp<std::uint64_t>(expected / kEntriesPerIndexPage, 1,
                                                        std::numeric_limits<std::uint32_t>::max());
  return {std::max(expected + expected / 4, kEntriesMin), static_cast<std::uint32_t>(pages)};
}

/// Where the parts lie when there are `segments` segments.
struct Offsets {
  std::uint64_t checkpoint_bytes = 0;
  std::uint64_t segments_offset = 0;
};

Offsets offsets(std::uint64_t segments, const IndexGeometry& index, std::uint32_t block_bytes) {
  Offsets result;
  result.checkpoint_bytes = checkpoint_area_bytes(
      checkpoint_stream_bytes_max(segments, index.pages, index.entries_max), block_bytes);
  result.segments_offset = round_up(kSuperblockAreaBytes + 2 * result.checkpoint_bytes,
                                    std::max<std::uint64_t>(kSegmentsAlignment, block_bytes));
  return result;
}

std::uint64_t bytes_needed(std::uint64_t segments, std::uint64_t segment_bytes,
                           const IndexGeometry& index, std::uint32_t block_bytes) {
  return offsets(segments, index, block_bytes).segments_offset + segments * segment_bytes;
}

std::uint64_t default_segment_bytes(std::uint64_t capacity, const IndexGeometry& index,
                                    std::uint32_t block_bytes) {
  const std::uint64_t overhead = offsets(kSegmentsByDefault, index, block_bytes).segments_offset;
  const std::uint64_t share =
      capacity > overhead ? round_down((capacity - overhead) / kSegmentsByDefault, block_bytes) : 0;
  return std::clamp(share, kSegmentBlocksMin * block_bytes, kSegmentBytesMax);
}

/// The most segments that fit, found by bisection: each adds a little to the checkpoints, too.
std::uint64_t most_segments(std::uint64_t capacity, std::uint64_t segment_bytes,
                            const IndexGeometry& index, std::uint32_t block_bytes) {
  std::uint64_t fit = 0;
  std::uint64_t too_many = std::min(capacity / segment_bytes, kSegmentsMax) + 1;
  while (too_many - fit > 1) {
    const std::uint64_t middle = fit + (too_many - fit) / 2;
    const bool fits = bytes_needed(middle, segment_bytes, index, block_bytes) <= capacity;
    (fits ? fit : too_many) = middle;
  }
  return fit;
}

/// The least capacity that these options fit. Where they leave the number of entries open it grows
/// with the capacity, so the least one is a fixed point.
std::uint64_t least_capacity(const FormatOptions& options) {
  const std::uint64_t segment_bytes =
      options.segment_bytes != 0 ? options.segment_bytes : kSegmentBlocksMin * options.block_bytes;
  std::uint64_t capacity = 0;
  for (;;) {
    const std::uint64_t needed = bytes_needed(
        kSegmentsMin, segment_bytes, index_geometry(options, capacity), options.block_bytes);
    if (needed <= capacity) return capacity;
    capacity = needed;
  }
}

Error invalid(std::string detail) { return {Errc::invalid_options, std::move(detail)}; }

Result<void> check_options(const FormatOptions& options, std::uint64_t device_bytes,
                           std::uint32_t io_alignment) {
  const std::string device = std::to_string(device_bytes);
  if (device_bytes > kDeviceBytesMax) {
    return std::unexpected(invalid("a device of " + device + " bytes is larger than 2^60"));
  }
  if (!is_block_size(options.block_bytes)) {
    return std::unexpected(invalid("block_bytes is " + std::to_string(options.block_bytes) +
                                   ", but must be a power of two from 512 to 65536"));
  }
  if (!std::has_single_bit(io_alignment) || options.block_bytes % io_alignment != 0) {
    return std::unexpected(invalid("block_bytes is " + std::to_string(options.block_bytes) +
                                   ", but the device needs a multiple of " +
                                   std::to_string(io_alignment)));
  }
  if (options.segment_bytes != 0 && !is_segment_size(options.segment_bytes, options.block_bytes)) {
    return std::unexpected(invalid("segment_bytes is " + std::to_string(options.segment_bytes) +
                                   ", but must be a multiple of block_bytes (" +
                                   std::to_string(options.block_bytes) +
                                   "), at least 4 blocks and at most 64 MiB"));
  }
  if (options.expected_entries > kExpectedEntriesMax) {
    return std::unexpected(invalid("expected_entries is " +
                                   std::to_string(options.expected_entries) +
                                   ", but must be at most 2^40"));
  }
  if (options.capacity > device_bytes) {
    return std::unexpected(invalid("capacity is " + std::to_string(options.capacity) +
                                   " bytes, but the device has only " + device));
  }
  return {};
}

/// Whether the layout lies in order and inside the device. All terms are bounded before they are
/// added.
bool layout_holds(const Superblock& s) {
  const auto on_device = [&](std::uint64_t n) { return n <= s.device_bytes; };
  if (!on_device(s.checkpoint_offset[0]) || !on_device(s.checkpoint_offset[1]) ||
      !on_device(s.checkpoint_bytes) || !on_device(s.segments_offset)) {
    return false;
  }
  for (const std::uint64_t n :
       {s.checkpoint_offset[0], s.checkpoint_offset[1], s.checkpoint_bytes, s.segments_offset}) {
    if (!is_aligned(n, s.block_bytes)) return false;
  }
  return s.checkpoint_offset[0] >= kSuperblockAreaBytes &&
         s.checkpoint_offset[1] >= s.checkpoint_offset[0] + s.checkpoint_bytes &&
         s.segments_offset >= s.checkpoint_offset[1] + s.checkpoint_bytes &&
         is_aligned(s.segments_offset, kSegmentsAlignment) && on_device(s.segments_end());
}

/// Whether the index and its checkpoint are of a size that lay_out would give them.
bool index_holds(const Superblock& s) {
  if (s.entries_max < kEntriesMin || s.entries_max > kExpectedEntriesMax / 4 * 5) return false;
  if (s.index_pages == 0 ||
      s.index_pages > std::max<std::uint64_t>(1, s.entries_max / kEntriesPerIndexPage) ||
      s.entries_max / s.index_pages > kEntriesPerIndexPageMax) {
    return false;
  }
  const std::uint64_t stream =
      checkpoint_stream_bytes_max(s.segments, s.index_pages, s.entries_max);
  return s.checkpoint_bytes >= checkpoint_area_bytes(stream, s.block_bytes);
}

bool geometry_holds(const Superblock& s) {
  if (!is_block_size(s.block_bytes) || s.device_bytes > kDeviceBytesMax) return false;
  if (!is_segment_size(s.segment_bytes, s.block_bytes)) return false;
  if (s.segments < kSegmentsMin || s.segments > kSegmentsMax) return false;
  if (!std::has_single_bit(s.entry_alignment) || s.entry_alignment < kEntryAlignmentMin ||
      s.entry_alignment > s.block_bytes) {
    return false;
  }
  return layout_holds(s) &&
         s.segments_end() / s.entry_alignment < std::uint64_t{1} << kLocationBitsMax &&
         index_holds(s);
}

std::uint64_t superblock_seed(const Superblock& superblock, int copy) {
  RAWCACHE_ASSERT(copy == 0 || copy == 1);
  return place_seed({.id = superblock.id, .offset = kSuperblockOffsets[copy], .generation = 0});
}

}  // namespace

Result<Superblock> lay_out(const FormatOptions& options, std::uint64_t device_bytes,
                           std::uint32_t io_alignment) {
  if (auto checked = check_options(options, device_bytes, io_alignment); !checked) {
    return std::unexpected(checked.error());
  }
  const std::uint64_t capacity = options.capacity != 0 ? options.capacity : device_bytes;
  const std::uint32_t block_bytes = options.block_bytes;
  const IndexGeometry index = index_geometry(options, capacity);
  const std::uint64_t segment_bytes = options.segment_bytes != 0
                                          ? options.segment_bytes
                                          : default_segment_bytes(capacity, index, block_bytes);
  const std::uint64_t segments = most_segments(capacity, segment_bytes, index, block_bytes);
  if (segments < kSegmentsMin) {
    return std::unexpected(Error(Errc::capacity_too_small,
                                 std::to_string(capacity) + " bytes, but these options need " +
                                     std::to_string(least_capacity(options))));
  }
  const Offsets at = offsets(segments, index, block_bytes);

  Superblock s{};
  s.magic = kSuperblockMagic;
  s.version = kFormatVersion;
  s.block_bytes = block_bytes;
  s.device_bytes = device_bytes;
  s.segment_bytes = segment_bytes;
  s.checkpoint_offset[0] = kSuperblockAreaBytes;
  s.checkpoint_offset[1] = kSuperblockAreaBytes + at.checkpoint_bytes;
  s.checkpoint_bytes = at.checkpoint_bytes;
  s.segments_offset = at.segments_offset;
  s.segments = static_cast<std::uint32_t>(segments);
  s.index_pages = index.pages;
  s.entries_max = index.entries_max;
  std::uint64_t alignment = kEntryAlignmentMin;
  while (s.segments_end() / alignment >= std::uint64_t{1} << kLocationBitsMax) alignment *= 2;
  if (alignment > block_bytes) {
    return std::unexpected(invalid("capacity is " + std::to_string(capacity) +
                                   " bytes, which needs block_bytes of at least " +
                                   std::to_string(alignment)));
  }
  s.entry_alignment = static_cast<std::uint32_t>(alignment);
  RAWCACHE_ASSERT(geometry_holds(s));
  return s;
}

std::uint64_t entry_bytes_max(const Superblock& superblock) {
  // Alone in its segment: behind a batch header, before a footer of one record.
  return superblock.segment_bytes - round_up(sizeof(BatchHeader), superblock.entry_alignment) -
         footer_bytes(kFooterRecordBytesMax, superblock.block_bytes);
}

void encode_superblock(std::span<std::byte> out, Superblock superblock, int copy) {
  superblock.magic = kSuperblockMagic;
  superblock.version = kFormatVersion;
  superblock.checksum = checksum_of(superblock, superblock_seed(superblock, copy));
  std::ranges::fill(out, std::byte{0});
  save(out, superblock);
}

std::expected<Superblock, SuperblockError> decode_superblock(std::span<const std::byte> bytes,
                                                             int copy) {
  if (bytes.size() < sizeof(Superblock)) return std::unexpected(SuperblockError::absent);
  const auto superblock = load<Superblock>(bytes);
  if (superblock.magic != kSuperblockMagic) return std::unexpected(SuperblockError::absent);
  // The checksum first: a torn sector must not be taken for a version of the future.
  if (superblock.checksum != checksum_of(superblock, superblock_seed(superblock, copy)) &&
      !mutated(Mutant::kSuperblockChecksumIgnored)) {
    return std::unexpected(SuperblockError::damaged);
  }
  if (superblock.version != kFormatVersion && !mutated(Mutant::kAnyVersionAccepted)) {
    return std::unexpected(SuperblockError::version);
  }
  if (!geometry_holds(superblock)) return std::unexpected(SuperblockError::damaged);
  return superblock;
}

}  // namespace rawcache
