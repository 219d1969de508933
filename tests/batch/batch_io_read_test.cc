// BatchIOManager, reading: merged, from memory or the device, whatever is under way and whatever
// cannot be read.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "batch/batch_io_fixture.h"

namespace rawcache {
namespace {

TEST_F(BatchIO, ResultsComeInTheOrderOfTheRequestsWithDuplicates) {
  for (std::uint64_t i = 0; i < 9; ++i) ASSERT_TRUE(write(i * 1000, "v" + std::to_string(i)));
  ASSERT_TRUE(io->flush());
  ASSERT_TRUE(write(4000, "w4"));
  const std::vector<Extent> extents{{8000, 2}, {0, 2}, {4000, 2}, {8000, 2}, {3000, 3}, {1_MiB, 1}};
  EXPECT_EQ(read_all(extents), (std::vector<std::string>{"v8", "v0", "w4", "v8", "v3.", "."}));
}

TEST_F(BatchIO, NearbyReadsAreMergedUpToTheGap) {
  make({}, 16_MiB, 4096);
  EXPECT_EQ(read_all({{0, 512}, {512, 512}}).size(), 2U);
  EXPECT_EQ(disk.take_events(), (Events{{'r', 0, 1024}}));
  read_all({{0, 512}, {512 + 4096, 512}});
  EXPECT_EQ(disk.take_events(), (Events{{'r', 0, 5120}}));
  read_all({{0, 512}, {512 + 4096 + 512, 512}});
  EXPECT_EQ(disk.take_events(), (Events{{'r', 0, 512}, {'r', 5120, 512}}));
  read_all({{10, 1}});
  EXPECT_EQ(disk.take_events(), (Events{{'r', 0, 512}}));
}

TEST_F(BatchIO, PendingBytesAreServedWithoutTheDevice) {
  ASSERT_TRUE(write(1000, "abcdef"));
  EXPECT_EQ(read(1000, 6), "abcdef");
  EXPECT_EQ(read_all({{1002, 2}, {1000, 6}}), (std::vector<std::string>{"cd", "abcdef"}));
  EXPECT_EQ(io_kinds(), "");
}

TEST_F(BatchIO, NewerPendingBytesLieOverBytesInFlightAndTheseOverTheDisk) {
  disk.hold();
  ASSERT_TRUE(write(100, "aaaaaaaa"));
  ASSERT_TRUE(io->seal());
  ASSERT_TRUE(io->submit());
  ASSERT_TRUE(write(104, "bbbbbbbb"));
  EXPECT_EQ(read(98, 16), "..aaaabbbbbbbb..");
  EXPECT_EQ(read_all({{98, 16}, {2000, 1}, {96, 5}}),
            (std::vector<std::string>{"..aaaabbbbbbbb..", ".", "....a"}));
  disk.release();
}

TEST_F(BatchIO, AFlushThatEndsWhileAReadIsUnderWayTakesNoByteFromIt) {
  for (const std::uint64_t size :
       {3U, 16U, 600U}) {  // partly pending, each with another answer beside it
    ASSERT_TRUE(write(100, "aaa"));
    ASSERT_TRUE(write(110, "bbb"));
    disk.at_next_read([&] { ASSERT_TRUE(io->flush()); });
    EXPECT_EQ(read(99, size), (".aaa......."
                               "bbb" +
                               std::string(700, '.'))
                                  .substr(0, size))
        << size;
    std::vector<std::byte> dots(16_MiB, std::byte{'.'});
    disk.fill(dots);
  }
}

TEST_F(BatchIO, ReadsDoNotWaitForAFlush) {
  disk.hold();
  ASSERT_TRUE(write(0, std::string(512, 'a')));
  std::thread flusher([&] { EXPECT_TRUE(io->flush()); });
  while (io->counts().in_flight_operations == 0) std::this_thread::yield();
  EXPECT_EQ(read(510, 4), "aa..");
  EXPECT_EQ(read(65536, 2), "..");
  ASSERT_TRUE(write(0, "b"));
  EXPECT_EQ(read(0, 2), "ba");
  disk.release();
  flusher.join();
  EXPECT_EQ(read(0, 2), "ba");
}

TEST_F(BatchIO, ABadSectorFailsOnlyTheRequestsThatNeedIt) {
  disk.fail_reads_of({1024, 512});
  EXPECT_EQ(read_all({{0, 4}, {1100, 4}, {4096, 4}}),
            (std::vector<std::string>{"....", "error io_error", "...."}));
  EXPECT_EQ(read(1535, 2), "error io_error");
  EXPECT_EQ(read(1536, 2), "..");
  ASSERT_TRUE(write(1100, "pp"));
  EXPECT_EQ(read_all({{1099, 4}, {1100, 2}, {0, 1}}),
            (std::vector<std::string>{"error io_error", "pp", "."}));
}

TEST_F(BatchIO, AnAnswerWithSeveralHolesFailsWhenOneOfThemCannotBeRead) {
  ASSERT_TRUE(write(600, std::string(1000, 'a')));
  ASSERT_TRUE(write(1_MiB, std::string(1000, 'a')));
  disk.fail_reads_of({0, 512});
  EXPECT_EQ(read_all({{500, 1_MiB}, {100000, 3}}),
            (std::vector<std::string>{"error io_error", "..."}));
}

TEST_F(BatchIO, ExtentsAreCutAtTheEndOfTheDiskAndRefusedBeyondIt) {
  EXPECT_EQ(read(16_MiB - 3, 10), "...");
  ASSERT_TRUE(write(16_MiB - 2, "zz"));
  EXPECT_EQ(read(16_MiB - 3, ~0ULL), ".zz");
  EXPECT_EQ(read(16_MiB, 1), "error invalid_io");
  EXPECT_EQ(read(0, 0), "error invalid_io");
  EXPECT_EQ(read_all({{~0ULL, 9}, {0, 1}}), (std::vector<std::string>{"error invalid_io", "."}));
}

TEST_F(BatchIO, WithoutMemoryARequestIsRefusedAndOthersAreServed) {
  make({}, 8192, 0);
  EXPECT_EQ(read(0, 20000), "error out_of_memory");
  EXPECT_EQ(read_all({{1_MiB, 20000}, {0, 3}}),
            (std::vector<std::string>{"error out_of_memory", "..."}));
  ASSERT_TRUE(write(0, std::string(20000, 'a')));
  EXPECT_EQ(read(0, 20000), "error out_of_memory");
  EXPECT_EQ(read(0, 3), "aaa");
}

TEST_F(BatchIO, LeasesKeepTheBytesAndSayWhatTheyHold) {
  ReadAnswer kept = io->read(Extent{10, 100});
  const std::vector<ReadAnswer> shared = io->read(std::vector<Extent>{{0, 10}, {60000, 10}});
  EXPECT_GE(kept.lease_bytes, 512U);
  EXPECT_LE(kept.lease_bytes, 4096U);
  EXPECT_GE(shared[0].lease_bytes, 60010U);
  EXPECT_EQ(shared[0].lease, shared[1].lease);
  EXPECT_GT(arena->leased_bytes(), 0U);
  io.reset();
  EXPECT_EQ(text(kept), std::string(100, '.'));
  EXPECT_EQ(text(shared[1]), std::string(10, '.'));
}

}  // namespace
}  // namespace rawcache
