#include "fuzz/seal.h"

#include <algorithm>
#include <string>

#include "base/math.h"
#include "format/batch.h"
#include "format/bytes.h"
#include "format/checkpoint.h"
#include "format/segment.h"
#include "rawcache/options.h"

namespace rawcache::fuzz {
namespace {

template <typename T>
void seal_struct(std::span<std::byte> at, T value, const Place& place) {
  value.checksum = checksum_of(value, place_seed(place));
  save(at, value);
}

void seal_superblocks(std::span<std::byte> image) {
  for (const std::uint64_t offset : kSuperblockOffsets) {
    const auto copy = load<Superblock>(image.subspan(offset));
    if (copy.magic != kSuperblockMagic) continue;
    seal_struct(image.subspan(offset), copy, {.id = copy.id, .offset = offset});
  }
}

/// Seals chunks from `at` on that hold `bytes`, and returns their digest.
std::uint64_t seal_chunks(std::span<std::byte> image, const Superblock& geometry, std::uint64_t at,
                          std::uint64_t end, std::uint64_t bytes) {
  std::uint64_t digest = kDigestStart;
  for (std::uint64_t sealed = 0; sealed < bytes && at < end;) {
    const auto place = image.subspan(at, std::min(kCheckpointChunkBytes, end - at));
    if (place.size() < sizeof(ChunkHeader)) break;
    const auto chunk = load<ChunkHeader>(place);
    if (chunk.magic != kChunkMagic || chunk.payload_bytes > place.size() - sizeof chunk) break;
    digest =
        digest_next(digest, encode_chunk(place, chunk.number, chunk.generation, chunk.payload_bytes,
                                         {.id = geometry.id, .offset = at}));
    sealed += chunk.payload_bytes;
    at += place.size();
  }
  return digest;
}

void seal_checkpoint(std::span<std::byte> image, const Superblock& geometry, int area) {
  const std::uint64_t offset = geometry.checkpoint_offset[area];
  const std::uint64_t end = offset + geometry.checkpoint_bytes;
  auto header = load<CheckpointHeader>(image.subspan(offset));
  if (header.magic != kCheckpointMagic) return;
  header.stream_digest =
      seal_chunks(image, geometry, offset + geometry.block_bytes, end, header.stream_bytes);
  if (header.stream_bytes <= geometry.checkpoint_bytes) {
    const std::uint64_t hints =
        offset + checkpoint_area_bytes(header.stream_bytes, geometry.block_bytes);
    header.hint_digest = seal_chunks(image, geometry, hints, end, header.hint_bytes);
  }
  seal_struct(image.subspan(offset), header, {.id = geometry.id, .offset = offset});
}

/// The entry at `at`, if it can be one; returns its size and continues the digest.
std::size_t seal_entry(std::span<std::byte> bytes, const Place& place, std::uint64_t& digest) {
  if (bytes.size() < sizeof(EntryHeader)) return 0;
  const auto header = load<EntryHeader>(bytes);
  const std::size_t size = entry_bytes(header.key_bytes, header.value_bytes, header.flags);
  if (header.flags > kEntryHasAll || header.key_bytes == 0 || header.key_bytes > kKeyBytesMax ||
      header.kind != static_cast<std::uint8_t>(EntryKind::value) ||
      header.value_bytes > kEntryValueBytesMax || size > bytes.size()) {
    return 0;
  }
  EntryFields entry;
  entry.sequence = header.sequence;
  std::size_t at = sizeof header;
  const auto field = [&](std::uint8_t flag) -> std::uint32_t {
    if ((header.flags & flag) == 0) return 0;
    const auto word = std::max(load<std::uint32_t>(bytes.subspan(at)), 1U);
    at += kEntryFieldBytes;
    return word;
  };
  entry.expires_at = field(kEntryHasExpiry);
  entry.user_flags = field(kEntryHasUserFlags);
  if (const std::uint32_t word = field(kEntryHasEncoding); word != 0) {
    const auto encoding = parse_encoding(word);
    if (!encoding) return 0;
    entry.encoding = *encoding;
  }
  const std::string key(reinterpret_cast<const char*>(bytes.data()) + at, header.key_bytes);
  const std::string value(reinterpret_cast<const char*>(bytes.data()) + at + key.size(),
                          header.value_bytes);
  entry.key = key;
  entry.key_hash = hash_key(key, place.id);
  entry.value = std::as_bytes(std::span(value));
  entry.value_hash = hash_value(entry.value);
  digest = digest_next(digest, encode_entry(bytes, entry, place));
  return size;
}

void seal_batches(std::span<std::byte> image, const Superblock& geometry) {
  const std::uint64_t end = std::min<std::uint64_t>(geometry.segments_end(), image.size());
  for (std::uint64_t at = geometry.segments_offset; at < end; at += geometry.block_bytes) {
    auto header = load<BatchHeader>(image.subspan(at));
    if (header.magic != kBatchMagic) continue;
    const std::uint64_t part_end = std::min<std::uint64_t>(end, at + header.bytes);
    Place place{.id = geometry.id, .offset = at, .generation = header.generation};
    header.digest = kDigestStart;
    std::uint64_t entry = round_up(at + sizeof header, geometry.entry_alignment);
    for (std::uint32_t i = 0; i < header.entries && entry < part_end; ++i) {
      place.offset = entry;
      const auto size = seal_entry(image.subspan(entry, part_end - entry), place, header.digest);
      if (size == 0) break;
      entry = round_up(entry + size, geometry.entry_alignment);
    }
    place.offset = at;
    seal_struct(image.subspan(at), header, place);
  }
}

void seal_footers(std::span<std::byte> image, const Superblock& geometry) {
  for (std::uint64_t i = 0; i < geometry.segments; ++i) {
    const std::uint64_t start = geometry.segments_offset + i * geometry.segment_bytes;
    const auto segment = image.subspan(start, geometry.segment_bytes);
    auto trailer = load<FooterTrailer>(segment.last(sizeof(FooterTrailer)));
    if (trailer.magic != kFooterMagic) continue;
    const std::uint64_t size = footer_bytes(trailer.records_bytes, geometry.block_bytes);
    const Place place{.id = geometry.id, .offset = start, .generation = trailer.generation};
    if (size <= segment.size()) {
      trailer.records_checksum =
          hash64(segment.last(size).first(trailer.records_bytes), place_seed(place));
    }
    seal_struct(segment.last(sizeof trailer), trailer, place);
  }
}

}  // namespace

void seal(std::span<std::byte> image, const Superblock& geometry, std::uint8_t kinds) {
  if ((kinds & kSuperblocks) != 0) seal_superblocks(image);
  if ((kinds & kCheckpoints) != 0) {
    seal_checkpoint(image, geometry, 0);
    seal_checkpoint(image, geometry, 1);
  }
  if ((kinds & kBatches) != 0) seal_batches(image, geometry);
  if ((kinds & kFooters) != 0) seal_footers(image, geometry);
}

}  // namespace rawcache::fuzz
