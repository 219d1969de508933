// Guards that a sync that runs while buffers fill and are written promises no more than one that is
// waited for: what it makes durable is what had been written when it began.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "base/io_arena.h"
#include "batch/batch_io_manager.h"
#include "batch/test_disk.h"

namespace rawcache::testing {
namespace {

class BackgroundSync : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = std::size_t{1} << 20;

  BackgroundSync() : disk(kBytes, 512) {
    disk.hold_syncs();
    io = *BatchIOManager::create(disk, {}, IoArena::create(kBytes), 0);
  }

  void TearDown() override {
    disk.release();
    disk.release_syncs();
  }

  /// Buffers a block of this letter, at its place in the alphabet, and has it written.
  void seal(char letter) {
    const std::uint64_t offset = static_cast<std::uint64_t>(letter - 'a') * 4096;
    const std::span<std::byte> room = io->reserve(offset, 4096);
    ASSERT_EQ(room.size(), 4096U);
    std::ranges::fill(room, static_cast<std::byte>(letter));
    ASSERT_TRUE(io->seal().value());
    ASSERT_TRUE(io->submit());
  }
  /// What has been made durable as far as anybody was told, and what survives a power cut now.
  std::size_t told = 0;
  void progress() {
    const Completed completed = io->progress();
    ASSERT_TRUE(completed.outcome);
    told += completed.buffers;
  }
  std::string durable() {
    const std::vector<std::byte> bytes = disk.durable();
    std::string letters;
    for (std::size_t at = 0; at < bytes.size(); at += 4096) {
      if (bytes[at] != std::byte{0}) letters += static_cast<char>(bytes[at]);
    }
    return letters;
  }
  std::string kinds() { return TestDisk::kinds(disk.take_events()); }

  TestDisk disk;
  std::unique_ptr<BatchIOManager> io;
};

TEST_F(BackgroundSync, BeginsWhenWritesHaveEndedAndIsNotWaitedFor) {
  disk.hold();
  seal('a');
  progress();
  EXPECT_EQ(kinds(), "w") << "not written yet";
  disk.release();
  progress();
  EXPECT_EQ(kinds(), "b");
  progress();
  EXPECT_EQ(told, 0U);
  EXPECT_EQ(io->counts().sealed_buffers, 1U);
  disk.release_syncs();
  progress();
  EXPECT_EQ(kinds(), "s");
  EXPECT_EQ(told, 1U);
  EXPECT_EQ(durable(), "a");
  progress();
  EXPECT_EQ(kinds(), "") << "nothing is left to sync";
}

TEST_F(BackgroundSync, MakesNothingDurableThatWasWrittenAfterItBegan) {
  seal('a');
  progress();
  seal('b');
  seal('c');
  progress();
  EXPECT_EQ(kinds(), "wbww") << "one at a time";
  disk.release_syncs();
  progress();
  EXPECT_EQ(told, 1U);
  EXPECT_EQ(durable(), "a");
  progress();
  EXPECT_EQ(told, 3U);
  EXPECT_EQ(durable(), "abc") << "the next one is for both";
  EXPECT_EQ(kinds(), "sbs");
}

TEST_F(BackgroundSync, MakesNothingDurableThatIsStillBeingWritten) {
  disk.hold(4096);
  seal('a');
  seal('b');
  progress();
  EXPECT_EQ(kinds(), "wwb");
  disk.release_syncs();
  progress();
  EXPECT_EQ(told, 1U);
  EXPECT_EQ(durable(), "a");
  disk.release();
  const Completed completed = io->complete();
  ASSERT_TRUE(completed.outcome);
  EXPECT_EQ(completed.buffers, 1U);
  EXPECT_EQ(durable(), "ab");
}

TEST_F(BackgroundSync, IsWaitedForWhenAllBuffersAreTaken) {
  for (char letter = 'a'; io->can_seal(); ++letter) seal(letter);
  progress();
  progress();
  EXPECT_FALSE(io->can_seal()) << "looking does not wait";
  disk.release_syncs();
  const Completed completed = io->make_room();
  ASSERT_TRUE(completed.outcome);
  EXPECT_EQ(completed.buffers, kSealedBuffersMax);
  EXPECT_TRUE(io->can_seal());
}

TEST_F(BackgroundSync, IsFollowedByAnotherOneBeforeAllIsDurable) {
  seal('a');
  progress();
  seal('b');
  disk.release_syncs();
  const Completed completed = io->complete();
  ASSERT_TRUE(completed.outcome);
  EXPECT_EQ(completed.buffers, 2U);
  EXPECT_EQ(kinds(), "wbwss") << "not in the background: it is waited for";
  EXPECT_EQ(durable(), "ab");
}

TEST_F(BackgroundSync, ThatFailsMakesEverythingBeWrittenAgain) {
  seal('a');
  progress();
  seal('b');
  disk.fail_sync(1);
  disk.release_syncs();
  const Completed failed = io->progress();
  ASSERT_FALSE(failed.outcome);
  EXPECT_EQ(failed.outcome.error(), Errc::sync_failed);
  EXPECT_EQ(failed.buffers, 0U);
  EXPECT_EQ(io->counts().in_flight_operations, 0U);
  kinds();
  const Completed completed = io->complete();
  ASSERT_TRUE(completed.outcome);
  EXPECT_EQ(completed.buffers, 2U);
  EXPECT_EQ(kinds(), "wws");
  EXPECT_EQ(durable(), "ab");
}

TEST_F(BackgroundSync, TellsWhatIsDurableEvenIfALaterOneFails) {
  seal('a');
  progress();
  seal('b');
  disk.fail_sync(2);
  disk.release_syncs();
  const Completed completed = io->complete();
  EXPECT_FALSE(completed.outcome);
  EXPECT_EQ(completed.buffers, 1U);
  EXPECT_EQ(completed.operations, 1U);
  EXPECT_EQ(durable(), "a");
  EXPECT_EQ(io->counts().sealed_buffers, 1U);
}

TEST_F(BackgroundSync, IsWaitedForWhenItsBuffersAreGivenUp) {
  seal('a');
  progress();
  disk.release_syncs();
  io->halt();
  io->discard();
  EXPECT_EQ(kinds(), "wbs");
  disk.hold_syncs();
  seal('b');
  progress();
  EXPECT_EQ(kinds(), "wb") << "one for the new buffer, and no other is under way";
  disk.release_syncs();
}

}  // namespace
}  // namespace rawcache::testing
