// The segment footer: the list of a sealed segment's entries, so that neither recovery nor reclaim
// reads payload. Records from the start of the footer, the trailer in its last 64 bytes, which are
// the last of the segment. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "format/entry.h"
#include "format/identity.h"

namespace rawcache {

inline constexpr std::uint32_t kFooterMagic = 0x544F4F46;  // "FOOT"

/// Where an entry is appended. Each stream fills a segment of its own.
enum class Stream : std::uint8_t {
  small = 0,  ///< what is stored
  main = 1,   ///< copies of entries that have proved their worth
};
inline constexpr std::size_t kStreams = 2;

/// One entry. Packed into 20 bytes on disk.
struct FooterRecord {
  std::uint64_t key_hash = 0;
  std::uint64_t sequence = 0;  ///< of the entry; a copy keeps it
  /// From the segment's start, in units of the entry alignment; 22 bits.
  std::uint32_t offset_units = 0;
  std::uint8_t size_class = 0;
  EntryKind kind = EntryKind::value;  ///< 2 bits on disk; withdrawn records are skipped
};
inline constexpr std::size_t kFooterRecordBytes = 20;
inline constexpr unsigned kFooterOffsetBits = 22;

struct FooterTrailer {
  std::uint32_t magic;
  std::uint32_t generation;
  std::uint32_t records;
  std::uint32_t next_segment;  ///< the segment that the stream goes on in, or kNoSegment
  std::uint64_t first_batch;   ///< sequences of the batches that begin or go on in this segment
  std::uint64_t last_batch;
  std::uint64_t records_checksum;
  std::uint64_t next_sequence;     ///< above every entry sequence in this segment
  std::uint32_t previous_segment;  ///< the one that the stream filled before, or kNoSegment
  std::uint32_t stream;            ///< Stream
  std::uint64_t checksum;          ///< of this trailer
};
static_assert(sizeof(FooterTrailer) == 64 &&
              std::has_unique_object_representations_v<FooterTrailer>);

/// Size of a footer on disk: records and trailer, rounded up to whole blocks.
std::uint64_t footer_bytes(std::uint64_t records, std::uint32_t block_bytes);

/// Writes a whole footer. `out` is footer_bytes(records.size()) long and ends with the segment;
/// place.offset is the offset of the segment's start. Fills in magic, records and checksums.
void encode_footer(std::span<std::byte> out, std::span<const FooterRecord> records,
                   FooterTrailer trailer, const Place& place);

/// The trailer in the last 64 bytes of `bytes`, which end with the segment. place.offset is the
/// segment's start; its generation is ignored, the trailer's own is checked by its checksum.
std::optional<FooterTrailer> decode_footer_trailer(std::span<const std::byte> bytes,
                                                   const Place& place);

/// The records; `bytes` is the whole footer. nullopt if they do not verify.
std::optional<std::vector<FooterRecord>> decode_footer_records(std::span<const std::byte> bytes,
                                                               const FooterTrailer& trailer,
                                                               const Place& place);

}  // namespace rawcache
