// The checkpoint: the saved index and segment table. A header block, then the stream (segment
// table, then the index pages) in chunks that each carry a checksum, then perhaps hints in chunks
// of their own: what eviction has learnt and may forget. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "format/identity.h"
#include "format/segment.h"

namespace rawcache {

inline constexpr std::uint32_t kCheckpointMagic = 0x54504B43;  // "CKPT"
inline constexpr std::uint32_t kChunkMagic = 0x4B4E4843;       // "CHNK"
/// A chunk on disk, header included; the last one is cut to whole blocks.
inline constexpr std::uint64_t kCheckpointChunkBytes = std::uint64_t{1} << 20;

struct CheckpointHeader {
  std::uint32_t magic;
  std::uint32_t segments;       ///< records in the segment table
  std::uint64_t generation;     ///< grows with every checkpoint; the newer valid one counts
  std::uint64_t replay_from;    ///< batches from this sequence on are not contained: replay them
  std::uint64_t next_batch;     ///< lowest batch sequence never used yet
  std::uint64_t next_sequence;  ///< lowest entry sequence never used yet
  std::uint64_t time_high;      ///< highest time seen, Unix seconds
  /// The segment that each stream was in when the snapshot began, or kNoSegment.
  std::uint32_t open_segment[kStreams];
  /// The segment that each stream filled before the open one, or kNoSegment.
  std::uint32_t previous_segment[kStreams];
  std::uint64_t entries;  ///< index slots in the stream
  std::uint64_t stream_bytes;
  std::uint64_t stream_digest;  ///< of the chunks' checksums, in order (digest_next)
  std::uint64_t closed;         ///< 1: written by an orderly close, nothing followed it
  std::uint64_t hint_bytes;     ///< behind the stream; 0: none
  std::uint64_t hint_digest;    ///< of their chunks' checksums, in order
  std::uint64_t reserved[1];
  std::uint64_t checksum;
};
static_assert(sizeof(CheckpointHeader) == 128 &&
              std::has_unique_object_representations_v<CheckpointHeader>);

struct ChunkHeader {
  std::uint32_t magic;
  std::uint32_t number;  ///< 0-based
  std::uint64_t generation;
  std::uint64_t payload_bytes;
  std::uint64_t checksum;  ///< of this header and the payload
};
static_assert(sizeof(ChunkHeader) == 32 && std::has_unique_object_representations_v<ChunkHeader>);

enum class SegmentState : std::uint8_t { free = 0, open = 1, sealed = 2 };

struct SegmentRecord {
  std::uint64_t first_batch;  ///< 0 if free
  std::uint64_t last_batch;
  std::uint32_t generation;  ///< of the current or, if free, the last life
  std::uint8_t state;        ///< SegmentState
  std::uint8_t stream;       ///< Stream that filled it
  std::uint8_t label;        ///< Stream that eviction counts it to
  std::uint8_t reserved;
  std::uint64_t queue_position;  ///< lower ones of a label are reclaimed first
};
static_assert(sizeof(SegmentRecord) == 32 &&
              std::has_unique_object_representations_v<SegmentRecord>);

/// A key that was evicted unasked, as the hints name it: by the bucket that it lies in and this.
struct RememberedKey {
  std::uint16_t tag;  ///< of the key's hash, never 0
  std::uint16_t age;  ///< since it was evicted, in 1024ths of the time that it is remembered
};
static_assert(sizeof(RememberedKey) == 4 &&
              std::has_unique_object_representations_v<RememberedKey>);

/// What a chunk holds at most.
inline constexpr std::uint64_t kChunkPayloadBytes = kCheckpointChunkBytes - sizeof(ChunkHeader);
/// Space that one area needs: header block and chunks for a stream of this size.
std::uint64_t checkpoint_area_bytes(std::uint64_t stream_bytes, std::uint32_t block_bytes);
/// Largest stream: every segment, every page, every entry.
std::uint64_t checkpoint_stream_bytes_max(std::uint64_t segments, std::uint64_t index_pages,
                                          std::uint64_t entries_max);

/// Fills in magic and checksum and writes the header to the start of `out` (one block, rest zero).
/// place.offset is the area's; place.generation is ignored here and for chunks.
void encode_checkpoint_header(std::span<std::byte> out, CheckpointHeader header,
                              const Place& place);
std::optional<CheckpointHeader> decode_checkpoint_header(std::span<const std::byte> bytes,
                                                         const Place& place);

/// `chunk` starts with room for the header, followed by payload_bytes of payload. place.offset is
/// the chunk's. Returns the checksum.
std::uint64_t encode_chunk(std::span<std::byte> chunk, std::uint32_t number,
                           std::uint64_t generation, std::uint64_t payload_bytes,
                           const Place& place);
/// The verified chunk's header; payload follows it. Checks number and generation too.
std::optional<ChunkHeader> decode_chunk(std::span<const std::byte> chunk, std::uint32_t number,
                                        std::uint64_t generation, const Place& place);

}  // namespace rawcache
