// Pins the bytes of format version 2. The other tests write and read with the same code, so they
// stay green when both change together; caches that exist on disks do not. If one of these fails,
// either undo the change or raise kFormatVersion, describe it in docs/disk_format.md and add golden
// bytes for the new one.
#include <gtest/gtest.h>

#include "base/checksum.h"
#include "format/checkpoint.h"
#include "format/dictionary.h"
#include "format/format_support.h"
#include "format/segment.h"
#include "format/size_class.h"
#include "format/superblock.h"
#include "format/value_codec.h"

namespace rawcache {
namespace {

using testing::Bytes;
using testing::kId;
using testing::kPlace;

std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text.push_back(kDigits[std::to_integer<unsigned>(b) >> 4]);
    text.push_back(kDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return text;
}

TEST(GoldenBytes, PlaceAndKeyHashes) {
  EXPECT_EQ(place_seed(kPlace), 0x435E421B34250E9Cu);
  EXPECT_EQ(hash_key("key", kId), 0xE30108FD7EFD89A9u);
  EXPECT_EQ(digest_next(kDigestStart, 1), 0x43F8A0590841FABDu);
}

// One line per field or row of the document.
// clang-format off

TEST(GoldenBytes, Entry) {
  EntryFields entry = testing::fields("key", "value", kPlace);
  entry.sequence = 0x1122334455667788;
  entry.expires_at = 1700000000;
  Bytes bytes = testing::encoded(entry, kPlace);
  EXPECT_EQ(hex(bytes),
            "4f667ab9323c47a9"  // checksum
            "8877665544332211"  // sequence
            "05000000" "0300" "01" "01"  // value bytes, key bytes, kind, flags
            "00f15365"  // expiry
            "6b6579" "76616c7565");  // key, value
  withdraw_entry(bytes, kPlace);
  EXPECT_EQ(hex(std::span(bytes).first(24)),
            "c1f0ac109d2fabcf" "8877665544332211" "05000000" "0300" "03" "01");
}

TEST(GoldenBytes, EntryWithAllFields) {
  EntryFields entry = testing::fields("key", "value", kPlace);
  entry.sequence = 3;
  entry.expires_at = 1700000000;
  entry.user_flags = 0xA1B2C3D4;
  entry.encoding = {.codec = Codec::zstd_dictionary, .dictionary = 5, .raw_bytes = 0x123456};
  EXPECT_EQ(hex(testing::encoded(entry, kPlace)),
            "e1f491d521073709"  // checksum
            "0300000000000000"  // sequence
            "05000000" "0300" "01" "07"  // value bytes, key bytes, kind, flags
            "00f15365"  // expiry
            "d4c3b2a1"  // user flags
            "563412e8"  // codec 3, dictionary 5, raw size
            "6b6579" "76616c7565");  // key, value
}

TEST(GoldenBytes, StaleEntry) {
  EntryFields entry = testing::fields("key", "value", kPlace);
  entry.sequence = 3;
  entry.user_flags = 0xA1B2C3D4;
  entry.stale = true;
  EXPECT_EQ(hex(testing::encoded(entry, kPlace)),
            "50807733586463d3"  // checksum
            "0300000000000000"  // sequence
            "05000000" "0300" "01" "0a"  // value bytes, key bytes, kind, flags
            "d4c3b2a1"  // user flags
            "6b6579" "76616c7565");  // key, value
}

// What the codecs make may change with their versions; what they have made must stay readable.
TEST(GoldenBytes, CompressedValues) {
  std::string value;
  for (int i = 0; i < 8; ++i) value += "value " + std::to_string(i) + "; ";
  const auto decompressed = [&](Codec codec, std::string_view digits) {
    Bytes packed;
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      packed.push_back(std::byte(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16)));
    }
    Bytes out(value.size());
    const bool whole = ValueCodec().decompress(codec, packed, out);
    return whole ? std::string(testing::as_text(out)) : "not readable";
  };
  if (has_codec(Codec::lz4)) {
    EXPECT_EQ(decompressed(Codec::lz4,
                           "9276616c756520303b20" "09001431090014320900143309001434090014350900"
                           "c0363b2076616c756520373b20"),
              value);
  }
  if (has_codec(Codec::zstd)) {
    EXPECT_EQ(decompressed(Codec::zstd,
                           "28b52ffd" "20481d01009076616c756520303b20313233343536373b20"
                           "07008008200708034400394018872207"),
              value);
  }
}

TEST(GoldenBytes, Remove) {
  EntryFields entry = testing::fields("key", "", kPlace);
  entry.kind = EntryKind::remove;
  entry.sequence = 2;
  EXPECT_EQ(hex(testing::encoded(entry, kPlace)),
            "0a2f5eb4c7845b2a" "0200000000000000" "00000000" "0300" "02" "00" "6b6579");
}

TEST(GoldenBytes, BatchHeader) {
  BatchHeader header{};
  header.part = 1;
  header.parts = 2;
  header.sequence = 0x0102030405060708;
  header.durable_through = 0x0102030405060707;
  header.entries = 3;
  header.bytes = 500;
  header.generation = kPlace.generation;
  header.time = 1700000000;
  header.previous_segment = 9;
  header.since_previous = 5;
  header.stream = 1;
  header.digest = 0xA1A2A3A4A5A6A7A8;
  Bytes bytes(64);
  encode_batch_header(bytes, header, kPlace);
  EXPECT_EQ(hex(bytes),
            "42544348" "0100" "0200"  // magic, part, parts
            "0807060504030201"  // sequence
            "0707060504030201"  // durable through
            "03000000" "f4010000"  // entries, bytes
            "07000000" "00f15365"  // generation, time
            "09000000" "050000" "01"  // previous segment, since the previous batch, stream
            "a8a7a6a5a4a3a2a1"  // digest
            "f1ecd2fbaf33e1f4");
}

TEST(GoldenBytes, Footer) {
  const FooterRecord records[] = {
      {.key_hash = 0x0102030405060708, .sequence = 0x2122, .offset = 64, .bytes = 140},
      {.key_hash = 0x1112131415161718, .sequence = 0x2123, .offset = 204, .bytes = 1064},
      {.sequence = 0x2124, .offset = 1268, .bytes = 140, .kind = EntryKind::withdrawn},
      {.key_hash = 0x2122232425262728,
       .sequence = 0x2120,
       .offset = 4096 + 64,
       .bytes = 40,
       .kind = EntryKind::remove}};
  FooterRecords encoded(4);
  for (const FooterRecord& record : records) {
    encoded.make_room_for_one();
    encoded.add(record);
  }
  FooterTrailer trailer{};
  trailer.generation = kPlace.generation;
  trailer.next_segment = 10;
  trailer.first_batch = 5;
  trailer.last_batch = 8;
  trailer.next_sequence = 100;
  trailer.previous_segment = 9;
  trailer.stream = 1;
  Bytes bytes(512);
  encode_footer(bytes, encoded.bytes(), trailer, kPlace);
  EXPECT_EQ(hex(std::span(bytes).first(42)),
            "8101" "46" "c48401" "0807060504030201"  // gap, size, sequence, key hash
            "9404" "00" "1817161514131211"
            "9d02" "00"
            "812b" "53" "09" "2827262524232221"  // copied: its sequence is lower
            "0000");
  EXPECT_EQ(hex(std::span(bytes).last(64)),
            "464f4f54" "07000000" "28000000" "0a000000"  // magic, generation, bytes, next segment
            "0500000000000000" "0800000000000000"  // first and last batch
            "78a993e91a576885"  // checksum of the records
            "6400000000000000"  // next sequence
            "09000000" "01000000"  // previous segment, stream
            "acad541b83e7353b");
}

TEST(GoldenBytes, CheckpointHeader) {
  CheckpointHeader header{};
  header.segments = 4;
  header.generation = 6;
  header.replay_from = 31;
  header.next_batch = 33;
  header.next_sequence = 1000;
  header.time_high = 1700000000;
  header.open_segment[0] = 2;
  header.open_segment[1] = 3;
  header.previous_segment[0] = 1;
  header.previous_segment[1] = 0;
  header.entries = 10;
  header.stream_bytes = 256;
  header.stream_digest = 0xB1B2B3B4B5B6B7B8;
  Bytes bytes(512);
  encode_checkpoint_header(bytes, header, kPlace);
  EXPECT_EQ(hex(std::span(bytes).first(128)),
            "434b5054" "04000000"  // magic, segments
            "0600000000000000"  // generation
            "1f00000000000000" "2100000000000000"  // replay from, next batch
            "e803000000000000" "00f1536500000000"  // next sequence, highest time
            "02000000" "03000000" "01000000" "00000000"  // open and previous segment of each stream
            "0a00000000000000" "0001000000000000"  // entries, stream bytes
            "b8b7b6b5b4b3b2b1" +        // stream digest
                std::string(64, '0') +  // nothing of an orderly close
                "3bff627e6d6a365c");
  header.closed = 1;
  header.hint_bytes = 20;
  header.hint_digest = 0xC1C2C3C4C5C6C7C8;
  encode_checkpoint_header(bytes, header, kPlace);
  EXPECT_EQ(hex(std::span(bytes).subspan(88, 40)),
            "0100000000000000" "1400000000000000"  // closed, bytes of hints
            "c8c7c6c5c4c3c2c1" "0000000000000000"  // digest of hints, reserved
            "d5c9ee2c24a3cc9e");
}

TEST(GoldenBytes, RememberedKey) {
  const RememberedKey key{.tag = 0xA1A2, .age = 1024};
  EXPECT_EQ(hex(std::as_bytes(std::span(&key, 1))), "a2a10004");
}

TEST(GoldenBytes, CheckpointChunk) {
  Bytes bytes(32 + 5);
  std::ranges::copy(testing::as_bytes("hello"), bytes.begin() + 32);
  encode_chunk(bytes, 3, 6, 5, kPlace);
  EXPECT_EQ(hex(bytes),
            "43484e4b" "03000000" "0600000000000000" "0500000000000000"
            "86b9ac5d3ec79e7f" "68656c6c6f");
}

TEST(GoldenBytes, DictionarySlot) {
  Bytes bytes(48, std::byte{0xEE});
  encode_dictionary(bytes, 7, testing::as_bytes("hello"), kPlace);
  EXPECT_EQ(hex(bytes),
            "44494354" "07000000" "05000000" "00000000"  // magic, version, bytes, reserved
            "fddc625c55e85595"  // content hash
            "e737c879d319b13d"  // checksum
            "68656c6c6f" "0000000000000000000000");
}

TEST(GoldenBytes, Superblock) {
  Superblock s{};
  s.block_bytes = 4096;
  s.write_generation = 1;
  s.id = kId;
  s.device_bytes = 0x4000000;
  s.segment_bytes = 0x3E000;
  s.checkpoint_offset[0] = 0x20000;
  s.checkpoint_offset[1] = 0x140000;
  s.checkpoint_bytes = 0x120000;
  s.segments_offset = 0x260000;
  s.segments = 254;
  s.entry_alignment = 4;
  s.index_pages = 1024;
  s.created = 1700000000;
  s.entries_max = 134400;
  s.dead_below_batch = 17;
  s.dead_below_sequence = 170;
  s.time_high = 1700000001;
  Bytes bytes(512);
  encode_superblock(bytes, s, 1);
  EXPECT_TRUE(decode_superblock(bytes, 1).has_value());
  EXPECT_EQ(hex(bytes),
            "5257434143484531" "02000000" "00100000"  // magic, version, block bytes
            "0100000000000000"  // write generation
            "efcdab8967452301" "1032547698badcfe"  // id
            "0000000400000000" "00e0030000000000"  // device and segment bytes
            "0000020000000000" "0000140000000000"  // checkpoint areas
            "0000120000000000" "0000260000000000"  // checkpoint bytes, segments offset
            "fe000000" "04000000"  // segments, entry alignment
            "00040000" "00f15365"  // index pages, created
            "000d020000000000"  // entries at most
            "1100000000000000" "aa00000000000000"  // dead below batch and sequence
            "01f1536500000000" +         // highest time
                std::string(736, '0') +  // reserved
                "1222e0633a07f4c4");
  encode_superblock(bytes, s, 0);
  EXPECT_EQ(hex(std::span(bytes).last(8)), "67cd5e79a76e2dea");

  s.opened_checkpoint = 0x51;
  s.clear_at = 1700000060;
  encode_superblock(bytes, s, 0);
  EXPECT_EQ(hex(std::span(bytes).subspan(128, 24)),
            "01f1536500000000"    // highest time
            "5100000000000000"    // opened checkpoint
            "3cf1536500000000");  // clear at
}

// clang-format on

// From the words of docs/disk_format.md alone, without the structures of src/format.
TEST(GoldenBytes, ChecksumsAreComputedAsTheDocumentSays) {
  const std::uint64_t place[4] = {kPlace.id.hi, kPlace.id.lo, kPlace.offset, kPlace.generation};
  const std::uint64_t seed = hash64(std::as_bytes(std::span(place)));
  EXPECT_EQ(place_seed(kPlace), seed);

  const std::uint64_t key_hash =
      hash64(testing::as_bytes("key"), kId.hi ^ (kId.lo << 32 | kId.lo >> 32));
  const std::uint64_t entry[6] = {hash64(testing::as_bytes("value")), key_hash,
                                  0x1122334455667788,  // sequence
                                  0x07'01'0003'00000005,
                                  // flags, kind, key bytes, value bytes; then the optional fields
                                  0xA1B2C3D4'6553F100, 0x40000007};
  EntryFields fields = testing::fields("key", "value", kPlace);
  fields.sequence = entry[2];
  fields.expires_at = 1700000000;
  fields.user_flags = 0xA1B2C3D4;
  fields.encoding = {.codec = Codec::lz4, .dictionary = 0, .raw_bytes = 7};
  Bytes bytes(100);
  EXPECT_EQ(encode_entry(bytes, fields, kPlace), hash64(std::as_bytes(std::span(entry)), seed));

  const std::uint64_t no_life[4] = {kPlace.id.hi, kPlace.id.lo, kPlace.offset, 0};
  const std::uint64_t chunk[4] = {std::uint64_t{3} << 32 | kChunkMagic, 6, 5,
                                  hash64(testing::as_bytes("hello"))};
  std::ranges::copy(testing::as_bytes("hello"), bytes.begin() + 32);
  EXPECT_EQ(encode_chunk(bytes, 3, 6, 5, kPlace),
            hash64(std::as_bytes(std::span(chunk)), hash64(std::as_bytes(std::span(no_life)))));
}

TEST(GoldenBytes, SizeClasses) {
  EXPECT_EQ(size_class_bytes(0), 64u);
  EXPECT_EQ(size_class_bytes(127), 8192u);
  EXPECT_EQ(size_class_bytes(128), 8704u);
  EXPECT_EQ(size_class_bytes(129), 9728u);
  EXPECT_EQ(size_class_bytes(232), 67108864u);
}

}  // namespace
}  // namespace rawcache
