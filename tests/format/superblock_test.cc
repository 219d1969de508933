// Guards the geometry: what lay_out makes fits the device and satisfies every relation, for many
// sizes and options; what decode_superblock accepts does so too, even if the bytes were made to
// deceive.
#include "format/superblock.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "format/batch.h"
#include "format/bytes.h"
#include "format/checkpoint.h"
#include "format/format_support.h"
#include "format/segment.h"

namespace rawcache {
namespace {

using testing::Bytes;

// Every relation that the rest of rawcache relies on, in arithmetic that cannot overflow.
void expect_sound(const Superblock& s) {
  __extension__ using Wide = unsigned __int128;
  ASSERT_TRUE(std::has_single_bit(s.block_bytes));
  ASSERT_GE(s.block_bytes, 512u);
  ASSERT_LE(s.block_bytes, 65536u);
  ASSERT_EQ(s.segment_bytes % s.block_bytes, 0u);
  ASSERT_GE(s.segment_bytes, 4 * s.block_bytes);
  ASSERT_LE(s.segment_bytes, std::uint64_t{64} << 20);
  ASSERT_GE(s.segments, 4u);
  ASSERT_LT(s.segments, kNoSegment);
  const Wide first_end = Wide{s.checkpoint_offset[0]} + s.checkpoint_bytes;
  const Wide second_end = Wide{s.checkpoint_offset[1]} + s.checkpoint_bytes;
  const Wide segments_end = Wide{s.segments_offset} + Wide{s.segments} * s.segment_bytes;
  ASSERT_TRUE(s.checkpoint_offset[0] >= kSuperblockAreaBytes);
  ASSERT_TRUE(first_end <= s.checkpoint_offset[1]);
  ASSERT_TRUE(second_end <= s.segments_offset);
  ASSERT_TRUE(segments_end <= s.device_bytes);
  ASSERT_TRUE(segments_end == s.segments_end());
  for (const std::uint64_t offset :
       {s.checkpoint_offset[0], s.checkpoint_offset[1], s.checkpoint_bytes, s.segments_offset}) {
    ASSERT_EQ(offset % s.block_bytes, 0u);
  }
  ASSERT_EQ(s.segments_offset % 4096, 0u);
  ASSERT_TRUE(std::has_single_bit(s.entry_alignment));
  ASSERT_GE(s.entry_alignment, 4u);
  ASSERT_LE(s.entry_alignment, s.block_bytes);
  ASSERT_TRUE(segments_end / s.entry_alignment < (Wide{1} << 36));
  ASSERT_GE(s.index_pages, 1u);
  ASSERT_GE(s.entries_max, 64u);
  ASSERT_LE(s.entries_max / s.index_pages, 512u);
  const Wide stream = Wide{s.segments} * 24 + Wide{s.index_pages} * 2 + Wide{s.entries_max} * 8;
  ASSERT_TRUE(stream + s.block_bytes < s.checkpoint_bytes);
  ASSERT_GT(entry_bytes_max(s), 0u);
  ASSERT_LT(entry_bytes_max(s), s.segment_bytes);
}

Superblock small_superblock() {
  FormatOptions options;
  options.block_bytes = 512;
  options.expected_entries = 1000;
  Superblock s = lay_out(options, 4_MiB, 512).value();
  s.id = testing::kId;
  s.write_generation = 3;
  s.created = 1700000000;
  s.dead_below_batch = 17;
  s.dead_below_sequence = 170;
  s.time_high = 1700000001;
  return s;
}

Bytes encoded(const Superblock& superblock, int copy) {
  Bytes bytes(superblock.block_bytes, std::byte{0xCC});
  encode_superblock(bytes, superblock, copy);
  return bytes;
}

TEST(LayOut, EveryDeviceSizeGivesASoundGeometryOrSaysTheMinimum) {
  for (const std::uint32_t block_bytes : {512u, 4096u, 65536u}) {
    for (const std::uint64_t expected_entries : {0u, 1u, 100u, 100000u}) {
      for (const std::uint64_t segment_bytes :
           {std::uint64_t{0}, std::uint64_t{4} * block_bytes, 64_MiB}) {
        FormatOptions options;
        options.block_bytes = block_bytes;
        options.expected_entries = expected_entries;
        options.segment_bytes = segment_bytes;
        for (std::uint64_t device = 0; device <= 32_TiB; device += device / 7 + 12345) {
          const auto s = lay_out(options, device, 512);
          if (s) {
            expect_sound(*s);
            if (HasFatalFailure()) return;
            EXPECT_EQ(s->device_bytes, device);
          } else if (s.error() != Errc::capacity_too_small) {
            EXPECT_TRUE(s.error() == Errc::invalid_options && device / 65536 / block_bytes > 1000);
          }
        }
      }
    }
  }
}

TEST(LayOut, TheMinimumInTheMessageIsTheLeastCapacityThatWorks) {
  for (const std::uint32_t block_bytes : {512u, 4096u, 65536u}) {
    for (const std::uint64_t expected_entries :
         {std::uint64_t{0}, std::uint64_t{5000}, kExpectedEntriesMax}) {
      FormatOptions options;
      options.block_bytes = block_bytes;
      options.expected_entries = expected_entries;
      const auto refused = lay_out(options, 1000, 512);
      ASSERT_FALSE(refused.has_value());
      ASSERT_TRUE(refused.error() == Errc::capacity_too_small);
      const std::string& detail = refused.error().detail();
      const std::uint64_t least = std::stoull(detail.substr(detail.rfind(' ') + 1));
      EXPECT_FALSE(lay_out(options, least - 1, 512).has_value());
      const auto s = lay_out(options, least, 512);
      if (expected_entries == kExpectedEntriesMax) {
        // Fits, but the offsets in it need larger blocks; the second message says so.
        EXPECT_TRUE(s.has_value() || s.error() == Errc::invalid_options);
      } else {
        ASSERT_TRUE(s.has_value()) << least;
        EXPECT_EQ(s->segments, 4u);
      }
    }
  }
}

TEST(LayOut, UsesAsManyWholeSegmentsAsFit) {
  FormatOptions options;
  options.segment_bytes = 1_MiB;
  options.expected_entries = 10000;
  for (std::uint64_t device = 8_MiB; device < 80_MiB; device += 1_MiB - 4096) {
    const Superblock s = lay_out(options, device, 4096).value();
    // With one more segment the checkpoints stay as they are or grow, so the rest must be smaller
    // than it.
    EXPECT_LT(device - s.segments_end(), s.segment_bytes + 4096);
  }
}

TEST(LayOut, ByDefaultThereAreAtLeast256Segments) {
  for (std::uint64_t device = 8_MiB; device <= 8_TiB; device = device * 17 / 10 + 4097) {
    const Superblock s = lay_out({}, device, 512).value();
    EXPECT_GE(s.segments, 256u) << device;
    if (device < 16_GiB) {
      EXPECT_LT(s.segments, 300u) << device;
      EXPECT_GT(s.segments_end() - s.segments_offset, device * 9 / 10) << device;
    } else if (device > 17_GiB) {
      EXPECT_EQ(s.segment_bytes, 64_MiB);
    }
  }
}

TEST(LayOut, MakesRoomForTheExpectedEntriesAndAQuarterMore) {
  FormatOptions options;
  options.expected_entries = 1000000;
  Superblock s = lay_out(options, 1_GiB, 512).value();
  EXPECT_EQ(s.entries_max, 1250000u);
  EXPECT_EQ(s.index_pages, 1000000u / 128);
  options.expected_entries = 0;
  s = lay_out(options, 1_GiB, 512).value();
  EXPECT_EQ(s.entries_max, 1_GiB / 512 * 5 / 4);
  // The two checkpoint areas then cost 3.9 % of the capacity at most.
  EXPECT_LT(2 * s.checkpoint_bytes, 1_GiB * 40 / 1000);
  options.expected_entries = 1;
  s = lay_out(options, 1_GiB, 512).value();
  EXPECT_EQ(s.entries_max, 64u);
  EXPECT_EQ(s.index_pages, 1u);
}

TEST(LayOut, TheEntryAlignmentGrowsWithTheDevice) {
  FormatOptions options;
  options.expected_entries = 1000;
  EXPECT_EQ(lay_out(options, 1_GiB, 512)->entry_alignment, 4u);
  EXPECT_EQ(lay_out(options, 256_GiB - 64_MiB, 512)->entry_alignment, 4u);
  EXPECT_EQ(lay_out(options, 256_GiB + 64_MiB, 512)->entry_alignment, 8u);
  EXPECT_EQ(lay_out(options, 1_TiB - 64_MiB, 512)->entry_alignment, 16u);
  EXPECT_EQ(lay_out(options, 1_TiB + 64_MiB, 512)->entry_alignment, 32u);
  EXPECT_EQ(lay_out(options, 16_TiB - 64_MiB, 512)->entry_alignment, 256u);
  options.block_bytes = 512;
  const auto too_large = lay_out(options, 40_TiB, 512);
  ASSERT_FALSE(too_large.has_value());
  EXPECT_NE(too_large.error().detail().find("block_bytes of at least 1024"), std::string::npos)
      << too_large.error().detail();
}

TEST(LayOut, ACapacityBelowTheDeviceIsKept) {
  FormatOptions options;
  options.capacity = 100_MiB;
  const Superblock s = lay_out(options, 10_GiB, 512).value();
  EXPECT_LE(s.segments_end(), 100_MiB);
  EXPECT_EQ(s.device_bytes, 10_GiB);
  expect_sound(s);
}

TEST(LayOut, OptionsOutOfRangeAreNamed) {
  const auto refused = [](void (*change)(FormatOptions&), std::uint32_t io_alignment = 512,
                          std::uint64_t device = 1_GiB) {
    FormatOptions options;
    change(options);
    const auto s = lay_out(options, device, io_alignment);
    EXPECT_FALSE(s.has_value());
    if (s) return std::string();
    EXPECT_TRUE(s.error() == Errc::invalid_options);
    return s.error().detail().substr(0, s.error().detail().find(' '));
  };
  for (auto change : {+[](FormatOptions& o) { o.block_bytes = 0; },
                      +[](FormatOptions& o) { o.block_bytes = 256; },
                      +[](FormatOptions& o) { o.block_bytes = 131072; },
                      +[](FormatOptions& o) { o.block_bytes = 4097; }}) {
    EXPECT_EQ(refused(change), "block_bytes");
  }
  EXPECT_EQ(refused([](FormatOptions& o) { o.block_bytes = 512; }, 4096), "block_bytes");
  EXPECT_EQ(refused([](FormatOptions&) {}, 0), "block_bytes");
  EXPECT_EQ(refused([](FormatOptions&) {}, 8192), "block_bytes");
  for (auto change : {+[](FormatOptions& o) { o.segment_bytes = 1; },
                      +[](FormatOptions& o) { o.segment_bytes = 3 * 4096; },
                      +[](FormatOptions& o) { o.segment_bytes = 1_MiB + 512; },
                      +[](FormatOptions& o) { o.segment_bytes = 64_MiB + 4096; },
                      +[](FormatOptions& o) { o.segment_bytes = ~std::uint64_t{0}; }}) {
    EXPECT_EQ(refused(change), "segment_bytes");
  }
  EXPECT_EQ(refused([](FormatOptions& o) { o.expected_entries = ~std::uint64_t{0}; }),
            "expected_entries");
  EXPECT_EQ(refused([](FormatOptions& o) { o.capacity = 1_GiB + 1; }), "capacity");
  EXPECT_EQ(refused([](FormatOptions&) {}, 512, (std::uint64_t{1} << 60) + 1), "a");
  EXPECT_EQ(refused([](FormatOptions&) {}, 512, ~std::uint64_t{0}), "a");
}

TEST(LayOut, TheLargestEntryFillsASegment) {
  FormatOptions options;
  options.segment_bytes = 1_MiB;
  options.expected_entries = 100;
  const Superblock s = lay_out(options, 64_MiB, 512).value();
  EXPECT_EQ(entry_bytes_max(s), 1_MiB - 64 - 4096);
}

TEST(Superblock, IsReadBackAsItWasWritten) {
  const Superblock s = small_superblock();
  for (const int copy : {0, 1}) {
    const Bytes bytes = encoded(s, copy);
    auto read = decode_superblock(bytes, copy);
    ASSERT_TRUE(read.has_value());
    read->checksum = 0;
    EXPECT_EQ(std::memcmp(&*read, &s, sizeof(s)), 0);
    EXPECT_TRUE(std::all_of(bytes.begin() + 512, bytes.end(),
                            [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(Superblock, EverySingleBitFlipIsDetected) {
  Bytes bytes = encoded(small_superblock(), 0);
  for (std::size_t bit = 0; bit < sizeof(Superblock) * 8; ++bit) {
    testing::flip(bytes, bit);
    const auto read = decode_superblock(bytes, 0);
    ASSERT_FALSE(read.has_value()) << "bit " << bit;
    const auto expected = bit < 64 ? SuperblockError::absent : SuperblockError::damaged;
    EXPECT_EQ(read.error(), expected) << "bit " << bit;
    testing::flip(bytes, bit);
  }
}

TEST(Superblock, AnotherVersionIsToldFromDamageByItsChecksum) {
  for (const int copy : {0, 1}) {
    Bytes bytes = encoded(small_superblock(), copy);
    auto other = load<Superblock>(bytes);
    other.version = kFormatVersion + 1;
    save(bytes, other);
    EXPECT_EQ(decode_superblock(bytes, copy).error(), SuperblockError::damaged);
    const Place place{.id = other.id, .offset = kSuperblockOffsets[copy], .generation = 0};
    other.checksum = checksum_of(other, place_seed(place));
    save(bytes, other);
    EXPECT_EQ(decode_superblock(bytes, copy).error(), SuperblockError::version);
  }
}

TEST(Superblock, ACopyInTheOthersPlaceIsDamaged) {
  EXPECT_EQ(decode_superblock(encoded(small_superblock(), 0), 1).error(), SuperblockError::damaged);
  EXPECT_EQ(decode_superblock(encoded(small_superblock(), 1), 0).error(), SuperblockError::damaged);
}

TEST(Superblock, EmptyAndShortBytesAreAbsent) {
  EXPECT_EQ(decode_superblock(Bytes(4096), 0).error(), SuperblockError::absent);
  EXPECT_EQ(decode_superblock(testing::random_bytes(4096, 1), 0).error(), SuperblockError::absent);
  const Bytes bytes = encoded(small_superblock(), 0);
  for (std::size_t size = 0; size < sizeof(Superblock); ++size) {
    EXPECT_EQ(decode_superblock(std::span(bytes).first(size), 0).error(), SuperblockError::absent);
  }
}

TEST(Superblock, EitherCopyFitsItsPlaceWithTheLargestBlocks) {
  EXPECT_GE(kSuperblockOffsets[1] - kSuperblockOffsets[0], kBlockBytesMax);
  EXPECT_GE(kSuperblockAreaBytes - kSuperblockOffsets[1], kBlockBytesMax);
  EXPECT_EQ(kSuperblockOffsets[1] % kBlockBytesMax, 0u);
}

/// Sets one field of the geometry to `value`.
void set_field(Superblock& s, unsigned field, std::uint64_t value) {
  const auto narrow = static_cast<std::uint32_t>(value);
  switch (field) {
    case 0:
      s.block_bytes = narrow;
      break;
    case 1:
      s.device_bytes = value;
      break;
    case 2:
      s.segment_bytes = value;
      break;
    case 3:
      s.checkpoint_offset[0] = value;
      break;
    case 4:
      s.checkpoint_offset[1] = value;
      break;
    case 5:
      s.checkpoint_bytes = value;
      break;
    case 6:
      s.segments_offset = value;
      break;
    case 7:
      s.segments = narrow;
      break;
    case 8:
      s.entry_alignment = narrow;
      break;
    case 9:
      s.index_pages = narrow;
      break;
    default:
      s.entries_max = value;
      break;
  }
}

/// Values that like to overflow or to sit on a border.
std::uint64_t hostile_value(std::mt19937& random) {
  constexpr std::uint64_t kOdd[] = {0, 3, 24, 64_MiB + 512, 0xFFFFFFFE, ~std::uint64_t{0} - 511};
  const std::uint64_t value =
      random() % 3 == 0 ? kOdd[random() % std::size(kOdd)] : std::uint64_t{1} << random() % 64;
  return random() % 4 == 0 ? value + random() % 5 - 2 : value;
}

// A crafted superblock has a good checksum, since the hash is no secret. What is accepted must
// still be sound.
TEST(Superblock, CraftedFieldsAreRefusedOrSound) {
  std::mt19937 random(4);
  std::size_t accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    Superblock s = small_superblock();
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const auto field = static_cast<unsigned>(random() % 11);
      set_field(s, field, hostile_value(random));
    }
    Bytes bytes(512);
    encode_superblock(bytes, s, 1);
    if (const auto read = decode_superblock(bytes, 1)) {
      ++accepted;
      expect_sound(*read);
      if (HasFatalFailure()) return;
    } else {
      ASSERT_EQ(read.error(), SuperblockError::damaged);
    }
  }
  EXPECT_GT(accepted, 100u);  // the test did reach the accepting side
}

TEST(Superblock, AllocationsFollowFromTheDeviceSize) {
  Superblock s = small_superblock();
  s.index_pages *= 2;
  EXPECT_FALSE(decode_superblock(encoded(s, 0), 0).has_value());
  s = small_superblock();
  s.entries_max *= 10;  // the checkpoint areas do not hold them
  EXPECT_FALSE(decode_superblock(encoded(s, 0), 0).has_value());
  s = small_superblock();
  s.device_bytes = s.segments_end() - 1;
  EXPECT_FALSE(decode_superblock(encoded(s, 0), 0).has_value());
}

}  // namespace
}  // namespace rawcache
