// Guards the footer: what it lists is what was written, or it is not a footer at all.
#include "format/segment.h"

#include <gtest/gtest.h>

#include <set>

#include "base/checksum.h"
#include "format/batch.h"
#include "format/format_support.h"

namespace rawcache {
namespace {

using testing::Bytes;
using testing::kPlace;

constexpr std::uint32_t kAlignment = 4;
constexpr FooterGeometry kGeometry{.entry_alignment = kAlignment,
                                   .segment_bytes = std::uint64_t{1} << 31};

/// Entries of many sizes, some behind a gap, with sequences that go up, stay and go down.
std::vector<FooterRecord> some_records(std::size_t count) {
  std::vector<FooterRecord> records(count);
  std::uint32_t end = 64;
  for (std::size_t i = 0; i < count; ++i) {
    records[i].sequence = i % 7 == 3 ? i / 2 : 1000 + i;
    records[i].offset = end + (i % 5 == 4 ? 4096 : 0);
    records[i].bytes = static_cast<std::uint32_t>(4 * (7 + i * i % 600));
    records[i].kind = static_cast<EntryKind>(1 + i % 3);
    const bool withdrawn = records[i].kind == EntryKind::withdrawn;
    records[i].key_hash = withdrawn ? 0 : 0x9E3779B97F4A7C15 * (i + 1);
    end = records[i].end();
  }
  return records;
}

FooterRecords written(std::span<const FooterRecord> records) {
  FooterRecords footer(kAlignment);
  for (const FooterRecord& record : records) {
    footer.make_room_for_one();
    footer.add(record);
  }
  return footer;
}

FooterTrailer some_trailer() {
  FooterTrailer trailer{};
  trailer.generation = kPlace.generation;
  trailer.next_segment = 12;
  trailer.first_batch = 100;
  trailer.last_batch = 140;
  trailer.next_sequence = 5000;
  trailer.previous_segment = kNoSegment;
  return trailer;
}

Bytes footer_of(std::span<const std::byte> records, std::uint32_t block_bytes = 512) {
  Bytes bytes(footer_bytes(records.size(), block_bytes), std::byte{0xCC});
  encode_footer(bytes, records, some_trailer(), kPlace);
  return bytes;
}

Bytes some_footer(std::size_t records) { return footer_of(written(some_records(records)).bytes()); }

std::optional<std::vector<FooterRecord>> read(std::span<const std::byte> bytes,
                                              const FooterTrailer& trailer,
                                              const Place& place = kPlace) {
  return decode_footer_records(bytes, trailer, kGeometry, place);
}

void expect_same(const FooterRecord& one, const FooterRecord& other) {
  EXPECT_EQ(one.key_hash, other.key_hash);
  EXPECT_EQ(one.sequence, other.sequence);
  EXPECT_EQ(one.offset, other.offset);
  EXPECT_EQ(one.bytes, other.bytes);
  EXPECT_EQ(one.kind, other.kind);
}

TEST(Footer, IsReadBackAsItWasWritten) {
  for (const std::size_t count : {0u, 1u, 37u, 38u, 1000u}) {
    auto records = some_records(count);
    if (count > 0) records.back().sequence = ~std::uint64_t{0};
    if (count > 0) records.back().bytes = 64u << 20;
    const Bytes bytes = footer_of(written(records).bytes());
    Place place = kPlace;
    place.generation = 999;  // is not asked for
    const auto trailer = decode_footer_trailer(std::span(bytes).last(64), place);
    ASSERT_TRUE(trailer.has_value());
    EXPECT_EQ(trailer->generation, kPlace.generation);
    EXPECT_EQ(trailer->next_segment, 12u);
    EXPECT_EQ(trailer->first_batch, 100u);
    EXPECT_EQ(trailer->last_batch, 140u);
    EXPECT_EQ(trailer->next_sequence, 5000u);
    EXPECT_EQ(trailer->previous_segment, kNoSegment);
    const auto found = read(bytes, *trailer, place);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(found->size(), count);
    for (std::size_t i = 0; i < count; ++i) expect_same((*found)[i], records[i]);
  }
}

// The write amplification of small entries depends on it.
TEST(Footer, TakesTenBytesForASmallEntryThatFollowsAnother) {
  FooterRecord record{.key_hash = 1, .sequence = 77, .offset = 64, .bytes = 144};
  FooterRecords records = written(std::span(&record, 1));
  const auto next = [&](std::uint32_t bytes) {
    record = {
        .key_hash = 2, .sequence = record.sequence + 1, .offset = record.end(), .bytes = bytes};
    const std::size_t before = records.bytes().size();
    records.make_room_for_one();
    records.add(record);
    return records.bytes().size() - before;
  };
  EXPECT_EQ(next(140), 10u);
  EXPECT_EQ(next(252), 10u);
  EXPECT_EQ(next(256), 11u);
  EXPECT_EQ(next(32764), 11u);
  EXPECT_EQ(next(32768), 12u);
}

TEST(Footer, ARecordOfTheLargestDifferencesFits) {
  const FooterRecord records[] = {
      {.key_hash = 1, .sequence = 5, .offset = 0, .bytes = 28},
      {.key_hash = 2,
       .sequence = 6 + (std::uint64_t{1} << 63),
       .offset = 1u << 30,
       .bytes = 1u << 30,
       .kind = EntryKind::remove},
  };
  const FooterRecords footer = written(records);
  EXPECT_EQ(footer.bytes().size(), 10 + kFooterRecordBytesMax);
  const Bytes bytes = footer_of(footer.bytes());
  const auto found = read(bytes, *decode_footer_trailer(bytes, kPlace));
  ASSERT_TRUE(found && found->size() == 2);
  expect_same((*found)[1], records[1]);
}

TEST(Footer, TakesWholeBlocks) {
  EXPECT_EQ(footer_bytes(0, 4096), 4096u);
  EXPECT_EQ(footer_bytes(4032, 4096), 4096u);
  EXPECT_EQ(footer_bytes(4033, 4096), 8192u);
  EXPECT_EQ(footer_bytes(20, 512), 512u);
}

TEST(Footer, ARecordThatIsWithdrawnLosesNothingButItsHash) {
  auto records = some_records(50);
  FooterRecords footer = written(records);
  const std::size_t size = footer.bytes().size();
  std::set<std::uint32_t> offsets;
  for (std::size_t i = 0; i < records.size(); i += 4) {
    offsets.insert(records[i].offset);
    records[i].kind = EntryKind::withdrawn;
    records[i].key_hash = 0;
  }
  for (int times = 0; times < 2; ++times) {
    footer.withdraw([&](std::uint32_t offset) { return offsets.contains(offset); });
    EXPECT_LT(footer.bytes().size(), size);
    const Bytes bytes = footer_of(footer.bytes());
    const auto found = read(bytes, *decode_footer_trailer(bytes, kPlace));
    ASSERT_TRUE(found && found->size() == records.size());
    for (std::size_t i = 0; i < records.size(); ++i) expect_same((*found)[i], records[i]);
  }
}

TEST(Footer, WhatIsTakenLeavesNothingBehind) {
  FooterRecords records = written(some_records(20));
  const Bytes before(records.bytes().begin(), records.bytes().end());
  const FooterRecords taken = records.take();
  EXPECT_TRUE(std::ranges::equal(taken.bytes(), before));
  EXPECT_TRUE(records.bytes().empty());
  EXPECT_EQ(records.end(), 0u);
  for (const FooterRecord& record : some_records(20)) {
    records.make_room_for_one();
    records.add(record);
  }
  EXPECT_TRUE(std::ranges::equal(records.bytes(), before));
}

// The bits of the padding between the last record and the trailer are covered by nothing and read
// by nobody.
TEST(Footer, EverySingleBitFlipIsDetectedExceptInThePadding) {
  const std::size_t records_bytes = written(some_records(30)).bytes().size();
  Bytes bytes = some_footer(30);
  const std::size_t padding_begin = records_bytes * 8;
  const std::size_t padding_end = (bytes.size() - sizeof(FooterTrailer)) * 8;
  ASSERT_LT(padding_begin, padding_end);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    testing::flip(bytes, bit);
    const auto trailer = decode_footer_trailer(bytes, kPlace);
    EXPECT_EQ(trailer && read(bytes, *trailer), bit >= padding_begin && bit < padding_end)
        << "bit " << bit;
    testing::flip(bytes, bit);
  }
}

TEST(Footer, NeverVerifiesInAnotherPlace) {
  const Bytes bytes = some_footer(5);
  const auto trailer = decode_footer_trailer(bytes, kPlace);
  ASSERT_TRUE(trailer.has_value());
  for (const Place& place : testing::wrong_places()) {
    const bool same_but_generation = place.id == kPlace.id && place.offset == kPlace.offset;
    EXPECT_EQ(decode_footer_trailer(bytes, place).has_value(), same_but_generation);
    EXPECT_EQ(read(bytes, *trailer, place).has_value(), same_but_generation);
  }
  FooterTrailer other = *trailer;
  other.generation += 1;
  EXPECT_FALSE(read(bytes, other).has_value());
}

TEST(Footer, TruncationAtEveryLengthIsDetected) {
  const Bytes bytes = some_footer(30);
  const auto trailer = decode_footer_trailer(bytes, kPlace);
  ASSERT_TRUE(trailer.has_value());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    // Cut at the front: the trailer stays, the records do not.
    const auto tail = std::span(bytes).last(size);
    EXPECT_EQ(decode_footer_trailer(tail, kPlace).has_value(), size >= 64);
    EXPECT_FALSE(read(tail, *trailer).has_value());
    EXPECT_FALSE(decode_footer_trailer(std::span(bytes).first(size), kPlace).has_value());
  }
}

TEST(Footer, HostileSizesAllocateNothing) {
  const Bytes bytes = some_footer(5);
  FooterTrailer trailer = *decode_footer_trailer(bytes, kPlace);
  for (const std::uint32_t size : {trailer.records_bytes + 1, 449u, 0x15555555u, 0xFFFFFFFFu}) {
    trailer.records_bytes = size;
    EXPECT_FALSE(read(bytes, trailer).has_value());
  }
}

/// Records that nobody writes, under a checksum that is right.
class MalformedFooter : public ::testing::Test {
 protected:
  static bool is_read(std::initializer_list<unsigned> bytes) {
    Bytes records;
    for (const unsigned byte : bytes) records.push_back(static_cast<std::byte>(byte));
    return is_read(records);
  }
  static bool is_read(const Bytes& records) {
    const Bytes bytes = footer_of(records);
    return read(bytes, *decode_footer_trailer(bytes, kPlace)).has_value();
  }
};

TEST_F(MalformedFooter, OfARecordThatIsCutOffIsRefused) {
  const FooterRecords whole = written(some_records(1));
  for (std::size_t size = 1; size < whole.bytes().size(); ++size) {
    EXPECT_FALSE(is_read({whole.bytes().begin(), whole.bytes().begin() + size})) << size;
  }
  EXPECT_TRUE(is_read({whole.bytes().begin(), whole.bytes().end()}));
}

TEST_F(MalformedFooter, OfNoKindOrSizeIsRefused) {
  EXPECT_TRUE(is_read({0x0E, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_FALSE(is_read({0x0C, 0, 1, 2, 3, 4, 5, 6, 7, 8})) << "a header alone";
  EXPECT_FALSE(is_read({0x00, 0, 1, 2, 3, 4, 5, 6, 7, 8})) << "no size";
  EXPECT_FALSE(is_read({0x0F, 0, 1, 2, 3, 4, 5, 6, 7, 8})) << "no kind";
  EXPECT_TRUE(is_read({0x09, 0x0E, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_FALSE(is_read({0x01, 0x0E, 0, 1, 2, 3, 4, 5, 6, 7, 8})) << "a gap of nothing";
  EXPECT_FALSE(is_read({0x09, 0x09, 0x0E, 0, 1, 2, 3, 4, 5, 6, 7, 8})) << "two gaps";
  EXPECT_FALSE(is_read({0x09})) << "a gap before nothing";
}

TEST_F(MalformedFooter, OfANumberThatIsTooLargeIsRefused) {
  EXPECT_TRUE(is_read({0x80, 0x80, 0x80, 0x80, 0x04, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_FALSE(is_read({0x82, 0x80, 0x80, 0x80, 0x04, 0, 1, 2, 3, 4, 5, 6, 7, 8}))
      << "behind the segment's end";
  EXPECT_TRUE(is_read({0x0E, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01,  //
                       1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_FALSE(is_read({0x0E, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02,  //
                        1, 2, 3, 4, 5, 6, 7, 8}))
      << "65 bits";
  EXPECT_FALSE(is_read({0x0E, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,  //
                        1,    2,    3,    4,    5,    6,    7,    8}))
      << "eleven digits";
}

}  // namespace
}  // namespace rawcache
