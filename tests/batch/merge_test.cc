// Merging: no byte is written where none was asked for, the later write wins, every read request is
// served exactly once and no read is larger than its rules allow. Small cases by hand, large ones
// against plain arrays.
#include "batch/merge.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <string>

#include "batch/write_plan.h"

namespace rawcache {
namespace {

/// Pending writes over one piece of text.
class Writes {
 public:
  void add(std::uint64_t offset, std::string text) {
    texts_.push_back(std::make_unique<std::string>(std::move(text)));
    list.push_back({offset, std::as_writable_bytes(std::span(*texts_.back()))});
  }
  std::vector<PendingWrite> list;

 private:
  std::vector<std::unique_ptr<std::string>> texts_;
};

std::string text_of(const MergedWrite& run) {
  std::string text;
  for (const auto piece : run.pieces) {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return text;
}

std::map<std::uint64_t, std::string> merged(const Writes& writes) {
  std::map<std::uint64_t, std::string> runs;
  std::uint64_t end = 0;
  for (const MergedWrite& run : merge_writes(writes.list)) {
    EXPECT_TRUE(runs.empty() || run.offset > end) << "not sorted or not joined";
    end = run.end();
    runs[run.offset] = text_of(run);
    EXPECT_EQ(run.size, runs[run.offset].size());
  }
  return runs;
}

using Runs = std::map<std::uint64_t, std::string>;

TEST(MergeWrites, TheExampleOfTheSpecificationBecomesOneWrite) {
  Writes writes;
  for (const std::uint64_t offset : {9192U, 1000U, 5096U}) {
    writes.add(offset, std::string(4096, static_cast<char>('a' + offset % 7)));
  }
  const auto runs = merge_writes(writes.list);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].offset, 1000U);
  EXPECT_EQ(runs[0].size, 12288U);
  EXPECT_EQ(runs[0].pieces.size(), 3U);
}

TEST(MergeWrites, AGapOfOneByteIsNotFilled) {
  Writes writes;
  writes.add(0, "aaa");
  writes.add(4, "bbb");
  EXPECT_EQ(merged(writes), (Runs{{0, "aaa"}, {4, "bbb"}}));
}

TEST(MergeWrites, TheLaterWriteWinsWhereTwoOverlap) {
  Writes writes;
  writes.add(2, "bbbb");
  writes.add(0, "aaaa");
  EXPECT_EQ(merged(writes), (Runs{{0, "aaaabb"}}));
  writes.add(4, "cccc");
  EXPECT_EQ(merged(writes), (Runs{{0, "aaaacccc"}}));
}

TEST(MergeWrites, ALaterWriteInsideAnEarlierOneLeavesBothItsEnds) {
  Writes writes;
  writes.add(10, "aaaaaaaa");
  writes.add(12, "bb");
  EXPECT_EQ(merged(writes), (Runs{{10, "aabbaaaa"}}));
}

TEST(MergeWrites, AnEarlierWriteInsideALaterOneDisappears) {
  Writes writes;
  writes.add(12, "bb");
  writes.add(10, "aaaaaaaa");
  EXPECT_EQ(merged(writes), (Runs{{10, "aaaaaaaa"}}));
  EXPECT_EQ(merge_writes(writes.list)[0].pieces.size(), 1U);
}

TEST(MergeWrites, NeighboursInMemoryMakeOnePiece) {
  std::string text = "abcdefgh";
  const auto bytes = std::as_writable_bytes(std::span(text));
  const std::vector<PendingWrite> writes{{104, bytes.subspan(4)}, {100, bytes.first(4)}};
  const auto runs = merge_writes(writes);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].pieces.size(), 1U);
}

TEST(MergeWrites, NothingMakesNothing) { EXPECT_TRUE(merge_writes({}).empty()); }

TEST(MergeWrites, RandomWritesGiveWhatWritingThemInOrderGives) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    Writes writes;
    std::string model(300, '.');
    const std::size_t count = 1 + random() % 40;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t size = 1 + random() % 30;
      const std::size_t offset = random() % (model.size() - size);
      const std::string text(size, static_cast<char>('A' + static_cast<int>(i)));
      model.replace(offset, size, text);
      writes.add(offset, text);
    }
    std::string result(300, '.');
    for (const auto& [offset, text] : merged(writes)) result.replace(offset, text.size(), text);
    ASSERT_EQ(result, model) << "seed " << seed;
  }
}

TEST(MergeWrites, AHundredThousandNestedWritesTakeNoQuadraticTime) {
  constexpr std::uint64_t kWrites = 100000;
  std::vector<std::byte> memory(2 * kWrites);
  std::vector<PendingWrite> writes;
  for (std::uint64_t i = 0; i < kWrites;
       ++i) {  // each inside the one before it, so all are open at once
    writes.push_back({i, std::span(memory).first(2 * (kWrites - i))});
  }
  const auto runs = merge_writes(writes);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].size, 2 * kWrites);
}

std::vector<std::pair<Extent, std::vector<std::uint32_t>>> reads(std::vector<Extent> extents,
                                                                 std::uint64_t gap,
                                                                 std::uint32_t alignment = 1) {
  std::vector<std::pair<Extent, std::vector<std::uint32_t>>> result;
  for (MergedRead& read : merge_reads(extents, gap, alignment)) {
    result.emplace_back(read.extent, std::move(read.requests));
  }
  return result;
}

using Reads = std::vector<std::pair<Extent, std::vector<std::uint32_t>>>;

TEST(MergeReads, TheExampleOfTheSpecificationBecomesOneRead) {
  EXPECT_EQ(reads({{9192, 4096}, {1000, 4096}, {5096, 4096}}, kReadGapBytesMax),
            (Reads{{{1000, 12288}, {1, 2, 0}}}));
}

TEST(MergeReads, GapsUpToTheLimitAreBridgedAndNotAByteMore) {
  EXPECT_EQ(reads({{0, 10}, {10, 10}}, 0).size(), 1U);
  EXPECT_EQ(reads({{0, 10}, {11, 10}}, 0).size(), 2U);
  EXPECT_EQ(reads({{0, 10}, {11, 10}}, 1).size(), 1U);
  EXPECT_EQ(reads({{0, 10}, {10 + 65536, 10}}, 65536).size(), 1U);
  EXPECT_EQ(reads({{0, 10}, {10 + 65537, 10}}, 65536).size(), 2U);
}

TEST(MergeReads, ExtentsAreWidenedBeforeTheyAreCompared) {
  EXPECT_EQ(reads({{100, 10}, {900, 10}}, 0, 512), (Reads{{{0, 1024}, {0, 1}}}));
  EXPECT_EQ(reads({{100, 10}, {1030, 10}}, 0, 512), (Reads{{{0, 512}, {0}}, {{1024, 512}, {1}}}));
}

TEST(MergeReads, DuplicatesAndContainedExtentsShareOneRead) {
  EXPECT_EQ(reads({{100, 50}, {100, 50}, {120, 10}, {100, 60}}, 0),
            (Reads{{{100, 60}, {0, 1, 3, 2}}}));
}

TEST(MergeReads, AMergedReadStaysWithinItsLimit) {
  std::vector<Extent> extents;
  for (std::uint64_t i = 0; i < 256; ++i) extents.push_back({i * 4096, 4096});
  const auto result = reads(extents, 0, 4096);
  ASSERT_EQ(result.size(), 2U);
  EXPECT_EQ(result[0].first, (Extent{0, kMergedReadBytesMax}));
  EXPECT_EQ(result[1].first, (Extent{kMergedReadBytesMax, kMergedReadBytesMax}));
}

TEST(MergeReads, ALargeRequestIsOneReadAndTakesInWhatLiesWithinIt) {
  const std::uint64_t large = 4 * kMergedReadBytesMax;
  EXPECT_EQ(reads({{0, large}, {100, 10}, {0, large}, {large, 10}}, 0),
            (Reads{{{0, large}, {0, 2, 1}}, {{large, 10}, {3}}}));
}

TEST(MergeReads, RandomRequestsAreServedOnceEachAndNeverMoreThanAllowed) {
  for (unsigned seed = 1; seed <= 100; ++seed) {
    std::mt19937 random(seed);
    std::vector<Extent> extents;
    for (unsigned i = 0; i < 200; ++i)
      extents.push_back({random() % 40000000, 1 + random() % 100000});
    const std::uint64_t gap = random() % 70000;
    std::vector<int> served(extents.size());
    std::uint64_t last_end = 0;
    for (const MergedRead& read : merge_reads(extents, gap, 512)) {
      ASSERT_EQ(read.extent.offset % 512, 0U);
      ASSERT_EQ(read.extent.size % 512, 0U);
      ASSERT_LE(read.extent.size, kMergedReadBytesMax);
      ASSERT_TRUE(last_end == 0 || read.extent.end() > last_end);
      last_end = read.extent.end();
      for (const std::uint32_t i : read.requests) {
        ++served[i];
        ASSERT_LE(read.extent.offset, extents[i].offset);
        ASSERT_GE(read.extent.end(), extents[i].end());
      }
    }
    ASSERT_EQ(served, std::vector<int>(extents.size(), 1));
  }
}

TEST(MergeReads, AHundredThousandExtentsTakeNoQuadraticTime) {
  std::vector<Extent> extents;
  for (std::uint64_t i = 0; i < 100000; ++i) extents.push_back({i * 7919 % 100000 * 4096, 4096});
  EXPECT_EQ(merge_reads(extents, 0, 4096).size(), 100000U * 4096 / kMergedReadBytesMax + 1);
}

TEST(Uncovered, IsWhatIsLeftBetweenTheCoveredParts) {
  std::vector<Extent> covered{{25, 10}, {5, 10}, {8, 3}, {30, 2}};
  EXPECT_EQ(uncovered({10, 30}, covered), (std::vector<Extent>{{15, 10}, {35, 5}}));
  covered = {{0, 100}};
  EXPECT_TRUE(uncovered({10, 30}, covered).empty());
  EXPECT_EQ(uncovered({10, 30}, {}), (std::vector<Extent>{{10, 30}}));
}

/// The I/O of a plan: "r offset size" for edge reads, "w offset size" for writes.
std::vector<std::string> plan_of(std::span<const PendingWrite> writes, WritePlan& plan) {
  EXPECT_TRUE(plan.make(writes, 512, 512));
  std::vector<std::string> lines;
  for (const auto* list : {&plan.edge_reads(), &plan.writes()}) {
    for (const IoRequest& io : *list) {
      lines.push_back((io.kind == IoRequest::Kind::read ? "r " : "w ") + std::to_string(io.offset) +
                      " " + std::to_string(io.size));
    }
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(WritePlan, AlignedMemoryGoesOutAsItIsInPieces) {
  AlignedBuffer memory = AlignedBuffer::allocate(1280 << 10);
  const std::vector<PendingWrite> writes{{4096, memory.bytes()}};
  WritePlan plan;
  EXPECT_EQ(plan_of(writes, plan), (Lines{"w 4096 524288", "w 528384 524288", "w 1052672 262144"}));
  EXPECT_EQ(plan.writes()[1].data, memory.data() + (512 << 10));
  EXPECT_EQ(plan.memory_bytes(), 0U);
}

TEST(WritePlan, OnlyTheEdgesOfALargeUnalignedWriteAreReadAndCopied) {
  AlignedBuffer memory = AlignedBuffer::allocate(256 << 10);
  const std::vector<PendingWrite> writes{{100, memory.bytes().subspan(100, 200000)}};
  WritePlan plan;
  EXPECT_EQ(plan_of(writes, plan),
            (Lines{"r 0 512", "r 199680 512", "w 0 512", "w 512 199168", "w 199680 512"}));
  EXPECT_EQ(plan.writes()[1].data, memory.data() + 512);
}

TEST(WritePlan, ASmallUnalignedWriteIsOneWrite) {
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  const std::vector<PendingWrite> writes{{100, memory.bytes().subspan(100, 3000)}};
  WritePlan plan;
  EXPECT_EQ(plan_of(writes, plan), (Lines{"r 0 512", "r 3072 512", "w 0 3584"}));
}

TEST(WritePlan, WritesThatShareABlockAreOneWriteAndItsBlockIsReadOnce) {
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  const auto bytes = memory.bytes();
  const std::vector<PendingWrite> writes{
      {0, bytes.first(100)}, {200, bytes.first(100)}, {500, bytes.first(600)}};
  WritePlan plan;
  EXPECT_EQ(plan_of(writes, plan), (Lines{"r 0 512", "r 1024 512", "w 0 1536"}));
}

TEST(WritePlan, BlocksBetweenWritesAreLeftAlone) {
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  const std::vector<PendingWrite> writes{{0, memory.bytes().first(512)},
                                         {1024, memory.bytes().subspan(1024, 512)}};
  WritePlan plan;
  EXPECT_EQ(plan_of(writes, plan), (Lines{"w 0 512", "w 1024 512"}));
}

}  // namespace
}  // namespace rawcache
