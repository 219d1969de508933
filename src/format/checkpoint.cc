#include "format/checkpoint.h"

#include <algorithm>

#include "base/math.h"
#include "base/mutant.h"
#include "format/bytes.h"

namespace rawcache {

namespace {

constexpr std::uint64_t kPageCountBytes = 2;
constexpr std::uint64_t kSlotBytes = 8;

/// Checkpoints carry their own generation, which grows with every one, so the place has none.
std::uint64_t checkpoint_seed(Place place) {
  place.generation = 0;
  return place_seed(place);
}

/// The hash of the header with the payload's hash in the place of the checksum.
std::uint64_t chunk_checksum(ChunkHeader header, std::span<const std::byte> payload,
                             const Place& place) {
  header.checksum = hash64(payload);
  return hash_struct(header, checkpoint_seed(place));
}

}  // namespace

std::uint64_t checkpoint_area_bytes(std::uint64_t stream_bytes, std::uint32_t block_bytes) {
  const std::uint64_t whole = stream_bytes / kChunkPayloadBytes;
  const std::uint64_t rest = stream_bytes % kChunkPayloadBytes;
  const std::uint64_t last = rest == 0 ? 0 : round_up(sizeof(ChunkHeader) + rest, block_bytes);
  return block_bytes + whole * kCheckpointChunkBytes + last;
}

std::uint64_t checkpoint_stream_bytes_max(std::uint64_t segments, std::uint64_t index_pages,
                                          std::uint64_t entries_max) {
  return segments * sizeof(SegmentRecord) + index_pages * kPageCountBytes +
         entries_max * kSlotBytes;
}

void encode_checkpoint_header(std::span<std::byte> out, CheckpointHeader header,
                              const Place& place) {
  header.magic = kCheckpointMagic;
  header.checksum = checksum_of(header, checkpoint_seed(place));
  std::ranges::fill(out, std::byte{0});
  save(out, header);
}

std::optional<CheckpointHeader> decode_checkpoint_header(std::span<const std::byte> bytes,
                                                         const Place& place) {
  if (bytes.size() < sizeof(CheckpointHeader)) return std::nullopt;
  const auto header = load<CheckpointHeader>(bytes);
  if (header.magic != kCheckpointMagic) return std::nullopt;
  if (header.checksum != checksum_of(header, checkpoint_seed(place))) return std::nullopt;
  // The stream holds at least the records and slots that the header counts.
  const std::uint64_t table_bytes = std::uint64_t{header.segments} * sizeof(SegmentRecord);
  if (header.stream_bytes < table_bytes) return std::nullopt;
  if (header.entries > (header.stream_bytes - table_bytes) / kSlotBytes) return std::nullopt;
  return header;
}

std::uint64_t encode_chunk(std::span<std::byte> chunk, std::uint32_t number,
                           std::uint64_t generation, std::uint64_t payload_bytes,
                           const Place& place) {
  RAWCACHE_ASSERT(chunk.size() >= sizeof(ChunkHeader));
  RAWCACHE_ASSERT(payload_bytes <= chunk.size() - sizeof(ChunkHeader));
  ChunkHeader header{.magic = kChunkMagic,
                     .number = number,
                     .generation = generation,
                     .payload_bytes = payload_bytes,
                     .checksum = 0};
  header.checksum =
      chunk_checksum(header, chunk.subspan(sizeof(ChunkHeader), payload_bytes), place);
  save(chunk, header);
  return header.checksum;
}

std::optional<ChunkHeader> decode_chunk(std::span<const std::byte> chunk, std::uint32_t number,
                                        std::uint64_t generation, const Place& place) {
  if (chunk.size() < sizeof(ChunkHeader)) return std::nullopt;
  const auto header = load<ChunkHeader>(chunk);
  if (header.magic != kChunkMagic || header.number != number) return std::nullopt;
  if (header.generation != generation && !mutated(Mutant::kChunkOfAnyGeneration)) {
    return std::nullopt;
  }
  if (header.payload_bytes > chunk.size() - sizeof(ChunkHeader)) return std::nullopt;
  const auto payload = chunk.subspan(sizeof(ChunkHeader), header.payload_bytes);
  if (header.checksum != chunk_checksum(header, payload, place)) return std::nullopt;
  return header;
}

}  // namespace rawcache
