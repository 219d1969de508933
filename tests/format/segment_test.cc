// Guards the footer: what it lists is what was written, or it is not a footer at all.
#include "format/segment.h"

#include <gtest/gtest.h>

#include "base/checksum.h"
#include "format/batch.h"
#include "format/format_support.h"

namespace rawcache {
namespace {

using testing::Bytes;
using testing::kPlace;

std::vector<FooterRecord> some_records(std::size_t count) {
  std::vector<FooterRecord> records(count);
  for (std::size_t i = 0; i < count; ++i) {
    records[i].key_hash = 0x9E3779B97F4A7C15 * (i + 1);
    records[i].offset_units = static_cast<std::uint32_t>(i * 911 % (1u << kFooterOffsetBits));
    records[i].size_class = static_cast<std::uint8_t>(i);
    records[i].kind = static_cast<EntryKind>(1 + i % 3);
  }
  return records;
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

Bytes some_footer(std::size_t records, std::uint32_t block_bytes = 512) {
  Bytes bytes(footer_bytes(records, block_bytes), std::byte{0xCC});
  encode_footer(bytes, some_records(records), some_trailer(), kPlace);
  return bytes;
}

TEST(Footer, IsReadBackAsItWasWritten) {
  for (const std::size_t count : {0u, 1u, 37u, 38u, 1000u}) {
    auto records = some_records(count);
    if (count > 0) records.back().offset_units = (1u << kFooterOffsetBits) - 1;
    if (count > 0) records.back().size_class = 255;
    Bytes bytes(footer_bytes(count, 512));
    encode_footer(bytes, records, some_trailer(), kPlace);
    Place place = kPlace;
    place.generation = 999;  // is not asked for
    const auto trailer = decode_footer_trailer(std::span(bytes).last(64), place);
    ASSERT_TRUE(trailer.has_value());
    EXPECT_EQ(trailer->generation, kPlace.generation);
    EXPECT_EQ(trailer->records, count);
    EXPECT_EQ(trailer->next_segment, 12u);
    EXPECT_EQ(trailer->first_batch, 100u);
    EXPECT_EQ(trailer->last_batch, 140u);
    EXPECT_EQ(trailer->next_sequence, 5000u);
    EXPECT_EQ(trailer->previous_segment, kNoSegment);
    const auto read = decode_footer_records(bytes, *trailer, place);
    ASSERT_TRUE(read.has_value());
    ASSERT_EQ(read->size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ((*read)[i].key_hash, records[i].key_hash);
      EXPECT_EQ((*read)[i].offset_units, records[i].offset_units);
      EXPECT_EQ((*read)[i].size_class, records[i].size_class);
      EXPECT_EQ((*read)[i].kind, records[i].kind);
    }
  }
}

TEST(Footer, TakesWholeBlocks) {
  EXPECT_EQ(footer_bytes(0, 4096), 4096u);
  EXPECT_EQ(footer_bytes(201, 4096), 4096u);  // 201 * 20 + 64 leaves 12 bytes of a block
  EXPECT_EQ(footer_bytes(202, 4096), 8192u);
  EXPECT_EQ(footer_bytes(1, 512), 512u);
}

// The bits of the padding between the last record and the trailer are covered by nothing and read
// by nobody.
TEST(Footer, EverySingleBitFlipIsDetectedExceptInThePadding) {
  constexpr std::size_t kRecords = 30;
  Bytes bytes = some_footer(kRecords);
  const std::size_t padding_begin = kRecords * kFooterRecordBytes * 8;
  const std::size_t padding_end = (bytes.size() - sizeof(FooterTrailer)) * 8;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    testing::flip(bytes, bit);
    const auto trailer = decode_footer_trailer(bytes, kPlace);
    const bool read = trailer && decode_footer_records(bytes, *trailer, kPlace);
    EXPECT_EQ(read, bit >= padding_begin && bit < padding_end) << "bit " << bit;
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
    EXPECT_EQ(decode_footer_records(bytes, *trailer, place).has_value(), same_but_generation);
  }
  FooterTrailer other = *trailer;
  other.generation += 1;
  EXPECT_FALSE(decode_footer_records(bytes, other, kPlace).has_value());
}

TEST(Footer, TruncationAtEveryLengthIsDetected) {
  const Bytes bytes = some_footer(30);
  const auto trailer = decode_footer_trailer(bytes, kPlace);
  ASSERT_TRUE(trailer.has_value());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    // Cut at the front: the trailer stays, the records do not.
    const auto tail = std::span(bytes).last(size);
    EXPECT_EQ(decode_footer_trailer(tail, kPlace).has_value(), size >= 64);
    EXPECT_FALSE(decode_footer_records(tail, *trailer, kPlace).has_value());
    EXPECT_FALSE(decode_footer_trailer(std::span(bytes).first(size), kPlace).has_value());
  }
}

TEST(Footer, HostileCountsAllocateNothing) {
  const Bytes bytes = some_footer(5);
  FooterTrailer trailer = *decode_footer_trailer(bytes, kPlace);
  for (const std::uint32_t records : {6u, 38u, 0x15555555u, 0xFFFFFFFFu}) {
    trailer.records = records;
    EXPECT_FALSE(decode_footer_records(bytes, trailer, kPlace).has_value());
  }
}

TEST(Footer, ARecordOfNoKindIsRefusedEvenWithAGoodChecksum) {
  Bytes bytes = some_footer(5);
  FooterTrailer trailer = *decode_footer_trailer(bytes, kPlace);
  bytes[2 * kFooterRecordBytes + 19] &= std::byte{0x3F};
  trailer.records_checksum =
      hash64(std::span(bytes).first(5 * kFooterRecordBytes), place_seed(kPlace));
  EXPECT_FALSE(decode_footer_records(bytes, trailer, kPlace).has_value());
}

}  // namespace
}  // namespace rawcache
