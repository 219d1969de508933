// Guards the commit of a batch: a header or part that is not exactly what was written here is not
// complete, and damage to one entry hides no other one, in time linear in the part's size whatever
// it holds.
#include "format/batch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <set>

#include "format/format_support.h"

namespace rawcache {
namespace {

using testing::Bytes;
using testing::kPlace;
using testing::PartBuilder;

struct Walked {
  std::vector<std::string> keys;
  std::vector<std::uint64_t> offsets;
  bool complete = false;
};

Walked walk(std::span<const std::byte> part, const BatchHeader& header, const Place& place = kPlace,
            std::uint32_t entry_alignment = 16) {
  Walked walked;
  EntryWalker walker(part, header, place, entry_alignment);
  while (const auto entry = walker.next()) {
    walked.keys.emplace_back(entry->key);
    walked.offsets.push_back(walker.offset());
  }
  walked.complete = walker.complete();
  EXPECT_FALSE(walker.next().has_value());  // the end stays the end
  return walked;
}

/// Ten entries of various sizes, with their positions.
struct TenEntries {
  PartBuilder builder;
  std::vector<std::size_t> positions;
  Bytes bytes;
  BatchHeader header;

  TenEntries() {
    for (int i = 0; i < 10; ++i) {
      positions.push_back(builder.add("key" + std::to_string(i), std::string(i * 37 % 150, 'v')));
    }
    header = builder.header();
    bytes = builder.finish();
  }
};

TEST(BatchHeader, IsReadBackAsItWasWritten) {
  Bytes bytes(64);
  BatchHeader header{};
  header.part = 1;
  header.parts = 3;
  header.sequence = 77;
  header.durable_through = 76;
  header.entries = 12;
  header.bytes = 5000;
  header.generation = kPlace.generation;
  header.time = 1700000000;
  header.previous_segment = kNoSegment;
  header.digest = 0xABCDEF;
  encode_batch_header(bytes, header, kPlace);

  Place place = kPlace;
  place.generation = 12345;  // is not asked for
  const auto read = decode_batch_header(bytes, place);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->magic, kBatchMagic);
  EXPECT_EQ(read->part, 1);
  EXPECT_EQ(read->parts, 3);
  EXPECT_EQ(read->sequence, 77u);
  EXPECT_EQ(read->durable_through, 76u);
  EXPECT_EQ(read->entries, 12u);
  EXPECT_EQ(read->bytes, 5000u);
  EXPECT_EQ(read->generation, kPlace.generation);
  EXPECT_EQ(read->time, 1700000000u);
  EXPECT_EQ(read->previous_segment, kNoSegment);
  EXPECT_EQ(read->digest, 0xABCDEFu);
}

TEST(BatchHeader, EverySingleBitFlipIsDetected) {
  Bytes bytes = PartBuilder().finish();
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    testing::flip(bytes, bit);
    EXPECT_FALSE(decode_batch_header(bytes, kPlace).has_value()) << "bit " << bit;
    testing::flip(bytes, bit);
  }
  EXPECT_TRUE(decode_batch_header(bytes, kPlace).has_value());
}

TEST(BatchHeader, NeverVerifiesForAnotherCacheOrOffsetOrCut) {
  const Bytes bytes = PartBuilder().finish();
  for (const Place& place : testing::wrong_places()) {
    const bool same_but_generation = place.id == kPlace.id && place.offset == kPlace.offset;
    EXPECT_EQ(decode_batch_header(bytes, place).has_value(), same_but_generation);
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_batch_header(std::span(bytes).first(size), kPlace).has_value());
  }
}

TEST(EntryWalker, FindsEveryEntryInOrderAndInPlace) {
  for (const std::uint32_t alignment : {4u, 16u, 64u, 256u, 4096u}) {
    PartBuilder builder(kPlace, alignment);
    std::vector<std::uint64_t> offsets;
    std::vector<std::string> keys;
    for (int i = 0; i < 50; ++i) {
      keys.push_back("key" + std::to_string(i));
      offsets.push_back(kPlace.offset + builder.add(keys.back(), std::string(i * 13, 'x')));
      EXPECT_EQ(offsets.back() % alignment, 0u);
    }
    Bytes bytes = builder.finish();
    bytes.resize(round_up(bytes.size(), 4096));  // padding to the block belongs to nobody
    const auto header = decode_batch_header(bytes, kPlace);
    ASSERT_TRUE(header.has_value());
    const Walked walked = walk(bytes, *header, kPlace, alignment);
    EXPECT_EQ(walked.keys, keys);
    EXPECT_EQ(walked.offsets, offsets);
    EXPECT_TRUE(walked.complete);
  }
}

// The search costs a step for every place where an entry may begin, and there are many.
TEST(EntryWalker, FindsWhatLiesBehindALargeDamagedEntry) {
  for (const std::uint32_t alignment : {4u, 16u}) {
    for (const std::size_t damaged_at : {std::size_t{0}, std::size_t{16}, std::size_t{5000}}) {
      PartBuilder builder(kPlace, alignment);
      const std::size_t large = builder.add("large", std::string(900'000, 'x'));
      builder.add("behind", "it");
      const BatchHeader header = builder.header();
      Bytes bytes = builder.finish();
      bytes[large + damaged_at] ^= std::byte{0x10};
      const Walked walked = walk(bytes, header, kPlace, alignment);
      EXPECT_EQ(walked.keys, std::vector<std::string>{"behind"}) << alignment << ' ' << damaged_at;
      EXPECT_FALSE(walked.complete);
    }
  }
}

TEST(EntryWalker, APartWithoutEntriesIsComplete) {
  PartBuilder builder;
  const Bytes bytes = builder.finish();
  const Walked walked = walk(bytes, builder.header());
  EXPECT_TRUE(walked.keys.empty());
  EXPECT_TRUE(walked.complete);
}

TEST(EntryWalker, DamageToOneEntryHidesNoOther) {
  TenEntries part;
  for (std::size_t victim = 0; victim < part.positions.size(); ++victim) {
    const std::size_t begin = part.positions[victim];
    const std::size_t end =
        victim + 1 < part.positions.size() ? part.positions[victim + 1] : part.bytes.size();
    for (std::size_t at = begin; at < end; ++at) {
      Bytes bytes = part.bytes;
      bytes[at] ^= std::byte{0x40};
      const Walked walked = walk(bytes, part.header);
      std::set<std::string> keys(walked.keys.begin(), walked.keys.end());
      if (walked.complete) {
        // Only the padding behind an entry is nobody's.
        EXPECT_EQ(keys.size(), 10u);
        EXPECT_GE(at, end - 15);
        continue;
      }
      EXPECT_EQ(walked.keys.size(), 9u) << "victim " << victim << ", byte " << at - begin;
      EXPECT_FALSE(keys.contains("key" + std::to_string(victim)));
    }
  }
}

TEST(EntryWalker, AZeroedOrStaleBlockInTheMiddleHidesOnlyItself) {
  PartBuilder builder;
  std::vector<std::size_t> positions;
  for (int i = 0; i < 200; ++i) {
    positions.push_back(builder.add("key" + std::to_string(i), std::string(100, 'v')));
  }
  const BatchHeader header = builder.header();
  const Bytes good = builder.finish();
  for (const bool zero : {true, false}) {
    Bytes bytes = good;
    const auto block = std::span(bytes).subspan(4096, 512);
    if (zero) {
      std::ranges::fill(block, std::byte{0});
    } else {
      std::ranges::copy(testing::random_bytes(512, 3), block.begin());
    }
    const Walked walked = walk(bytes, header);
    std::size_t untouched = 0;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const std::size_t end = positions[i] + 24 + 3 + std::to_string(i).size() + 100;
      if (end <= 4096 || positions[i] >= 4096 + 512) ++untouched;
    }
    EXPECT_EQ(walked.keys.size(), untouched);
    EXPECT_FALSE(walked.complete);
  }
}

TEST(EntryWalker, ATruncatedPartIsNeverComplete) {
  TenEntries part;
  for (std::size_t size = 0; size < part.bytes.size(); ++size) {
    const Walked walked = walk(std::span(part.bytes).first(size), part.header);
    EXPECT_FALSE(walked.complete) << size;
    EXPECT_LT(walked.keys.size(), 10u);
  }
}

TEST(EntryWalker, CountAndDigestMustBothBeTheHeaders) {
  TenEntries part;
  BatchHeader header = part.header;
  header.entries = 9;
  EXPECT_FALSE(walk(part.bytes, header).complete);
  header.entries = 11;
  EXPECT_FALSE(walk(part.bytes, header).complete);
  header = part.header;
  header.digest ^= 1;
  EXPECT_FALSE(walk(part.bytes, header).complete);
  EXPECT_TRUE(walk(part.bytes, part.header).complete);
}

TEST(EntryWalker, EntriesOfAnotherLifeOrPlaceAreNotFound) {
  TenEntries part;
  BatchHeader header = part.header;
  header.generation += 1;
  Place place = kPlace;
  place.generation += 1;
  EXPECT_TRUE(walk(part.bytes, header, place).keys.empty());
  place = kPlace;
  place.offset += 4096;
  EXPECT_TRUE(walk(part.bytes, part.header, place).keys.empty());
}

TEST(EntryWalker, EntriesBeyondTheHeadersBytesAreNotFound) {
  TenEntries part;
  BatchHeader header = part.header;
  header.bytes = static_cast<std::uint32_t>(part.positions[4]);
  EXPECT_EQ(walk(part.bytes, header).keys.size(), 4u);
}

TEST(EntryWalker, EntriesThatDoNotFollowEachOtherAreFoundButNotComplete) {
  // All entries verify and their digest is right, but between two of them lies what is no entry.
  Bytes bytes(sizeof(BatchHeader) + 16);
  BatchHeader header{};
  header.parts = 1;
  header.generation = kPlace.generation;
  header.entries = 1;
  Place place = kPlace;
  place.offset += bytes.size();
  const Bytes entry = testing::encoded(testing::fields("key", "value", place), place);
  bytes.insert(bytes.end(), entry.begin(), entry.end());
  header.bytes = static_cast<std::uint32_t>(bytes.size());
  header.digest = digest_next(kDigestStart, decode_entry(entry, place)->checksum);
  const Walked walked = walk(bytes, header);
  EXPECT_EQ(walked.keys, std::vector<std::string>{"key"});
  EXPECT_FALSE(walked.complete);
}

TEST(EntryWalker, HostileHeaderLengthsStayInsideTheBytes) {
  TenEntries part;
  for (const std::uint32_t bytes : {0u, 1u, 63u, 64u, 65u, 100u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    for (const std::uint32_t entries : {0u, 1u, 0xFFFFFFFFu}) {
      BatchHeader header = part.header;
      header.bytes = bytes;
      header.entries = entries;
      EXPECT_FALSE(walk(part.bytes, header).complete);
    }
  }
}

// Every 16 bytes claim to begin an entry that reaches to the end: hashing each would be quadratic,
// hundreds of gigabytes.
TEST(EntryWalker, BytesThatImitateEntriesCostLinearTime) {
  Bytes bytes(std::size_t{8} << 20);
  // One structure of 16 bytes that reads as the halves of a header at every multiple of 16.
  for (std::size_t at = 64; at + 16 <= bytes.size(); at += 16) {
    const auto value_bytes =
        static_cast<std::uint32_t>(at + 4096 < bytes.size() ? bytes.size() - at - 4096 : 0);
    const std::uint16_t key_bytes = 1;
    std::memcpy(&bytes[at], &value_bytes, 4);
    std::memcpy(&bytes[at + 4], &key_bytes, 2);
    bytes[at + 6] = std::byte{1};  // kind
  }
  BatchHeader header{};
  header.parts = 1;
  header.generation = kPlace.generation;
  header.entries = 1000;
  header.bytes = static_cast<std::uint32_t>(bytes.size());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(walk(bytes, header).complete);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

}  // namespace
}  // namespace rawcache
