#include "format/segment.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"
#include "format/bytes.h"

namespace rawcache {

namespace {

// Records begin with numbers of 7 bits a byte, lowest first, each byte but the last with its
// highest bit set. The first says what it is, so that most are one byte for a small value: an even
// one is twice a value's size, an odd one has two bits of something else between size and lowest
// bit.
constexpr unsigned kOtherBits = 3;
constexpr std::uint64_t kIsOther = 1;
enum class Other : std::uint8_t { gap = 0, remove = 1, withdrawn = 2 };
constexpr unsigned kDigitBits = 7;
constexpr std::byte kDigitsFollow{0x80};
constexpr std::size_t kRecordBytesUsual = 10;

// A gap and a size have at most 5 digits, a difference of sequences has 10.
static_assert(kFooterRecordBytesMax == 5 + 5 + 10 + sizeof(std::uint64_t));

std::byte* put_number(std::byte* at, std::uint64_t number) {
  for (; number >> kDigitBits != 0; number >>= kDigitBits) {
    *at++ = static_cast<std::byte>(number) | kDigitsFollow;
  }
  *at++ = static_cast<std::byte>(number);
  return at;
}

std::uint64_t other(Other what, std::uint64_t units) {
  return units << kOtherBits | static_cast<std::uint64_t>(what) << 1 | kIsOther;
}

std::uint64_t head_of(EntryKind kind, std::uint64_t units) {
  if (kind == EntryKind::value) return units << 1;
  return other(kind == EntryKind::remove ? Other::remove : Other::withdrawn, units);
}

/// A record's first number; `kind` is nothing for a gap.
struct Head {
  std::uint64_t units;
  std::optional<EntryKind> kind;
};

std::optional<Head> parse_head(std::uint64_t number) {
  if ((number & kIsOther) == 0) return Head{number >> 1, EntryKind::value};
  const std::uint64_t units = number >> kOtherBits;
  switch (static_cast<Other>(number >> 1 & 3)) {
    case Other::gap:
      return Head{units, std::nullopt};
    case Other::remove:
      return Head{units, EntryKind::remove};
    case Other::withdrawn:
      return Head{units, EntryKind::withdrawn};
  }
  return std::nullopt;
}

/// Nothing if the bytes end before it or it has more than 64 bits.
std::optional<std::uint64_t> take_number(std::span<const std::byte>& bytes) {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += kDigitBits) {
    const std::byte digit = bytes.front();
    bytes = bytes.subspan(1);
    const auto value = std::to_integer<std::uint64_t>(digit & ~kDigitsFollow);
    if (value << shift >> shift != value) return std::nullopt;
    number |= value << shift;
    if ((digit & kDigitsFollow) == std::byte{0}) return number;
  }
  return std::nullopt;
}

/// Small differences, up or down, become small numbers.
std::uint64_t fold(std::uint64_t difference) { return difference << 1 ^ -(difference >> 63); }
std::uint64_t unfold(std::uint64_t folded) { return folded >> 1 ^ -(folded & 1); }

/// Walks over records.
class RecordWalker {
 public:
  RecordWalker(std::span<const std::byte> bytes, unsigned unit_shift, std::uint64_t end_max)
      : rest_(bytes), unit_shift_(unit_shift), end_max_(end_max) {}

  /// The next record; nothing where there is none.
  std::optional<FooterRecord> next() {
    auto head = take_head();
    if (head && !head->kind) {
      if (!move(head->units)) return std::nullopt;
      head = take_head();
    }
    if (!head || !head->kind) return std::nullopt;
    FooterRecord record;
    record.kind = *head->kind;
    record.offset = static_cast<std::uint32_t>(end_);
    if (!move(head->units)) return std::nullopt;
    record.bytes = static_cast<std::uint32_t>(end_ - record.offset);
    const auto folded = take_number(rest_);
    if (!folded) return std::nullopt;
    folded_ = *folded;
    record.sequence = next_sequence_ + unfold(folded_);
    next_sequence_ = record.sequence + 1;
    if (record.kind == EntryKind::withdrawn) return record;
    if (rest_.size() < sizeof(record.key_hash)) return std::nullopt;
    record.key_hash = load<std::uint64_t>(rest_);
    rest_ = rest_.subspan(sizeof(record.key_hash));
    return record;
  }

  bool at_end() const { return rest_.empty(); }
  // Of the last record: how many bytes are left from its first number on and behind it, and its
  // second number.
  std::size_t left_at_head() const { return left_at_head_; }
  std::size_t left() const { return rest_.size(); }
  std::uint64_t folded_sequence() const { return folded_; }

 private:
  std::optional<Head> take_head() {
    left_at_head_ = rest_.size();
    const auto number = take_number(rest_);
    return number ? parse_head(*number) : std::nullopt;
  }

  bool move(std::uint64_t units) {
    if (units == 0 || units > (end_max_ - end_) >> unit_shift_) return false;
    end_ += units << unit_shift_;
    return true;
  }

  std::span<const std::byte> rest_;
  const unsigned unit_shift_;
  const std::uint64_t end_max_;
  std::uint64_t end_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::size_t left_at_head_ = 0;
  std::uint64_t folded_ = 0;
};

unsigned unit_shift_of(std::uint32_t entry_alignment) {
  RAWCACHE_ASSERT(std::has_single_bit(entry_alignment));
  return static_cast<unsigned>(std::countr_zero(entry_alignment));
}

/// Both checksums of a footer are seeded with the segment's start and its life.
std::uint64_t footer_seed(Place place, std::uint32_t generation) {
  place.generation = generation;
  return place_seed(place);
}

}  // namespace

// --- Records ---

FooterRecords::FooterRecords(std::uint32_t entry_alignment)
    : unit_shift_(unit_shift_of(entry_alignment)) {}

void FooterRecords::grow() {
  const std::size_t capacity = 2 * capacity_ + 16 * kFooterRecordBytesMax;
  auto memory = std::make_unique_for_overwrite<std::byte[]>(capacity);
  std::ranges::copy(bytes(), memory.get());
  memory_ = std::move(memory);
  capacity_ = capacity;
}

void FooterRecords::add(const FooterRecord& record) {
  RAWCACHE_ASSERT(capacity_ - used_ >= kFooterRecordBytesMax);
  const std::uint32_t units = record.offset >> unit_shift_;
  RAWCACHE_ASSERT(units >= end_units_ && record.bytes > 0);
  std::byte* at = memory_.get() + used_;
  const std::uint64_t head = head_of(record.kind, record.bytes >> unit_shift_);
  const std::uint64_t sequence = fold(record.sequence - next_sequence_);
  if (units == end_units_ && (head | sequence) >> kDigitBits == 0) {
    *at++ = static_cast<std::byte>(head);
    *at++ = static_cast<std::byte>(sequence);
  } else {
    if (units > end_units_) at = put_number(at, other(Other::gap, units - end_units_));
    at = put_number(at, head);
    at = put_number(at, sequence);
  }
  if (record.kind != EntryKind::withdrawn) {
    std::memcpy(at, &record.key_hash, sizeof(record.key_hash));
    at += sizeof(record.key_hash);
  }
  used_ = static_cast<std::size_t>(at - memory_.get());
  end_units_ = record.end() >> unit_shift_;
  next_sequence_ = record.sequence + 1;
}

void FooterRecords::withdraw(const std::function<bool(std::uint32_t)>& is_withdrawn) {
  std::byte* const end = memory_.get() + used_;
  std::byte* at = memory_.get();
  RecordWalker walker(bytes(), unit_shift_, this->end());
  while (!walker.at_end()) {
    const std::byte* from = end - walker.left();
    const auto record = walker.next();
    RAWCACHE_ASSERT(record.has_value());
    if (record->kind != EntryKind::withdrawn && is_withdrawn(record->offset)) {
      // The first number may become a byte longer, but the hash goes.
      at = std::copy(from, static_cast<const std::byte*>(end - walker.left_at_head()), at);
      at = put_number(at, head_of(EntryKind::withdrawn, record->bytes >> unit_shift_));
      at = put_number(at, walker.folded_sequence());
    } else {
      at = std::copy(from, static_cast<const std::byte*>(end - walker.left()), at);
    }
  }
  used_ = static_cast<std::size_t>(at - memory_.get());
}

void FooterRecords::clear() {
  used_ = 0;
  end_units_ = 0;
  next_sequence_ = 0;
}

FooterRecords FooterRecords::take() {
  FooterRecords fresh(std::uint32_t{1} << unit_shift_);
  fresh.capacity_ = used_ + kFooterRecordBytesMax;
  fresh.memory_ = std::make_unique_for_overwrite<std::byte[]>(fresh.capacity_);
  return std::exchange(*this, std::move(fresh));
}

// --- Footer ---

std::uint64_t footer_bytes(std::uint64_t records_bytes, std::uint32_t block_bytes) {
  return round_up(records_bytes + sizeof(FooterTrailer), block_bytes);
}

void encode_footer(std::span<std::byte> out, std::span<const std::byte> records,
                   FooterTrailer trailer, const Place& place) {
  RAWCACHE_ASSERT(out.size() >= records.size() + sizeof(FooterTrailer));
  if (!records.empty()) std::memcpy(out.data(), records.data(), records.size());
  const auto rest = out.subspan(records.size());
  std::ranges::fill(rest, std::byte{0});
  const std::uint64_t seed = footer_seed(place, trailer.generation);
  trailer.magic = kFooterMagic;
  trailer.records_bytes = static_cast<std::uint32_t>(records.size());
  trailer.records_checksum = hash64(records, seed);
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
                                                               const FooterGeometry& geometry,
                                                               const Place& place) {
  if (bytes.size() < sizeof(FooterTrailer)) return std::nullopt;
  if (trailer.records_bytes > bytes.size() - sizeof(FooterTrailer)) return std::nullopt;
  bytes = bytes.first(trailer.records_bytes);
  if (hash64(bytes, footer_seed(place, trailer.generation)) != trailer.records_checksum &&
      !mutated(Mutant::kFooterRecordsUnchecked)) {
    return std::nullopt;
  }
  std::vector<FooterRecord> records;
  records.reserve(bytes.size() / kRecordBytesUsual);
  RecordWalker walker(bytes, unit_shift_of(geometry.entry_alignment), geometry.segment_bytes);
  while (!walker.at_end()) {
    const auto record = walker.next();
    if (!record || record->bytes <= sizeof(EntryHeader)) return std::nullopt;
    records.push_back(*record);
  }
  return records;
}

}  // namespace rawcache
