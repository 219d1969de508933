// BatchIOManager, the steps of a flush, for a caller that encodes into the buffer and closes
// batches itself: sealed, under way, durable or taken back.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "batch/batch_io_fixture.h"

namespace rawcache {
namespace {

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

TEST_F(BatchIO, AFlushThatFoundNoMemoryHalfWayIsCarriedOutByTheNextOne) {
  ASSERT_TRUE(write(4096, std::string(4096, 'a')));
  disk.lack_memory_once();
  const auto failed = io->flush();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::out_of_memory);
  ASSERT_TRUE(io->flush());
  EXPECT_EQ(durable(4095, 3), ".aa");
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

TEST_F(BatchIO, FlushesMakeWayForReadsWhileTheDeviceIsRead) {
  const auto flushed_in_turn = [&] {
    EXPECT_TRUE(write(0, std::string(4096, 'a')) && io->flush());
    return disk.was_in_turn();
  };
  EXPECT_FALSE(flushed_in_turn());
  ASSERT_TRUE(write(1_MiB, "b"));
  EXPECT_EQ(read(1_MiB, 1), "b");
  EXPECT_FALSE(flushed_in_turn()) << "what is buffered is not read from the device";
  for (const bool batch : {false, true}) {
    if (batch) {
      read_all({{2_MiB, 512}, {4_MiB, 512}});
    } else {
      read(2_MiB, 512);
    }
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(flushed_in_turn()) << i;
    EXPECT_FALSE(flushed_in_turn());
  }
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

}  // namespace
}  // namespace rawcache
