#include "format/segment.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/mutant.h"
#include "format/bytes.h"

namespace rawcache {

namespace {

// The last word of a record: offset in the low bits, then the size class, then the kind.
constexpr unsigned kClassShift = kFooterOffsetBits;
constexpr unsigned kKindShift = kClassShift + 8;
static_assert(kKindShift + 2 == 32);
constexpr std::size_t kWordAt = kFooterRecordBytes - sizeof(std::uint32_t);
constexpr std::uint32_t kOffsetMask = (std::uint32_t{1} << kFooterOffsetBits) - 1;

/// Both checksums of a footer are seeded with the segment's start and its life.
std::uint64_t footer_seed(Place place, std::uint32_t generation) {
  place.generation = generation;
  return place_seed(place);
}

}  // namespace

std::uint64_t footer_bytes(std::uint64_t records, std::uint32_t block_bytes) {
  return round_up(records * kFooterRecordBytes + sizeof(FooterTrailer), block_bytes);
}

void encode_footer(std::span<std::byte> out, std::span<const FooterRecord> records,
                   FooterTrailer trailer, const Place& place) {
  const std::size_t records_bytes = records.size() * kFooterRecordBytes;
  RAWCACHE_ASSERT(out.size() >= records_bytes + sizeof(FooterTrailer));
  std::byte* at = out.data();
  for (const FooterRecord& record : records) {
    RAWCACHE_ASSERT(record.offset_units <= kOffsetMask);
    const std::uint32_t word = record.offset_units |
                               std::uint32_t{record.size_class} << kClassShift |
                               static_cast<std::uint32_t>(record.kind) << kKindShift;
    std::memcpy(at, &record.key_hash, sizeof(record.key_hash));
    std::memcpy(at + sizeof(record.key_hash), &record.sequence, sizeof(record.sequence));
    std::memcpy(at + kWordAt, &word, sizeof(word));
    at += kFooterRecordBytes;
  }
  const auto rest = out.subspan(records_bytes);
  std::ranges::fill(rest, std::byte{0});
  const std::uint64_t seed = footer_seed(place, trailer.generation);
  trailer.magic = kFooterMagic;
  trailer.records = static_cast<std::uint32_t>(records.size());
  trailer.records_checksum = hash64(out.first(records_bytes), seed);
  trailer.checksum = checksum_of(trailer, seed);
  save(rest.last(sizeof(trailer)), trailer);
}

std::optional<FooterTrailer> decode_footer_trailer(std::span<const std::byte> bytes,
                                                   const Place& place) {
  if (bytes.size() < sizeof(FooterTrailer)) return std::nullopt;
  const auto trailer = load<FooterTrailer>(bytes.last(sizeof(FooterTrailer)));
  if (trailer.magic != kFooterMagic || trailer.stream >= kStreams) return std::nullopt;
  if (trailer.checksum != checksum_of(trailer, footer_seed(place, trailer.generation))) {
    return std::nullopt;
  }
  return trailer;
}

std::optional<std::vector<FooterRecord>> decode_footer_records(std::span<const std::byte> bytes,
                                                               const FooterTrailer& trailer,
                                                               const Place& place) {
  if (bytes.size() < sizeof(FooterTrailer)) return std::nullopt;
  const std::uint64_t records_bytes = std::uint64_t{trailer.records} * kFooterRecordBytes;
  if (records_bytes > bytes.size() - sizeof(FooterTrailer)) return std::nullopt;
  if (hash64(bytes.first(records_bytes), footer_seed(place, trailer.generation)) !=
          trailer.records_checksum &&
      !mutated(Mutant::kFooterRecordsUnchecked)) {
    return std::nullopt;
  }
  std::vector<FooterRecord> records(trailer.records);
  const std::byte* at = bytes.data();
  for (FooterRecord& record : records) {
    std::uint32_t word = 0;
    std::memcpy(&record.key_hash, at, sizeof(record.key_hash));
    std::memcpy(&record.sequence, at + sizeof(record.key_hash), sizeof(record.sequence));
    std::memcpy(&word, at + kWordAt, sizeof(word));
    const std::uint32_t kind = word >> kKindShift;
    if (kind == 0) return std::nullopt;
    record.offset_units = word & kOffsetMask;
    record.size_class = static_cast<std::uint8_t>(word >> kClassShift);
    record.kind = static_cast<EntryKind>(kind);
    at += kFooterRecordBytes;
  }
  return records;
}

}  // namespace rawcache
