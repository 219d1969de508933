// BatchIOManager, what is written: it is what is read, before, during and after a flush, whatever
// fails; a flush is all or nothing and ends with one sync.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "batch/batch_io_fixture.h"

namespace rawcache {
namespace {

TEST_F(BatchIOOfEightBytes, TheThreeWritesOfTheSpecificationReachTheDeviceAsOneWriteAndOneSync) {
  for (const std::uint64_t offset : {9192U, 1000U, 5096U}) {
    ASSERT_TRUE(write(offset, std::string(4096, static_cast<char>('a' + offset % 7))));
  }
  EXPECT_EQ(disk.take_events(), Events{});
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 3U);
  EXPECT_EQ(disk.take_events(), (Events{{'w', 1000, 12288}, {'s', 0, 0}}));
  EXPECT_EQ(durable(999, 2)[0], '.');
  EXPECT_EQ(durable(1000, 4096), std::string(4096, 'a' + 1000 % 7));
  EXPECT_EQ(durable(5096, 4096), std::string(4096, 'a' + 5096 % 7));
  EXPECT_EQ(durable(9192, 4096), std::string(4096, 'a' + 9192 % 7));
  EXPECT_EQ(durable(13288, 1), ".");
}

TEST_F(BatchIO, TheThirtySecondOperationStartsAFlushAndTheThirtyFirstDoesNot) {
  for (std::uint64_t i = 0; i < 31; ++i) ASSERT_TRUE(write(i * 8192, std::string(512, 'a')));
  EXPECT_EQ(io_kinds(), "");
  EXPECT_EQ(io->counts().pending_operations, 31U);
  ASSERT_TRUE(write(31 * 8192, std::string(512, 'a')));
  EXPECT_EQ(io_kinds(), std::string(32, 'w'));  // not synced: that is for the next one to wait for
  EXPECT_EQ(io->counts().pending_operations, 0U);
  EXPECT_EQ(io->counts().in_flight_operations, 32U);
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 32U);
  EXPECT_EQ(io_kinds(), "s");
  EXPECT_EQ(io->counts().in_flight_operations, 0U);
}

TEST_F(BatchIO, TheLastByteOfFourMebibytesStartsAFlushInPiecesOfHalfAMebibyte) {
  ASSERT_TRUE(write(0, std::string(4_MiB - 512, 'a')));
  ASSERT_TRUE(write(4_MiB - 512, std::string(511, 'b')));
  EXPECT_EQ(io_kinds(), "");
  EXPECT_EQ(io->counts().pending_bytes, 4_MiB - 1);
  ASSERT_TRUE(write(4_MiB - 1, "c"));
  Events pieces;
  for (std::uint64_t at = 0; at < 4_MiB; at += 512_KiB) pieces.push_back({'w', at, 512_KiB});
  EXPECT_EQ(disk.take_events(), pieces);
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(4_MiB - 513, 4), "abbb");
  EXPECT_EQ(durable(4_MiB - 2, 3), "bc.");
}

TEST_F(BatchIO, AStartedFlushIsNotWaitedForAndCountsInTheNextOne) {
  disk.hold();
  for (std::uint64_t i = 0; i < 33; ++i) ASSERT_TRUE(write(i * 1000, std::to_string(i)));
  EXPECT_EQ(io->counts().in_flight_operations, 32U);
  EXPECT_EQ(io->counts().pending_operations, 1U);
  EXPECT_EQ(read(31000, 3), "31.");
  EXPECT_EQ(read(32000, 3), "32.");
  disk.release();
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 33U);
  EXPECT_EQ(durable(32000, 3), "32.");
}

TEST_F(BatchIO, AFlushOfNothingDoesNoIO) {
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 0U);
  EXPECT_EQ(io_kinds(), "");
}

TEST_F(BatchIO, ALaterWriteOfTheSameBytesWins) {
  ASSERT_TRUE(write(100, "aaaaaa"));
  ASSERT_TRUE(write(98, "bbbb"));
  ASSERT_TRUE(write(103, "c"));
  EXPECT_EQ(read(97, 10), ".bbbbacaa.");
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(97, 10), ".bbbbacaa.");
}

TEST_F(BatchIO, UnalignedWritesKeepTheirNeighboursAndOnlyEdgeBlocksAreRead) {
  ASSERT_TRUE(write(700, std::string(3000, 'a')));
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(disk.take_events(),
            (Events{{'r', 512, 512}, {'r', 3584, 512}, {'w', 512, 3584}, {'s', 0, 0}}));
  EXPECT_EQ(durable(0, 4500),
            std::string(700, '.') + std::string(3000, 'a') + std::string(800, '.'));
}

TEST_F(BatchIO, TwoWritesThatShareABlockDoNotUndoEachOther) {
  ASSERT_TRUE(write(200, std::string(100, 'b')));
  ASSERT_TRUE(write(0, std::string(100, 'a')));
  ASSERT_TRUE(write(500, std::string(100, 'c')));
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(io_kinds(), "rws");
  EXPECT_EQ(durable(0, 1024), std::string(100, 'a') + std::string(100, '.') +
                                  std::string(100, 'b') + std::string(200, '.') +
                                  std::string(100, 'c') + std::string(424, '.'));
}

TEST_F(BatchIO, AWriteLargerThanTheBufferIsAcceptedAfterWhatIsBuffered) {
  make({.max_operations = 32, .max_bytes = 64_KiB});
  ASSERT_TRUE(write(100, "before"));
  const std::string large(3_MiB, 'L');
  ASSERT_TRUE(write(1000, large));
  EXPECT_EQ(read(1000, 3_MiB), large);
  EXPECT_EQ(read(100, 6), "before");
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(durable(1000, 3_MiB), large);
  EXPECT_EQ(durable(100, 7), "before.");
  EXPECT_EQ(durable(999, 1), ".");
}

TEST_F(BatchIO, WritesOutsideTheDiskAndEmptyOnesAreRefused) {
  for (const auto& [offset, size] : std::vector<std::pair<std::uint64_t, std::size_t>>{
           {16_MiB, 1}, {16_MiB - 1, 2}, {~0ULL, 1}, {~0ULL - 1, 2}, {0, 0}}) {
    const auto written = io->write(offset, bytes_of(std::string(size, 'x')));
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error(), Errc::invalid_io);
  }
  ASSERT_TRUE(write(16_MiB - 1, "z"));
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(16_MiB - 2, 2), ".z");
}

TEST_F(BatchIO, WhatIsWrittenWholeGoesOutWithoutACopy) {
  make({.max_operations = 4, .max_bytes = 1_MiB});
  const std::uint64_t memory = io->counts().memory_bytes;
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(write(i * 4096, std::string(4096, 'a')));
    ASSERT_TRUE(io->flush());
  }
  EXPECT_EQ(io->counts().memory_bytes, memory);
}

// ---- Failures ----

TEST_F(BatchIO,
       AfterAFailedWriteNothingHasLeftTheBufferAndTheNextFlushWritesAllAgainBeforeItsSync) {
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(write(i * 65536, std::string(512, 'a')));
  disk.fail_write(3);
  const auto failed = io->flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::io_error);
  EXPECT_EQ(failed.error().os_error(), EIO);
  EXPECT_EQ(io_kinds(), "wwWww");  // and no sync
  EXPECT_EQ(io->counts().pending_operations, 5U);
  EXPECT_EQ(read(2 * 65536, 512), std::string(512, 'a'));
  EXPECT_EQ(io_kinds(), "");  // from memory
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 5U);
  EXPECT_EQ(io_kinds(), "wwwwws");
  EXPECT_EQ(durable(2 * 65536, 512), std::string(512, 'a'));
}

TEST_F(BatchIO, AFailedSyncIsFollowedByAllWritesAndOnlyThenByTheNextSync) {
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(write(i * 65536, std::string(512, 'a')));
  disk.fail_sync(1);
  const auto failed = io->flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::sync_failed);
  ASSERT_TRUE(write(10 * 65536, std::string(512, 'b')));
  EXPECT_EQ(io->counts().pending_operations, 4U);
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 4U);
  EXPECT_EQ(io_kinds(), "wwwSwwwws");
  EXPECT_EQ(durable(0, 512), std::string(512, 'a'));
}

TEST_F(BatchIO, AFullDiskIsReportedAsSuch) {
  ASSERT_TRUE(write(0, std::string(512, 'a')));
  disk.fail_write(1, ENOSPC);
  const auto failed = io->flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::no_space);
}

TEST_F(BatchIO, NeighboursInABlockThatAFailedWriteDestroyedAreWrittenBack) {
  disk.fill(std::vector<std::byte>(16_MiB, std::byte{'n'}));
  ASSERT_TRUE(write(100, "aaa"));
  disk.fail_write(1);
  ASSERT_FALSE(io->flush());
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(0, 512), std::string(100, 'n') + "aaa" + std::string(409, 'n'));
  EXPECT_EQ(io_kinds(), "rWws");
}

TEST_F(BatchIO, AReadDuringWhichItsBlockIsDestroyedByAFailedWriteIsDoneAgain) {
  disk.fail_write(1);
  disk.at_next_read([&] {
    ASSERT_TRUE(write(100, "aaa"));
    ASSERT_FALSE(io->flush());
  });
  EXPECT_EQ(read(400, 3), "...");
}

TEST_F(BatchIO, AFailedReadOfAnEdgeFailsTheFlushAndLosesNothing) {
  ASSERT_TRUE(write(100, "aaa"));
  disk.fail_reads_of({0, 1});
  const auto failed = io->flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::io_error);
  EXPECT_EQ(io_kinds(), "R");
  EXPECT_EQ(read(100, 3), "aaa");
  disk.fail_reads_of({});
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(99, 5), ".aaa.");
}

TEST_F(BatchIO, AWriteIsAcceptedWhileFlushesFailUntilTheBufferIsFull) {
  make({.max_operations = 2, .max_bytes = 4_KiB});
  disk.fail_all_writes(true);
  std::uint64_t accepted = 0, failures = 0;
  Errc last = Errc::not_found;
  for (; accepted < 10000; ++accepted) {
    const auto written = io->write(accepted * 4096, bytes_of(std::string(4096, 'x')));
    if (written) continue;
    last = written.error().code();
    if (last != Errc::flush_failed) break;
    ++failures;
  }
  EXPECT_EQ(last, Errc::buffer_full);
  EXPECT_GT(failures, 0U);
  EXPECT_GT(accepted, 2U);
  ASSERT_LT(accepted, 200U);  // memory is bounded
  EXPECT_EQ(io->counts().pending_operations, accepted);
  for (std::uint64_t i = 0; i < accepted; ++i) ASSERT_EQ(read(i * 4096, 4), "xxxx");
  ASSERT_EQ(read(accepted * 4096, 4), "....");
  disk.fail_all_writes(false);
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, accepted);
  EXPECT_EQ(durable(0, accepted * 4096 + 1), std::string(accepted * 4096, 'x') + ".");
}

}  // namespace
}  // namespace rawcache
