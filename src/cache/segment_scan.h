// Reading segments back: block by block, or by their footer alone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cache/index.h"
#include "format/batch.h"
#include "format/segment.h"
#include "format/superblock.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

struct ScannedEntry {
  std::uint64_t key_hash = 0;
  std::uint64_t sequence = 0;
  Location location;
  std::uint32_t bytes = 0;  ///< rounded up to the entry alignment
  EntryKind kind = EntryKind::value;
};

/// A part of a batch, found by its header.
struct ScannedPart {
  BatchHeader header{};
  std::uint64_t offset = 0;                            ///< of the header on the disk
  bool complete = false;                               ///< every entry verifies and the digest fits
  std::vector<ScannedEntry> entries;                   ///< those that verify
  std::uint64_t end(std::uint32_t block_bytes) const;  ///< disk offset of the block after it
};

/// What a segment holds of its newest life.
struct SegmentScan {
  std::vector<ScannedPart> parts;  ///< in the order of their offsets
  std::uint64_t unreadable_bytes = 0;
  std::uint64_t bytes_read = 0;
};

/// Disk offset of a segment's start.
std::uint64_t segment_offset(const Superblock& superblock, std::uint32_t segment);

/// Reads all of a segment and finds the parts of its newest life: those of the generation of the
/// highest batch sequence. A bad block hides only what lies in it. Error: out_of_memory.
Result<SegmentScan> scan_segment(Disk& disk, const Superblock& superblock, std::uint32_t segment);

/// The header in the first block, if there is a valid one, of every segment.
struct Survey {
  std::vector<std::optional<BatchHeader>> headers;
  std::uint64_t unreadable = 0;  ///< first blocks that cannot be read
};
Survey survey_segments(Disk& disk, const Superblock& superblock);

std::optional<FooterTrailer> read_footer_trailer(Disk& disk, const Superblock& superblock,
                                                 std::uint32_t segment);
/// The records of a footer whose trailer has been read. `bytes_read` is increased.
std::optional<std::vector<FooterRecord>> read_footer_records(Disk& disk,
                                                             const Superblock& superblock,
                                                             std::uint32_t segment,
                                                             const FooterTrailer& trailer,
                                                             std::uint64_t& bytes_read);

}  // namespace rawcache
