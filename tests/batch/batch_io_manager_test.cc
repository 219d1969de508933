// BatchIOManager: what was written is what is read, before, during and after a flush, whatever
// fails; a flush is all or nothing and ends with one sync. The disk records the order of I/O
// (test_disk.h) and the contents are compared with a plain array.
#include "batch/batch_io_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "batch/test_disk.h"

namespace rawcache {
namespace {

using testing::TestDisk;
using Event = TestDisk::Event;
using Events = std::vector<Event>;

constexpr std::size_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return n << 20; }

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// A disk of dots with a manager on it.
class BatchIO : public ::testing::Test {
 protected:
  explicit BatchIO(std::uint32_t alignment = 512) : disk(16_MiB, alignment) {
    disk.fill(std::vector<std::byte>(16_MiB, std::byte{'.'}));
    make({});
  }

  void make(const BatchLimits& limits, std::size_t arena_bytes = 16_MiB,
            std::uint64_t gap = 64_KiB) {
    arena = IoArena::create(arena_bytes);
    auto made = BatchIOManager::create(disk, limits, arena, gap);
    ASSERT_TRUE(made);
    io = std::move(*made);
  }

  static std::string text(const ReadAnswer& answer) {
    if (!answer.bytes) return "error " + std::string(errc_name(answer.bytes.error().code()));
    return {reinterpret_cast<const char*>(answer.bytes->data()), answer.bytes->size()};
  }
  std::string read(std::uint64_t offset, std::uint64_t size) {
    return text(io->read(Extent{offset, size}));
  }
  std::vector<std::string> read_all(const std::vector<Extent>& extents) {
    std::vector<std::string> texts;
    for (const ReadAnswer& answer : io->read(extents)) texts.push_back(text(answer));
    return texts;
  }
  /// What survives a power cut now.
  std::string durable(std::uint64_t offset, std::uint64_t size) {
    const std::vector<std::byte> bytes = disk.durable();
    return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
  }
  bool write(std::uint64_t offset, std::string_view bytes) {
    return io->write(offset, bytes_of(bytes)).has_value();
  }
  std::string io_kinds() { return TestDisk::kinds(disk.take_events()); }

  TestDisk disk;
  std::shared_ptr<IoArena> arena;
  std::unique_ptr<BatchIOManager> io;
};

class BatchIOOfEightBytes : public BatchIO {
 protected:
  BatchIOOfEightBytes() : BatchIO(8) {}
};

// ---- Writing ----

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

TEST_F(BatchIO, TheLastByteOfFourMebibytesStartsAFlushInPiecesOfAMebibyte) {
  ASSERT_TRUE(write(0, std::string(4_MiB - 512, 'a')));
  ASSERT_TRUE(write(4_MiB - 512, std::string(511, 'b')));
  EXPECT_EQ(io_kinds(), "");
  EXPECT_EQ(io->counts().pending_bytes, 4_MiB - 1);
  ASSERT_TRUE(write(4_MiB - 1, "c"));
  EXPECT_EQ(
      disk.take_events(),
      (Events{{'w', 0, 1_MiB}, {'w', 1_MiB, 1_MiB}, {'w', 2_MiB, 1_MiB}, {'w', 3_MiB, 1_MiB}}));
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

// ---- The steps ----

TEST_F(BatchIO, ASealedBufferIsWrittenAndForgottenStepByStep) {
  EXPECT_TRUE(io->can_seal());
  const auto room = io->reserve(4096, 512);
  std::fill(room.begin(), room.end(), std::byte{'a'});
  ASSERT_TRUE(io->seal().value());
  EXPECT_TRUE(io->has_sealed());
  EXPECT_EQ(io_kinds(), "");
  ASSERT_FALSE(io->seal().value());  // nothing to seal
  const auto more = io->reserve(8192, 512);
  std::fill(more.begin(), more.end(), std::byte{'b'});
  ASSERT_TRUE(io->submit());
  ASSERT_TRUE(io->submit());  // under way already
  EXPECT_EQ(io_kinds(), "w");
  const auto done = io->complete();
  ASSERT_TRUE(done.outcome);
  EXPECT_EQ(done.operations, 1U);
  EXPECT_EQ(done.buffers, 1U);
  EXPECT_EQ(io_kinds(), "s");
  EXPECT_EQ(durable(4095, 3), ".aa");
  EXPECT_EQ(durable(8192, 1), ".");
  EXPECT_EQ(read(8192, 2), "bb");
}

TEST_F(BatchIO, SeveralBuffersAreUnderWayAtOnceAndShareOneSync) {
  disk.hold();
  for (std::size_t i = 0; i < kSealedBuffersMax; ++i) {
    ASSERT_TRUE(io->can_seal());
    ASSERT_TRUE(write(i * 4096, std::string(4096, static_cast<char>('a' + i))));
    ASSERT_TRUE(io->seal().value());
    ASSERT_TRUE(io->submit());
  }
  EXPECT_EQ(io_kinds(), std::string(kSealedBuffersMax, 'w'));
  EXPECT_EQ(io->counts().in_flight_operations, kSealedBuffersMax);
  EXPECT_FALSE(io->can_seal());
  ASSERT_TRUE(write(1 << 16, std::string(4096, 'x')));
  const auto refused = io->seal();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), Errc::buffer_full);
  disk.release();
  const auto all = io->make_room();
  ASSERT_TRUE(all.outcome);
  EXPECT_EQ(all.buffers, kSealedBuffersMax);
  EXPECT_EQ(io_kinds(), "s");
  EXPECT_EQ(durable(0, 1), "a");
  EXPECT_EQ(durable(4096 * (kSealedBuffersMax - 1), 1),
            std::string(1, static_cast<char>('a' + kSealedBuffersMax - 1)));
  ASSERT_TRUE(io->seal().value());
  const auto rest = io->complete();
  ASSERT_TRUE(rest.outcome);
  EXPECT_EQ(rest.buffers, 1U);
  EXPECT_EQ(io_kinds(), "ws");
}

TEST_F(BatchIO, AFailureTakesEveryBufferUnderWayBackAndAllAreWrittenAgain) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(write(i * 4096, std::string(4096, static_cast<char>('a' + i))));
    ASSERT_TRUE(io->seal().value());
  }
  ASSERT_TRUE(io->submit());
  disk.fail_sync(1);
  io_kinds();
  ASSERT_FALSE(io->complete().outcome);
  EXPECT_EQ(io->counts().in_flight_operations, 0U);
  EXPECT_EQ(io->counts().pending_operations, 3U);
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(read(i * 4096, 1), std::string(1, static_cast<char>('a' + i)));
  }
  io_kinds();
  ASSERT_TRUE(io->complete().outcome);
  EXPECT_EQ(io_kinds(), "wwws");
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(durable(i * 4096, 1), std::string(1, static_cast<char>('a' + i)));
  }
}

TEST_F(BatchIO, WritesOfTheSameBlocksDoNotPassEachOther) {
  disk.hold();
  ASSERT_TRUE(write(0, std::string(4096, 'a')));
  ASSERT_TRUE(io->seal().value());
  ASSERT_TRUE(write(100, "bbb"));  // the rest of its block is what the first one writes
  ASSERT_TRUE(io->seal().value());
  ASSERT_TRUE(write(8192, std::string(4096, 'c')));
  ASSERT_TRUE(io->seal().value());
  ASSERT_TRUE(io->submit());
  EXPECT_EQ(io_kinds(), "w");
  EXPECT_EQ(read(99, 5), "abbba");
  disk.release();
  const auto done = io->complete();
  ASSERT_TRUE(done.outcome);
  EXPECT_EQ(done.buffers, 3U);
  EXPECT_EQ(durable(99, 5), "abbba");
  EXPECT_EQ(durable(4095, 1), "a");
  EXPECT_EQ(durable(8192, 1), "c");
}

TEST_F(BatchIO, BytesChangedAfterAFailureAreWhatTheNextTryWrites) {
  const auto room = io->reserve(100, 3);
  std::memcpy(room.data(), "abc", 3);
  ASSERT_TRUE(io->seal());
  ASSERT_TRUE(io->submit());
  disk.fail_sync(1);
  ASSERT_FALSE(io->complete().outcome);
  io->patch([&] { std::ranges::copy(bytes_of("xyz"), room.begin()); });
  EXPECT_EQ(read(99, 5), ".xyz.");
  ASSERT_TRUE(io->complete().outcome);
  EXPECT_EQ(durable(99, 5), ".xyz.");
}

TEST_F(BatchIO, BuffersThatAreTakenAreNeitherReadNorWrittenAnyMore) {
  ASSERT_TRUE(write(0, std::string(512, 'a')));
  ASSERT_TRUE(io->seal());
  disk.fail_write(1);
  ASSERT_TRUE(io->submit());
  ASSERT_FALSE(io->complete().outcome);
  ASSERT_TRUE(write(4096, std::string(512, 'f')));
  const auto result = io->take_all();
  ASSERT_TRUE(result);
  const std::vector<WriteBuffer>& taken = *result;
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].operations(), 1U);
  EXPECT_EQ(taken[1].operations(), 1U);
  std::string text(512, ' ');
  EXPECT_EQ(taken[0].read(0, std::as_writable_bytes(std::span(text))), 512U);
  EXPECT_EQ(text, std::string(512, 'a'));
  EXPECT_EQ(io->counts().pending_operations, 0U);
  io_kinds();
  ASSERT_TRUE(write(8192, std::string(512, 'b')));
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(disk.take_events(), (Events{{'w', 8192, 512}, {'s', 0, 0}}));
  ASSERT_TRUE(write(8192, std::string(512, 'c')));
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(8192, 1), "c");
}

TEST_F(BatchIO, DiscardDropsWhatIsSealedAndWhatFills) {
  ASSERT_TRUE(write(0, std::string(512, 'a')));
  ASSERT_TRUE(io->seal());
  ASSERT_TRUE(io->submit());
  ASSERT_TRUE(write(8192, std::string(512, 'b')));
  disk.fail_sync(1);
  ASSERT_FALSE(io->complete().outcome);
  EXPECT_EQ(read(0, 2), "aa");
  io->discard();
  EXPECT_EQ(read(8192, 2), "..");
  EXPECT_EQ(io->counts().pending_operations, 0U);
  const auto flushed = io->flush();
  ASSERT_TRUE(flushed);
  EXPECT_EQ(*flushed, 0U);
  EXPECT_TRUE(io->can_seal());
}

TEST_F(BatchIO, WhatIsBeingFilledIsNotThereAndHeadersReadAsZeros) {
  const auto header = io->reserve(0, 4, 0);
  const auto entry = io->prepare(4, 4);
  std::memcpy(header.data(), "HHHH", 4);
  std::memcpy(entry.data(), "eeee", 4);
  EXPECT_EQ(read(0, 10), std::string(4, '\0') + "......");
  io->commit();
  EXPECT_EQ(read(0, 10), std::string(4, '\0') + "eeee..");
  ASSERT_TRUE(io->seal());
  EXPECT_EQ(read(0, 10), "HHHHeeee..");
  ASSERT_TRUE(io->complete().outcome);
  EXPECT_EQ(durable(0, 10), "HHHHeeee..");
}

TEST_F(BatchIO, ReadBufferedAnswersFromMemoryOrNotAtAll) {
  ReadAnswer answer;
  const auto buffered = [&](std::uint64_t offset, std::uint64_t size) {
    return io->read_buffered({offset, size}, answer) ? text(answer) : "no";
  };
  EXPECT_EQ(buffered(0, 4), "no");
  ASSERT_TRUE(write(4, "aaaa"));
  ASSERT_TRUE(write(12, "bb"));
  EXPECT_EQ(buffered(4, 2), "aa");
  EXPECT_EQ(buffered(6, 6), "aa") << "up to the end of that write";
  EXPECT_EQ(buffered(6, 8), "no") << "a newer write lies in it";
  EXPECT_EQ(buffered(2, 4), "no") << "the start is on the disk";
  EXPECT_EQ(buffered(20, 4), "no");
  ASSERT_TRUE(io->seal());
  EXPECT_EQ(buffered(4, 8), "aaaa");
  ASSERT_TRUE(write(6, "c"));
  EXPECT_EQ(buffered(6, 4), "c") << "the newest";
  EXPECT_EQ(buffered(4, 4), "no") << "partly newer";
  EXPECT_EQ(read(4, 4), "aaca");
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(buffered(4, 4), "no");
}

TEST_F(BatchIO, PaddingIsZeroAlsoInMemoryThatIsUsedAgain) {
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t offset = static_cast<std::uint64_t>(round) * 65536;
    const auto entry = io->reserve(offset, 300);
    std::fill(entry.begin(), entry.end(), std::byte{0xFF});
    ASSERT_FALSE(io->reserve(offset + 300, 212, 0).empty());
    ASSERT_TRUE(io->flush());
    ASSERT_EQ(durable(offset + 300, 213), std::string(212, '\0') + ".");
    for (std::uint64_t i = 0; i < 8; ++i) {  // dirties both buffers where the padding will be
      ASSERT_TRUE(write(1_MiB + i * 8192, std::string(4096, 'd')));
    }
    ASSERT_TRUE(io->flush());
  }
}

// ---- Reading ----

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

// ---- Everything together ----

struct Chance {
  unsigned seed;
  std::uint32_t alignment;
  unsigned fail_one_in;  // 0: never
};

class BatchIOModel : public ::testing::TestWithParam<Chance> {};

TEST_P(BatchIOModel, AgreesWithAPlainArrayThroughWritesFlushesAndReads) {
  constexpr std::uint64_t kSize = 256_KiB;
  const Chance chance = GetParam();
  TestDisk disk(kSize, chance.alignment);
  disk.fail_one_in(chance.fail_one_in);
  const auto arena = IoArena::create(4_MiB);
  auto made = BatchIOManager::create(disk, {.max_operations = 8, .max_bytes = 64_KiB}, arena, 4096);
  ASSERT_TRUE(made);
  BatchIOManager& io = **made;
  std::vector<std::byte> model(kSize), flushed(kSize);
  std::mt19937_64 random(chance.seed);
  const auto extent = [&] {
    const std::uint64_t size = 1 + random() % (random() % 8 == 0 ? 20000 : 900);
    const std::uint64_t offset = random() % (kSize - size);
    if (random() % 3 != 0) return Extent{offset, size};
    return Extent{offset & ~std::uint64_t{4095},
                  std::min(kSize - offset, (size + 511) & ~std::uint64_t{511})};
  };
  std::uint64_t accepted = 0, durable = 0, failures = 0;
  for (int step = 0; step < 3000; ++step) {
    if (const auto action = random() % 10; action < 6) {
      const Extent place = extent();
      std::vector<std::byte> bytes(place.size, static_cast<std::byte>(random()));
      const auto written = io.write(place.offset, bytes);
      if (!written) ++failures;
      if (written || written.error() == Errc::flush_failed) {
        std::copy(bytes.begin(), bytes.end(),
                  model.begin() + static_cast<std::ptrdiff_t>(place.offset));
        ++accepted;
      }
    } else if (action == 6) {
      const auto done = io.flush();
      if (!done) {
        ++failures;
        continue;
      }
      durable += *done;
      ASSERT_TRUE(disk.durable() == model) << "step " << step;
      ASSERT_EQ(io.counts().pending_operations + io.counts().in_flight_operations, 0U);
    } else {
      std::vector<Extent> extents;
      for (std::uint64_t i = random() % 6; i != ~0ULL; --i) extents.push_back(extent());
      const std::vector<ReadAnswer> answers = io.read(extents);
      ASSERT_EQ(answers.size(), extents.size());
      for (std::size_t i = 0; i < answers.size(); ++i) {
        ASSERT_TRUE(answers[i].bytes);
        ASSERT_EQ(answers[i].bytes->size(), extents[i].size);
        ASSERT_TRUE(std::equal(answers[i].bytes->begin(), answers[i].bytes->end(),
                               model.begin() + static_cast<std::ptrdiff_t>(extents[i].offset)))
            << "step " << step;
      }
    }
  }
  disk.fail_one_in(0);
  (void)io.flush();  // what is under way may have failed already
  ASSERT_TRUE(io.flush());
  EXPECT_TRUE(disk.durable() == model);
  EXPECT_EQ(failures != 0, chance.fail_one_in != 0);
  EXPECT_GT(accepted, 100U);  // most are refused where every fifth I/O fails
  EXPECT_LE(durable, accepted);
  EXPECT_EQ(arena->leased_bytes() + arena->heap_bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BatchIOModel,
                         ::testing::Values(Chance{1, 512, 0}, Chance{2, 512, 0}, Chance{3, 4096, 0},
                                           Chance{4, 8, 0}, Chance{5, 512, 20}, Chance{6, 512, 5},
                                           Chance{7, 4096, 20}, Chance{8, 4096, 5},
                                           Chance{9, 8, 10}, Chance{10, 512, 50}));

}  // namespace
}  // namespace rawcache
