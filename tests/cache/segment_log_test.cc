// SegmentLog: the book of segments. The head never leaves the open segment or reaches its footer,
// no segment is used again before a checkpoint allows it, and no life of a segment has the
// generation of another.
#include "cache/segment_log.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "base/math.h"

namespace rawcache {
namespace {

class SegmentLogTest : public ::testing::Test {
 protected:
  SegmentLogTest() {
    FormatOptions options;
    options.segment_bytes = 64_KiB;
    superblock = *lay_out(options, 2_MiB, 512);
    log.emplace(superblock);
  }
  std::uint32_t open_next(std::uint64_t batch, std::uint64_t replay_from = 1'000'000) {
    const auto next = log->usable_free(replay_from);
    EXPECT_TRUE(next);
    log->open(*next, batch);
    return *next;
  }

  Superblock superblock{};
  std::optional<SegmentLog> log;
};

TEST_F(SegmentLogTest, StartsWithEverythingFree) {
  EXPECT_FALSE(log->has_open());
  EXPECT_EQ(log->free_count(), superblock.segments);
  EXPECT_EQ(log->usable_free_count(1), superblock.segments);
  EXPECT_EQ(log->appended_bytes(), 0u);
}

TEST_F(SegmentLogTest, AnEntryAndItsFooterFitOrTheSegmentIsFull) {
  const std::uint32_t segment = open_next(1);
  const std::uint64_t start = log->segment_offset(segment);
  std::uint64_t records_bytes = 2;  // the first difference of sequences takes three bytes
  while (log->fits(160)) {
    const std::uint64_t offset = log->take(160);
    log->make_room_for_record();
    log->record({.key_hash = offset, .sequence = 9000 + records_bytes / 10, .bytes = 160}, offset);
    records_bytes += 10;
    ASSERT_LE(round_up(log->head(), superblock.block_bytes) +
                  footer_bytes(records_bytes, superblock.block_bytes),
              start + superblock.segment_bytes);
  }
  // Nothing is given away but what a record might have taken more.
  EXPECT_GT(round_up(log->head() + 160, superblock.block_bytes) +
                footer_bytes(records_bytes + kFooterRecordBytesMax, superblock.block_bytes),
            start + superblock.segment_bytes);
  const SealedSegment sealed = log->seal(kNoSegment, 77);
  EXPECT_EQ(sealed.segment, segment);
  EXPECT_EQ(sealed.offset, start);
  EXPECT_EQ(sealed.records.bytes().size(), records_bytes);
  EXPECT_EQ(sealed.trailer.next_sequence, 77u);
  EXPECT_EQ(log->appended_bytes(), superblock.segment_bytes) << "the waste at the end counts";
}

TEST_F(SegmentLogTest, RecordsAreWithdrawnByTheirOffset) {
  open_next(1);
  std::vector<std::uint64_t> offsets;
  for (int i = 0; i < 50; ++i) {
    offsets.push_back(log->take(64 + 16 * static_cast<std::uint64_t>(i % 5)));
    log->make_room_for_record();
    log->record({.key_hash = 1000 + static_cast<std::uint64_t>(i),
                 .bytes = static_cast<std::uint32_t>(log->head() - offsets.back())},
                offsets.back());
  }
  const std::set<std::uint64_t> withdrawn{offsets[0], offsets[20], offsets[49]};
  std::vector<std::uint64_t> asked;
  log->withdraw_records([&](std::uint64_t offset) {
    asked.push_back(offset);
    return withdrawn.contains(offset);
  });
  EXPECT_EQ(asked, offsets);
  asked.clear();
  log->withdraw_records([&](std::uint64_t offset) {
    asked.push_back(offset);
    return false;
  });
  EXPECT_EQ(asked.size(), offsets.size() - withdrawn.size()) << "the others are left";
}

TEST_F(SegmentLogTest, ASegmentIsNotReusedBeforeACheckpointNewerThanItsLastBatch) {
  for (std::uint64_t batch = 1; batch <= superblock.segments; ++batch) {
    if (log->has_open()) log->seal(*log->usable_free(1'000'000), 1);
    open_next(batch);
    log->note_batch(batch * 10);
  }
  const auto oldest = static_cast<std::uint32_t>(0);
  EXPECT_FALSE(log->usable_free(1'000'000)) << "all are in use";
  log->release(oldest);
  EXPECT_EQ(log->free_count(), 1u);
  EXPECT_FALSE(log->usable_free(10)) << "batch 10 is the last in it, and is replayed";
  EXPECT_EQ(log->usable_free_count(10), 0u);
  EXPECT_EQ(log->usable_free(11), oldest);
  EXPECT_EQ(log->usable_free_count(11), 1u);
}

// Also if the reclaim that made them was given up, and the next one had nothing left to copy.
TEST_F(SegmentLogTest, ASegmentIsNotReusedBeforeWhatWasCopiedFromItIsDurable) {
  const std::uint32_t segment = open_next(1);
  log->seal(kNoSegment, 1);
  log->note_copy(segment, 50);
  log->release(segment);
  log->note_volatile(50);
  EXPECT_NE(log->usable_free(1'000'000), segment);
  EXPECT_EQ(log->usable_free_count(1'000'000), superblock.segments - 1);
  log->note_volatile(51);
  EXPECT_EQ(log->usable_free_count(1'000'000), superblock.segments);
}

TEST_F(SegmentLogTest, NoTwoLivesOfASegmentShareAGeneration) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> lives;
  std::vector<std::uint32_t> in_use;
  std::uint64_t batch = 1;
  for (int i = 0; i < 500; ++i, ++batch) {
    if (log->has_open()) {
      in_use.push_back(log->open_segment());
      log->seal(kNoSegment, 1);
    }
    if (!log->usable_free(1'000'000)) {
      log->release(in_use.front());
      in_use.erase(in_use.begin());
    }
    const std::uint32_t segment = open_next(batch);
    ASSERT_TRUE(lives.emplace(segment, log->generation(segment)).second);
    if (i == 250) {
      log->clear();
      in_use.clear();
      EXPECT_EQ(log->free_count(), superblock.segments);
    }
  }
}

TEST_F(SegmentLogTest, TheTrailerNamesTheNeighboursAndTheBatches) {
  const std::uint32_t first = open_next(5);
  log->note_batch(6);
  log->note_batch(9);
  const SealedSegment one = log->seal(1, 100);
  EXPECT_EQ(one.trailer.first_batch, 5u);
  EXPECT_EQ(one.trailer.last_batch, 9u);
  EXPECT_EQ(one.trailer.next_segment, 1u);
  EXPECT_EQ(one.trailer.previous_segment, kNoSegment);
  log->open(1, 9);
  EXPECT_EQ(log->previous_segment(), first);
  EXPECT_EQ(log->seal(2, 101).trailer.previous_segment, first);
}

TEST_F(SegmentLogTest, GoesOnAfterARestoreWhereItWas) {
  const std::uint32_t segment = open_next(3);
  log->take(8192);
  const std::uint64_t head = log->head();
  const auto table = log->table();
  SegmentLog other(superblock);
  other.restore(table, 100);
  other.resume(segment, kNoSegment, head - log->segment_offset(segment), {});
  EXPECT_EQ(other.head(), head);
  EXPECT_EQ(other.free_count(), superblock.segments - 1);
  EXPECT_EQ(other.generation(segment), log->generation(segment));
  other.seal(1, 1);
  other.open(1, 4);
  EXPECT_GT(other.generation(1), log->generation(segment));
}

}  // namespace
}  // namespace rawcache
