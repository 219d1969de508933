// Guards that a checkpoint is taken whole or not at all: its header and every chunk verify only
// unchanged, in their place, in their order and of their generation.
#include "format/checkpoint.h"

#include <gtest/gtest.h>

#include "format/format_support.h"

namespace rawcache {
namespace {

using testing::Bytes;
using testing::kPlace;

CheckpointHeader some_header() {
  CheckpointHeader header{};
  header.segments = 4;
  header.generation = 9;
  header.replay_from = 31;
  header.next_batch = 33;
  header.next_sequence = 1000;
  header.time_high = 1700000000;
  header.open_segment[0] = 2;
  header.open_segment[1] = 3;
  header.previous_segment[0] = 1;
  header.previous_segment[1] = 0;
  header.entries = 10;
  header.stream_bytes = 4 * 32 + 10 * 8 + 2;
  header.stream_digest = 0xD16E57;
  header.closed = 1;
  header.hint_bytes = 77;
  header.hint_digest = 0xD16E58;
  return header;
}

Bytes some_header_block() {
  Bytes bytes(512, std::byte{0xCC});
  encode_checkpoint_header(bytes, some_header(), kPlace);
  return bytes;
}

Bytes some_chunk(std::uint32_t number = 3, std::uint64_t generation = 9) {
  Bytes bytes = testing::random_bytes(32 + 100, 5);
  encode_chunk(bytes, number, generation, 90, kPlace);
  return bytes;
}

TEST(CheckpointHeader, IsReadBackAsItWasWritten) {
  const Bytes bytes = some_header_block();
  const auto header = decode_checkpoint_header(bytes, kPlace);
  ASSERT_TRUE(header.has_value());
  const CheckpointHeader expected = some_header();
  EXPECT_EQ(header->magic, kCheckpointMagic);
  EXPECT_EQ(header->segments, expected.segments);
  EXPECT_EQ(header->generation, expected.generation);
  EXPECT_EQ(header->replay_from, expected.replay_from);
  EXPECT_EQ(header->next_batch, expected.next_batch);
  EXPECT_EQ(header->next_sequence, expected.next_sequence);
  EXPECT_EQ(header->time_high, expected.time_high);
  EXPECT_TRUE(std::ranges::equal(header->open_segment, expected.open_segment));
  EXPECT_TRUE(std::ranges::equal(header->previous_segment, expected.previous_segment));
  EXPECT_EQ(header->entries, expected.entries);
  EXPECT_EQ(header->stream_bytes, expected.stream_bytes);
  EXPECT_EQ(header->stream_digest, expected.stream_digest);
  EXPECT_EQ(header->closed, expected.closed);
  EXPECT_EQ(header->hint_bytes, expected.hint_bytes);
  EXPECT_EQ(header->hint_digest, expected.hint_digest);
  EXPECT_TRUE(std::all_of(bytes.begin() + sizeof(CheckpointHeader), bytes.end(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

// Behind the header the block is zero, covered by nothing and read by nobody.
TEST(CheckpointHeader, EverySingleBitFlipAndEveryCutIsDetected) {
  Bytes bytes = some_header_block();
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    testing::flip(bytes, bit);
    EXPECT_EQ(decode_checkpoint_header(bytes, kPlace).has_value(),
              bit >= sizeof(CheckpointHeader) * 8)
        << "bit " << bit;
    testing::flip(bytes, bit);
  }
  for (std::size_t size = 0; size < sizeof(CheckpointHeader); ++size) {
    EXPECT_FALSE(decode_checkpoint_header(std::span(bytes).first(size), kPlace).has_value());
  }
}

TEST(CheckpointHeader, NeverVerifiesForAnotherCacheOrArea) {
  const Bytes header = some_header_block();
  const Bytes chunk = some_chunk();
  for (const Place& place : testing::wrong_places()) {
    const bool same_but_generation = place.id == kPlace.id && place.offset == kPlace.offset;
    EXPECT_EQ(decode_checkpoint_header(header, place).has_value(), same_but_generation);
    EXPECT_EQ(decode_chunk(chunk, 3, 9, place).has_value(), same_but_generation);
  }
}

TEST(CheckpointHeader, CountsThatTheStreamCannotHoldAreRefused) {
  for (const std::uint64_t entries :
       {std::uint64_t{11}, ~std::uint64_t{0} / 8, ~std::uint64_t{0}}) {
    CheckpointHeader header = some_header();
    header.entries = entries;
    Bytes bytes(512);
    encode_checkpoint_header(bytes, header, kPlace);
    EXPECT_FALSE(decode_checkpoint_header(bytes, kPlace).has_value()) << entries;
  }
  CheckpointHeader header = some_header();
  header.segments = 0xFFFFFFFF;
  Bytes bytes(512);
  encode_checkpoint_header(bytes, header, kPlace);
  EXPECT_FALSE(decode_checkpoint_header(bytes, kPlace).has_value());
}

TEST(CheckpointChunk, IsReadBackAsItWasWritten) {
  const Bytes bytes = some_chunk();
  const auto header = decode_chunk(bytes, 3, 9, kPlace);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->number, 3u);
  EXPECT_EQ(header->generation, 9u);
  EXPECT_EQ(header->payload_bytes, 90u);
  const Bytes payload = testing::random_bytes(32 + 100, 5);
  EXPECT_TRUE(std::equal(bytes.begin() + 32, bytes.end(), payload.begin() + 32));
}

TEST(CheckpointChunk, ChecksumsOfChunksDifferByNumberAndGeneration) {
  Bytes bytes(64);
  const std::uint64_t first = encode_chunk(bytes, 0, 1, 32, kPlace);
  EXPECT_NE(encode_chunk(bytes, 1, 1, 32, kPlace), first);
  EXPECT_NE(encode_chunk(bytes, 0, 2, 32, kPlace), first);
  EXPECT_EQ(encode_chunk(bytes, 0, 1, 32, kPlace), first);
  EXPECT_EQ(decode_chunk(bytes, 0, 1, kPlace)->checksum, first);
}

TEST(CheckpointChunk, OfAnotherNumberOrGenerationIsRefused) {
  const Bytes bytes = some_chunk();
  EXPECT_FALSE(decode_chunk(bytes, 2, 9, kPlace).has_value());
  EXPECT_FALSE(decode_chunk(bytes, 3, 8, kPlace).has_value());
}

// The bytes behind the payload are covered by nothing and read by nobody.
TEST(CheckpointChunk, EverySingleBitFlipAndEveryCutIsDetected) {
  Bytes bytes = some_chunk();
  const std::size_t covered = 32 + 90;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    testing::flip(bytes, bit);
    EXPECT_EQ(decode_chunk(bytes, 3, 9, kPlace).has_value(), bit >= covered * 8) << "bit " << bit;
    testing::flip(bytes, bit);
  }
  for (std::size_t size = 0; size < covered; ++size) {
    EXPECT_FALSE(decode_chunk(std::span(bytes).first(size), 3, 9, kPlace).has_value());
  }
}

TEST(CheckpointArea, HoldsHeaderBlockAndChunks) {
  constexpr std::uint64_t kPayload = kCheckpointChunkBytes - 32;
  EXPECT_EQ(checkpoint_area_bytes(0, 4096), 4096u);
  EXPECT_EQ(checkpoint_area_bytes(1, 4096), 2 * 4096u);
  EXPECT_EQ(checkpoint_area_bytes(4096 - 32, 4096), 2 * 4096u);
  EXPECT_EQ(checkpoint_area_bytes(4096 - 31, 4096), 3 * 4096u);
  EXPECT_EQ(checkpoint_area_bytes(kPayload, 512), 512 + kCheckpointChunkBytes);
  EXPECT_EQ(checkpoint_area_bytes(kPayload + 1, 512), 512 + kCheckpointChunkBytes + 512);
  EXPECT_EQ(checkpoint_area_bytes(10 * kPayload, 65536), 65536 + 10 * kCheckpointChunkBytes);
  EXPECT_EQ(checkpoint_stream_bytes_max(3, 5, 7), 3 * 32 + 5 * 2 + 7 * 8u);
}

}  // namespace
}  // namespace rawcache
