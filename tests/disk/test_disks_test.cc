// The tests of the test disks: FaultyDisk and SimDisk do what the proofs believe that they do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "base/aligned_buffer.h"
#include "rawcache/disk.h"
#include "support/faulty_disk.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::vector<std::byte> bytes_of(std::size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

TEST(FaultyDiskTest, TheKthRequestFailsOnceOrForEver) {
  FaultyDisk disk(make_memory_disk(kMiB));
  std::vector<std::byte> bytes = bytes_of(512, 0);
  disk.fail(Op::read, 3, EIO);
  std::vector<bool> went;
  for (int i = 0; i < 5; ++i) went.push_back(disk.read(0, bytes).has_value());
  EXPECT_EQ(went, (std::vector<bool>{true, true, false, true, true}));
  disk.fail(Op::read, 2, EIO, FaultyDisk::Repeat::for_ever);
  went.clear();
  for (int i = 0; i < 4; ++i) went.push_back(disk.read(0, bytes).has_value());
  EXPECT_EQ(went, (std::vector<bool>{true, false, false, false}));
  disk.heal();
  EXPECT_TRUE(disk.read(0, bytes));
  EXPECT_EQ(disk.count(Op::read), 10u);
  EXPECT_EQ(disk.count(Op::write), 0u);
  EXPECT_EQ(disk.failures(), 4u);
}

TEST(FaultyDiskTest, AFailedWriteDoesNotReachTheDisk) {
  FaultyDisk disk(make_memory_disk(kMiB));
  disk.fail(Op::write, 1, EIO);
  ASSERT_FALSE(disk.write(0, bytes_of(512, 9)));
  std::vector<std::byte> back = bytes_of(512, 1);
  ASSERT_TRUE(disk.read(0, back));
  EXPECT_EQ(back, bytes_of(512, 0));
}

TEST(FaultyDiskTest, AFailedWriteMayHaveReachedTheDiskInPartOrWhole) {
  using Reach = FaultyDisk::Reach;
  for (const auto& [reach, size] : {std::pair{Reach::half, 1024}, std::pair{Reach::all, 2048}}) {
    FaultyDisk disk(make_memory_disk(kMiB));
    int told = 0;
    disk.set_on_failure([&](const FaultyDisk::Event& event) { told += event.op == Op::write; });
    disk.fail(Op::write, 1, EIO, FaultyDisk::Repeat::once, reach);
    ASSERT_FALSE(disk.write(0, bytes_of(2048, 9)));
    std::vector<std::byte> back = bytes_of(2048, 1);
    ASSERT_TRUE(disk.read(0, back));
    EXPECT_EQ(std::ranges::count(back, std::byte{9}), size);
    EXPECT_EQ(told, 1);
  }
}

TEST(FaultyDiskTest, AFailedReadMayHaveFilledSomeOfItsMemory) {
  auto sim = std::make_unique<SimDisk>(bytes_of(4096, 7));
  FaultyDisk disk(std::move(sim));
  for (const auto& [reach, filled] : {std::pair(FaultyDisk::Reach::nothing, 0),
                                      {FaultyDisk::Reach::half, 1024},
                                      {FaultyDisk::Reach::all, 2048}}) {
    AlignedBuffer memory = AlignedBuffer::allocate(2048);
    disk.fail(Op::read, 1, EIO, FaultyDisk::Repeat::once, reach);
    EXPECT_FALSE(disk.read(0, memory.bytes()));
    EXPECT_EQ(std::ranges::count(memory.bytes(), std::byte{7}), filled);
  }
}

TEST(FaultyDiskTest, ARequestThatNeverEndsIsGivenUpWhenEverythingIsWaitedForAndNoSooner) {
  FaultyDisk disk(std::make_unique<SimDisk>(bytes_of(4096, 7)));
  int given_up = 0;
  disk.set_on_failure([&](const FaultyDisk::Event&) { ++given_up; });
  disk.fail(Op::read, 2, ETIMEDOUT, FaultyDisk::Repeat::for_ever, FaultyDisk::Reach::nothing,
            FaultyDisk::Pace::never);
  AlignedBuffer memory = AlignedBuffer::allocate(3 * 512);
  IoBatch batch;
  for (std::uint64_t i = 0; i < 3; ++i) {
    batch.requests.push_back({.kind = IoRequest::Kind::read,
                              .offset = i * 512,
                              .data = memory.data() + i * 512,
                              .size = 512});
  }
  ASSERT_TRUE(disk.submit(batch));
  EXPECT_EQ(disk.wait(batch, 0), 2u);
  EXPECT_EQ(given_up, 0);
  while (batch.under_way > 0) disk.wait(batch, 1);
  EXPECT_EQ(given_up, 2);
  EXPECT_EQ(batch.requests[0].os_error, 0);
  EXPECT_EQ(batch.requests[1].os_error, ETIMEDOUT);
  EXPECT_EQ(batch.requests[2].os_error, ETIMEDOUT);
}

TEST(FaultyDiskTest, TheHookSeesEveryRequestBeforeItHappens) {
  FaultyDisk disk(make_memory_disk(kMiB));
  std::vector<FaultyDisk::Event> events;
  disk.set_hook([&](const FaultyDisk::Event& event) {
    EXPECT_EQ(disk.inner().counters().writes, 0u);
    events.push_back(event);
    if (event.op == Op::write) disk.fail(Op::write, 1, EIO);  // the hook may call the disk
  });
  EXPECT_FALSE(disk.write(1024, bytes_of(512, 9)));
  EXPECT_TRUE(disk.sync());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].offset, 1024u);
  EXPECT_EQ(events[0].size, 512u);
  EXPECT_EQ(events[1].op, Op::sync);
}

TEST(FaultyDiskTest, ASyncMayBeSlow) {
  FaultyDisk disk(make_memory_disk(kMiB));
  disk.set_sync_delay(std::chrono::milliseconds(20));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(disk.sync());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(20));
}

TEST(SimDiskTest, SyncedWritesSurviveEveryCrashAndUnsyncedOnesByPolicy) {
  SimDisk disk(16 * 512);
  ASSERT_TRUE(disk.write(0, bytes_of(4 * 512, 1)));
  ASSERT_TRUE(disk.sync());
  ASSERT_TRUE(disk.write(8 * 512, bytes_of(4 * 512, 2)));
  EXPECT_EQ(disk.unsynced_writes(), 1u);
  std::mt19937_64 random(1);
  for (const CrashPolicy policy : {CrashPolicy::lose_all, CrashPolicy::keep_all,
                                   CrashPolicy::any_whole, CrashPolicy::any_torn}) {
    const std::vector<std::byte> image = disk.crash(random, policy);
    EXPECT_TRUE(std::equal(image.begin(), image.begin() + 4 * 512, bytes_of(4 * 512, 1).begin()));
  }
  EXPECT_EQ(disk.crash(random, CrashPolicy::lose_all), disk.durable_content());
  EXPECT_EQ(disk.crash(random, CrashPolicy::keep_all), disk.content());
  EXPECT_NE(disk.durable_content(), disk.content());
  ASSERT_TRUE(disk.sync());
  EXPECT_EQ(disk.crash(random, CrashPolicy::any_torn), disk.content());
}

TEST(SimDiskTest, TearingReachesEverySubsetOfSectorsAndNothingElse) {
  SimDisk disk(4 * 512);
  ASSERT_TRUE(disk.write(0, bytes_of(3 * 512, 1)));
  ASSERT_TRUE(disk.sync());
  ASSERT_TRUE(disk.write(0, bytes_of(3 * 512, 2)));
  std::mt19937_64 random(1);
  std::set<std::vector<int>> seen;
  for (int i = 0; i < 300; ++i) {
    const std::vector<std::byte> image = disk.crash(random, CrashPolicy::any_torn);
    std::vector<int> sectors;
    for (std::size_t s = 0; s < 3; ++s) {
      const auto value = static_cast<int>(image[s * 512]);
      ASSERT_TRUE(std::all_of(image.begin() + static_cast<std::ptrdiff_t>(s * 512),
                              image.begin() + static_cast<std::ptrdiff_t>(s * 512 + 512),
                              [&](std::byte b) { return static_cast<int>(b) == value; }));
      sectors.push_back(value);
    }
    ASSERT_EQ(image[3 * 512], std::byte{0});
    seen.insert(sectors);
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST(SimDiskTest, WholeWritesAreLostIndependentlyAndALaterOneIsNotUndoneByAnEarlierOne) {
  SimDisk disk(512);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  ASSERT_TRUE(disk.write(0, bytes_of(512, 2)));
  std::mt19937_64 random(1);
  std::array<int, 3> seen{};
  for (int i = 0; i < 400; ++i) {
    ++seen[static_cast<std::size_t>(disk.crash(random, CrashPolicy::any_whole)[0])];
  }
  // Both lost; only the first kept; the second kept, whatever became of the first.
  EXPECT_GT(seen[0], 50);
  EXPECT_GT(seen[1], 50);
  EXPECT_GT(seen[2], 150);
}

TEST(SimDiskTest, AShornSectorIsNewInFrontAndOldBehindAndGarbageIsNeither) {
  SimDisk disk(512);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  ASSERT_TRUE(disk.sync());
  ASSERT_TRUE(disk.write(0, bytes_of(512, 2)));
  std::mt19937_64 random(1);
  int shorn = 0;
  int garbage = 0;
  for (int i = 0; i < 200; ++i) {
    const auto image = disk.crash(random, CrashPolicy::any_shorn);
    ASSERT_TRUE(std::ranges::is_sorted(image, std::greater<>()));
    ASSERT_EQ(std::ranges::count(image, std::byte{1}) + std::ranges::count(image, std::byte{2}),
              512);
    shorn += image.front() != image.back();
    const auto other = disk.crash(random, CrashPolicy::any_garbage);
    garbage += other != disk.content() && other != disk.durable_content();
  }
  EXPECT_GT(shorn, 20);
  EXPECT_GT(garbage, 10);
}

TEST(SimDiskTest, WhatIsNotCompleteWhenASyncBeginsIsNotDurableAfterIt) {
  SimDisk disk(8 * 512);
  disk.complete_late(7);
  AlignedBuffer bytes = AlignedBuffer::allocate(4 * 512);
  std::ranges::fill(bytes.bytes(), std::byte{1});
  IoBatch batch;
  for (std::uint64_t i = 0; i < 4; ++i) {
    batch.requests.push_back({.kind = IoRequest::Kind::write,
                              .offset = i * 512,
                              .data = bytes.data() + i * 512,
                              .size = 512});
  }
  ASSERT_TRUE(disk.submit(batch));
  ASSERT_TRUE(disk.sync());
  EXPECT_EQ(disk.durable_content(), bytes_of(8 * 512, 0));
  // A power cut may keep what is under way.
  std::mt19937_64 random(1);
  EXPECT_NE(disk.crash(random, CrashPolicy::keep_all), bytes_of(8 * 512, 0));
  // The memory is looked at when a request completes.
  bytes.data()[0] = std::byte{3};
  while (batch.under_way > 0) disk.wait(batch, 1);
  EXPECT_EQ(disk.content()[0], std::byte{3});
  ASSERT_TRUE(disk.sync());
  EXPECT_EQ(disk.durable_content(), disk.content());
}

TEST(SimDiskTest, ASyncInTheBackgroundIsForWhatWasCompleteWhenItBegan) {
  SimDisk disk(2 * 512);
  disk.complete_late(7);
  ASSERT_TRUE(disk.info().background_sync);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  IoBatch sync;
  disk.start_sync(sync);
  ASSERT_TRUE(disk.write(512, bytes_of(512, 2)));
  EXPECT_EQ(disk.durable_content()[0], std::byte{0});
  ASSERT_TRUE(disk.finish_sync(sync));
  EXPECT_EQ(disk.durable_content()[0], std::byte{1});
  EXPECT_EQ(disk.durable_content()[512], std::byte{0});
  disk.start_sync(sync);
  disk.cut();
  EXPECT_EQ(disk.finish_sync(sync).error(), Errc::sync_failed);
  EXPECT_EQ(disk.durable_content()[512], std::byte{0});
}

TEST(SimDiskTest, ForgottenWritesStillReadAndAreNotDurableAfterTheNextSync) {
  SimDisk disk(2 * 512);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  disk.forget_unsynced();
  ASSERT_TRUE(disk.write(512, bytes_of(512, 2)));
  ASSERT_TRUE(disk.sync());
  EXPECT_EQ(disk.content()[0], std::byte{1});
  EXPECT_EQ(disk.durable_content()[0], std::byte{0});
  EXPECT_EQ(disk.durable_content()[512], std::byte{2});
}

TEST(SimDiskTest, AWriteMayGoElsewhereOrNowhereAndSaySuccess) {
  SimDisk disk(4 * 512);
  disk.misdirect_write(2, 3 * 512);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  ASSERT_TRUE(disk.write(512, bytes_of(512, 2)));
  ASSERT_TRUE(disk.write(1024, bytes_of(512, 3)));
  disk.misdirect_write(1, std::nullopt);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 4)));
  const auto content = disk.content();
  EXPECT_EQ(content[0], std::byte{1});
  EXPECT_EQ(content[512], std::byte{0});
  EXPECT_EQ(content[1024], std::byte{3});
  EXPECT_EQ(content[3 * 512], std::byte{2});
}

TEST(SimDiskTest, AReadMayFindWhatIsElsewhere) {
  SimDisk disk(8 * 512);
  ASSERT_TRUE(disk.write(512, bytes_of(512, 2)));
  disk.misdirect_read(1, 512, {1024, 512});
  std::vector<std::byte> found(512);
  ASSERT_TRUE(disk.read(0, found));  // not in the zone
  EXPECT_EQ(found, bytes_of(512, 0));
  ASSERT_TRUE(disk.read(1024, found));
  EXPECT_EQ(found, bytes_of(512, 2));
  ASSERT_TRUE(disk.read(1024, found));
  EXPECT_EQ(found, bytes_of(512, 0));
  EXPECT_EQ(disk.faults_met(), 1u);
}

TEST(SimDiskTest, ASectorRotsInEveryWayAndStaleIsWhatItWasBeforeTheLastWrite) {
  std::mt19937_64 random(1);
  SimDisk disk(8 * 512);
  disk.keep_overwritten();
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  ASSERT_TRUE(disk.write(0, bytes_of(512, 2)));
  EXPECT_TRUE(disk.rot(0, Rot::stale, random));
  EXPECT_EQ(disk.durable_content()[0], std::byte{1});
  EXPECT_FALSE(disk.rot(0, Rot::stale, random)) << "it is stale already";
  EXPECT_TRUE(disk.rot(0, Rot::zeros, random));
  EXPECT_EQ(disk.durable_content(), bytes_of(8 * 512, 0));
  EXPECT_FALSE(disk.rot(0, Rot::zeros, random));
  EXPECT_TRUE(disk.rot(0, Rot::bit, random));
  EXPECT_EQ(std::ranges::count(disk.content(), std::byte{0}), 8 * 512 - 1);
  EXPECT_TRUE(disk.rot(0, Rot::ones, random));
  EXPECT_EQ(std::ranges::count(disk.content(), std::byte{0xFF}), 512);
  EXPECT_TRUE(disk.rot(0, Rot::garbage, random));
  EXPECT_LT(std::ranges::count(disk.content(), std::byte{0xFF}), 50);
}

TEST(SimDiskTest, ASilentFaultCountsOnceItIsReadAndNotIfItIsOverwrittenBefore) {
  std::mt19937_64 random(1);
  SimDisk disk(8 * 512);
  std::vector<std::byte> all(8 * 512);
  EXPECT_TRUE(disk.rot(512, Rot::bit, random));
  ASSERT_TRUE(disk.write(512, bytes_of(512, 1)));
  disk.misdirect_write(1, std::nullopt);
  ASSERT_TRUE(disk.write(1024, bytes_of(1024, 1)));
  EXPECT_EQ(disk.faults_met(), 0u);
  ASSERT_TRUE(disk.read(0, all));
  ASSERT_TRUE(disk.read(0, all));
  EXPECT_EQ(disk.faults_met(), 1u);
  disk.misdirect_write(1, 3072);
  ASSERT_TRUE(disk.write(0, bytes_of(512, 1)));
  std::vector<std::byte> one(512);
  ASSERT_TRUE(disk.read(3072, one));
  ASSERT_TRUE(disk.read(0, one));
  EXPECT_EQ(disk.faults_met(), 2u);
}

TEST(SimDiskTest, OpenSectorsListEveryContentThatAPowerCutMayLeave) {
  SimDisk disk(4 * 512);
  ASSERT_TRUE(disk.write(0, bytes_of(1024, 1)));
  ASSERT_TRUE(disk.write(512, bytes_of(512, 2)));
  ASSERT_TRUE(disk.write(1024, bytes_of(512, 0)));  // as it was
  const auto open = disk.open_sectors();
  ASSERT_EQ(open.size(), 2u);
  EXPECT_EQ(open[0].contents.size(), 2u);
  ASSERT_EQ(open[1].contents.size(), 3u);
  EXPECT_EQ(open[1].offset, 512u);
  EXPECT_EQ(*open[1].contents[0], std::byte{0});
  EXPECT_EQ(*open[1].contents[2], std::byte{2});
}

TEST(SimDiskTest, TheSameSeedGivesTheSameCrashAndAnImageGivesADisk) {
  SimDisk disk(64 * 512);
  for (std::uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(disk.write(i * 512, bytes_of(512, 7)));
  std::mt19937_64 one(42), same(42), other(43);
  const std::vector<std::byte> image = disk.crash(one, CrashPolicy::any_torn);
  EXPECT_EQ(image, disk.crash(same, CrashPolicy::any_torn));
  EXPECT_NE(image, disk.crash(other, CrashPolicy::any_torn));
  SimDisk after(image);
  std::vector<std::byte> back(64 * 512);
  ASSERT_TRUE(after.read(0, back));
  EXPECT_EQ(back, image);
  EXPECT_EQ(after.unsynced_writes(), 0u);
}

TEST(MemoryDisk, OfNoBytesIsADiskAndOfMoreThanThereCanBeIsNone) {
  const auto none = make_memory_disk(0);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->info().size_bytes, 0u);
  std::byte byte{};
  EXPECT_EQ(none->read(0, std::span(&byte, 1)).error(), Errc::invalid_io);
  EXPECT_EQ(make_memory_disk(~std::uint64_t{0}), nullptr);
  EXPECT_EQ(make_memory_disk(std::uint64_t{1} << 62), nullptr) << "the kernel has no room";
}

}  // namespace
}  // namespace rawcache::testing
