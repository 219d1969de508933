// Index: a hash finds the location that was put last, whatever was put, replaced and erased before,
// and however the pages have grown. Compared with an unordered_map; keys of the model are page and
// tag, because that is all that the index knows of a hash.
#include "cache/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>

#include "format/superblock.h"

namespace rawcache {
namespace {

/// What is needed of a superblock for an index of this many entries.
Superblock superblock_for(std::uint64_t expected, std::uint64_t device_bytes = 1_GiB) {
  FormatOptions options;
  options.expected_entries = expected;
  const auto layout = lay_out(options, device_bytes, 512);
  EXPECT_TRUE(layout);
  return *layout;
}

class IndexTest : public ::testing::Test {
 protected:
  void make(std::uint64_t expected, bool presized = false, std::uint64_t device_bytes = 1_GiB) {
    superblock = superblock_for(expected, device_bytes);
    auto made = Index::create(superblock, presized);
    ASSERT_TRUE(made);
    index = std::move(*made);
  }
  Location random_location() {
    const std::uint64_t units =
        superblock.segments * superblock.segment_bytes / superblock.entry_alignment;
    return {superblock.segments_offset + random() % units * superblock.entry_alignment,
            static_cast<std::uint8_t>(random() % 233)};
  }

  Superblock superblock{};
  std::unique_ptr<Index> index;
  std::mt19937_64 random{11};
};

TEST_F(IndexTest, WhatWasPutIsFoundAndNothingElse) {
  make(10'000);
  std::vector<std::pair<std::uint64_t, Location>> put;
  for (int i = 0; i < 10'000; ++i) {
    put.emplace_back(random(), random_location());
    const auto before = index->put(put.back().first, put.back().second);
    ASSERT_TRUE(before);
    EXPECT_FALSE(*before);
  }
  EXPECT_EQ(index->entries(), 10'000u);
  for (const auto& [hash, location] : put) ASSERT_EQ(index->find(hash), location);
  int false_finds = 0;
  for (int i = 0; i < 10'000; ++i) false_finds += index->find(random()).has_value();
  EXPECT_LE(false_finds, 3) << "tags of this size are shared by less than one in 10,000";
}

TEST_F(IndexTest, BehavesLikeAMapThroughGrowthAndGaps) {
  // Few pages, so that their lines fill, overflow into each other and are filled up again.
  make(512);
  std::unordered_map<std::uint64_t, Location> model;
  std::vector<std::uint64_t> hashes;
  for (int i = 0; i < 3'000; ++i) hashes.push_back(random());
  const auto pick = [&] { return hashes[random() % hashes.size()]; };
  for (int step = 0; step < 120'000; ++step) {
    const std::uint64_t hash = pick();
    const auto known = model.find(hash);
    const auto expected = known == model.end() ? std::optional<Location>() : known->second;
    // It grows for a while, then shrinks, then grows again.
    const bool growing = step / 20'000 % 2 == 0;
    const std::uint64_t dice = random() % 10;
    if (dice < (growing ? 5u : 1u)) {
      const Location location = random_location();
      ASSERT_EQ(*index->put(hash, location), expected) << step;
      model[hash] = location;
    } else if (dice < 7) {
      ASSERT_EQ(index->erase(hash), expected) << step;
      model.erase(hash);
    } else if (dice == 7) {
      const Location location = random_location();
      const Location guess = random() % 2 == 0 && expected ? *expected : random_location();
      const bool fits = expected == guess;
      ASSERT_EQ(index->replace(hash, guess, location), fits) << step;
      if (fits) model[hash] = location;
    } else if (dice == 8) {
      const std::uint64_t offset =
          random() % 2 == 0 && expected ? expected->offset : random_location().offset;
      const bool there = expected && expected->offset == offset;
      ASSERT_EQ(index->erase_if_at(hash, offset), there) << step;
      if (there) model.erase(hash);
    } else {
      index->touch(hash, expected ? expected->offset : 0);
      ASSERT_EQ(index->find(hash), expected) << step;
    }
    ASSERT_EQ(index->entries(), model.size()) << step;
    if (step % 5'000 == 0) {
      for (const auto& [h, location] : model) ASSERT_EQ(index->find(h), location) << step;
    }
  }
}

TEST_F(IndexTest, EraseRangeEmptiesExactlyTheSlotsOfASegment) {
  make(2'000);
  std::unordered_map<std::uint64_t, Location> model;
  for (int i = 0; i < 2'000; ++i) {
    const std::uint64_t hash = random();
    model[hash] = random_location();
    ASSERT_TRUE(index->put(hash, model[hash]));
  }
  const std::uint64_t begin = superblock.segments_offset + 17 * superblock.segment_bytes;
  const std::uint64_t end = begin + 40 * superblock.segment_bytes;
  std::uint64_t expected = 0;
  for (const auto& [hash, location] : model) {
    expected += location.offset >= begin && location.offset < end;
  }
  ASSERT_GT(expected, 100u);
  EXPECT_EQ(index->erase_range(begin, end), expected);
  for (const auto& [hash, location] : model) {
    const bool inside = location.offset >= begin && location.offset < end;
    ASSERT_EQ(index->find(hash).has_value(), !inside);
  }
  EXPECT_EQ(index->entries(), model.size() - expected);
}

TEST_F(IndexTest, CopiedPagesLoadIntoAnEqualIndex) {
  make(5'000);
  std::unordered_map<std::uint64_t, Location> model;
  for (int i = 0; i < 5'000; ++i) {
    const std::uint64_t hash = random();
    model[hash] = random_location();
    ASSERT_TRUE(index->put(hash, model[hash]));
  }
  auto copy = Index::create(superblock, true);
  ASSERT_TRUE(copy);
  std::vector<std::uint64_t> slots;
  for (std::uint32_t page = 0; page < index->pages(); ++page) {
    slots.clear();
    index->copy_page(page, slots);
    ASSERT_TRUE((*copy)->load_page(page, slots));
    ASSERT_TRUE((*copy)->load_page(page, slots)) << "twice is once";
  }
  EXPECT_EQ((*copy)->entries(), model.size());
  for (const auto& [hash, location] : model) ASSERT_EQ((*copy)->find(hash), location);
}

TEST_F(IndexTest, ALoadedSlotDoesNotReplaceANewerOne) {
  make(1'000);
  const std::uint64_t hash = random();
  const Location older = random_location();
  const Location newer = random_location();
  ASSERT_TRUE(index->put(hash, older));
  std::vector<std::uint64_t> slots;
  std::uint32_t home = 0;
  for (std::uint32_t page = 0; page < index->pages(); ++page) {
    index->copy_page(page, slots);
    if (slots.size() == 1) {
      home = page;
      break;
    }
  }
  ASSERT_EQ(slots.size(), 1u);
  EXPECT_TRUE(index->matches(hash, home, slots[0]));
  EXPECT_FALSE(index->matches(hash + 1, home, slots[0]));
  ASSERT_TRUE(index->put(hash, newer));
  ASSERT_TRUE(index->load_page(home, slots));
  EXPECT_EQ(index->find(hash), newer);
}

TEST_F(IndexTest, HitsAreCountedUpToThreeAndGoWithANewLocation) {
  make(1'000);
  const std::uint64_t hash = random();
  const Location location = random_location();
  const auto hits = [&] {
    std::vector<std::uint64_t> slots;
    for (std::uint32_t page = 0; page < index->pages(); ++page) index->copy_page(page, slots);
    EXPECT_EQ(slots.size(), 1u);
    return SlotLayout::hits(slots.at(0), index->layout().location_bits);
  };
  ASSERT_TRUE(index->put(hash, location));
  EXPECT_EQ(hits(), 0u);
  for (unsigned n = 1; n <= 5; ++n) {
    index->touch(hash, location.offset);
    EXPECT_EQ(hits(), std::min(n, 3u));
    EXPECT_EQ(index->find(hash), location);
  }
  index->touch(hash, location.offset + superblock.entry_alignment);
  EXPECT_EQ(hits(), 3u);
  ASSERT_TRUE(index->put(hash, random_location()));
  EXPECT_EQ(hits(), 0u);
}

TEST_F(IndexTest, ClearEmptiesAndKeepsWorking) {
  make(1'000);
  for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(index->put(random(), random_location()));
  index->clear();
  EXPECT_EQ(index->entries(), 0u);
  const std::uint64_t hash = random();
  const Location location = random_location();
  ASSERT_TRUE(index->put(hash, location));
  EXPECT_EQ(index->find(hash), location);
  EXPECT_EQ(index->entries(), 1u);
}

TEST_F(IndexTest, KeepsTheLastUnitOfTheLargestDeviceApart) {
  make(1'000, false, 64_TiB);
  const std::uint64_t end =
      superblock.segments_offset + superblock.segments * superblock.segment_bytes;
  const std::uint64_t a = random();
  const std::uint64_t b = random();
  ASSERT_TRUE(index->put(a, {end - superblock.entry_alignment, 232}));
  ASSERT_TRUE(index->put(b, {superblock.segments_offset, 0}));
  EXPECT_EQ(index->find(a), (Location{end - superblock.entry_alignment, 232}));
  EXPECT_EQ(index->find(b), (Location{superblock.segments_offset, 0}));
}

TEST_F(IndexTest, TakesAtMostTwelveBytesPerEntryWhenPresizedOrGrown) {
  for (const bool presized : {false, true}) {
    constexpr std::uint64_t kEntries = 200'000;
    make(kEntries, presized);
    for (std::uint64_t i = 0; i < kEntries; ++i) {
      ASSERT_TRUE(index->put(random(), random_location()));
    }
    const double load = double(index->entries()) / double(index->slots());
    EXPECT_GE(load, 0.70) << presized;
    EXPECT_LE(double(index->memory_bytes()) / double(index->entries()), 12.0) << presized;
  }
}

}  // namespace
}  // namespace rawcache
