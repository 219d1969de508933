#include "format/batch.h"

#include <algorithm>

#include "base/math.h"
#include "base/mutant.h"
#include "format/bytes.h"
#include "format/segment.h"

namespace rawcache {

namespace {

/// How many times the part's size a search for entries behind damage may hash. Honest damage costs
/// about once; only bytes that were made to look like entries reach the bound.
constexpr std::size_t kSearchBudgetFactor = 4;

/// The seed of a header whose segment is in the life that the header itself names.
std::uint64_t header_seed(Place place, std::uint32_t generation) {
  place.generation = generation;
  return place_seed(place);
}

}  // namespace

void encode_batch_header(std::span<std::byte> out, BatchHeader header, const Place& place) {
  RAWCACHE_ASSERT(header.generation == place.generation);
  RAWCACHE_ASSERT(header.part < header.parts && header.bytes >= sizeof(BatchHeader));
  header.magic = kBatchMagic;
  header.checksum = checksum_of(header, place_seed(place));
  save(out, header);
}

std::optional<BatchHeader> decode_batch_header(std::span<const std::byte> bytes,
                                               const Place& place) {
  if (bytes.size() < sizeof(BatchHeader)) return std::nullopt;
  const auto header = load<BatchHeader>(bytes);
  if (header.magic != kBatchMagic) return std::nullopt;
  if (header.checksum != checksum_of(header, header_seed(place, header.generation)) &&
      !mutated(Mutant::kBatchHeaderChecksumIgnored)) {
    return std::nullopt;
  }
  if (header.part >= header.parts || header.bytes < sizeof(BatchHeader)) return std::nullopt;
  if (header.stream >= kStreams) return std::nullopt;
  return header;
}

EntryWalker::EntryWalker(std::span<const std::byte> part, const BatchHeader& header,
                         const Place& place, std::uint32_t entry_alignment)
    : part_(part.first(std::min<std::size_t>(part.size(), header.bytes))),
      header_(header),
      place_(place),
      entry_alignment_(entry_alignment),
      position_(round_up(place.offset + sizeof(BatchHeader), entry_alignment) - place.offset) {
  RAWCACHE_ASSERT(header.generation == place.generation);
}

std::optional<EntryView> EntryWalker::next() {
  Place place = place_;
  while (position_ + sizeof(EntryHeader) <= part_.size()) {
    if (found_ == header_.entries && !damaged_) return std::nullopt;
    place.offset = place_.offset + position_;
    const auto bytes = part_.subspan(position_);
    const auto entry = decode_entry(bytes, place);
    if (entry) {
      offset_ = place.offset;
      digest_ = digest_next(digest_, entry->checksum);
      ++found_;
      position_ = round_up(place.offset + entry->bytes, entry_alignment_) - place_.offset;
      return *entry;
    }
    damaged_ = true;
    if (entry.error() == EntryError::checksum) {
      const auto header = load<EntryHeader>(bytes);
      searched_bytes_ += sizeof(header) + header.key_bytes + header.value_bytes;
    }
    if (searched_bytes_ > kSearchBudgetFactor * part_.size()) break;
    if (mutated(Mutant::kWalkEndsAtDamage)) break;
    position_ += entry_alignment_;
  }
  position_ = part_.size();
  return std::nullopt;
}

bool EntryWalker::complete() const {
  const bool same = digest_ == header_.digest || mutated(Mutant::kBatchDigestIgnored);
  return !damaged_ && found_ == header_.entries && same;
}

}  // namespace rawcache
