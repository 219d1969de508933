// What a disk does when the device, the kernel or its limits fail it: each failure is reported for
// its request and no other, nothing hangs, and requests are carried out whichever way the kernel
// still offers. Also the tests of the test disks, FaultyDisk and SimDisk.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "base/aligned_buffer.h"
#include "disk/child.h"
#include "disk/file_descriptor.h"
#include "disk/posix_disk.h"
#if defined(RAWCACHE_HAVE_URING)
#include "disk/uring_disk.h"
#endif
#include "disk/scratch.h"
#include "rawcache/disk.h"
#include "support/faulty_disk.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

using Kind = IoRequest::Kind;
using Op = FaultyDisk::Op;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::vector<std::byte> bytes_of(std::size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

IoBatch row_of(Kind kind, std::size_t count, AlignedBuffer& memory) {
  IoBatch batch;
  for (std::size_t i = 0; i < count; ++i) {
    batch.requests.push_back({kind, i * 4096, memory.data() + i * 4096, 4096});
  }
  return batch;
}

TEST(DiskErrors, TheFirstFailureOfABatchIsReturnedWithItsPlace) {
  FaultyDisk disk(make_memory_disk(kMiB));
  AlignedBuffer memory = AlignedBuffer::allocate(8 * 4096);
  disk.fail_writes_in({3 * 4096, 2 * 4096}, EIO);
  IoBatch batch = row_of(Kind::write, 8, memory);
  const Result<void> ran = disk.run(batch);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error(), Errc::io_error);
  EXPECT_EQ(ran.error().os_error(), EIO);
  EXPECT_EQ(ran.error().detail(), "write of 4096 bytes at 12288");
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(batch.requests[i].done);
    EXPECT_EQ(batch.requests[i].os_error, i == 3 || i == 4 ? EIO : 0) << i;
  }
  EXPECT_EQ(disk.counters().errors, 2u);
}

TEST(DiskErrors, AFullDeviceIsNoSpaceAndAFailedSyncIsSyncFailed) {
  FaultyDisk disk(make_memory_disk(kMiB));
  for (const int os_error : {ENOSPC, EDQUOT}) {
    disk.fail(Op::write, 1, os_error);
    EXPECT_EQ(disk.write(0, bytes_of(512, 1)).error(), Errc::no_space);
  }
  disk.fail(Op::sync, 1, EIO);
  const Result<void> synced = disk.sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error(), Errc::sync_failed);
  EXPECT_EQ(synced.error().os_error(), EIO);
  EXPECT_EQ(disk.counters().errors, 3u);
  EXPECT_TRUE(disk.sync());
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

/// The engines on a real file of 8 MiB whose block i holds the byte i.
class EngineFaults : public ::testing::TestWithParam<IoEngine> {
 protected:
  static constexpr std::size_t kBlocks = 200;

  void SetUp() override {
    Result<std::unique_ptr<Disk>> disk =
        open_disk(path_, {.engine = GetParam(), .create_bytes = 8 * kMiB});
    if (!disk) GTEST_SKIP() << disk.error().message();
    disk_ = std::move(*disk);
    memory_ = AlignedBuffer::allocate(kBlocks * 4096);
    for (std::size_t i = 0; i < kBlocks; ++i) {
      std::memset(memory_.data() + i * 4096, static_cast<int>(i), 4096);
    }
    IoBatch writes = row_of(Kind::write, kBlocks, memory_);
    ASSERT_TRUE(disk_->run(writes));
    std::memset(memory_.data(), 0xEE, memory_.size());
  }

  /// Runs `body` in a child process with the disk opened there.
  std::string in_child_with_disk(const std::function<std::string()>& body) {
    disk_.reset();
    return in_child([&]() -> std::string {
      Result<std::unique_ptr<Disk>> disk = open_disk(path_, {.engine = GetParam()});
      if (!disk) return disk.error().message();
      disk_ = std::move(*disk);
      return body();
    });
  }

  std::string judge(const IoBatch& batch) {
    for (std::size_t i = 0; i < batch.requests.size(); ++i) {
      const IoRequest& request = batch.requests[i];
      if (!request.done) return "not done: " + std::to_string(i);
      if (request.os_error != 0) return "error " + std::to_string(request.os_error);
      if (memory_.data()[i * 4096 + 4095] != static_cast<std::byte>(i)) return "wrong bytes";
    }
    return "right";
  }

  ScratchDirectory directory_;
  const std::string path_ = directory_ / "disk";
  std::unique_ptr<Disk> disk_;
  AlignedBuffer memory_;
};

TEST_P(EngineFaults, RequestsBehindTheEndOfAFileThatWasCutFailAndTheOthersDoNot) {
  std::filesystem::resize_file(path_, 100 * 4096);
  IoBatch batch = row_of(Kind::read, kBlocks, memory_);
  const Result<void> ran = disk_->run(batch);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error(), Errc::io_error);
  for (std::size_t i = 0; i < kBlocks; ++i) {
    ASSERT_EQ(batch.requests[i].os_error, i < 100 ? 0 : EIO) << i;
  }
  AlignedBuffer large = AlignedBuffer::allocate(kMiB);  // ends behind the end
  EXPECT_EQ(disk_->read(0, large.bytes()).error().os_error(), EIO);
  EXPECT_EQ(disk_->counters().errors, 101u);
}

TEST_P(EngineFaults, ABatchMayOutliveItsDisk) {
  IoBatch batch = row_of(Kind::read, kBlocks, memory_);
  ASSERT_TRUE(disk_->submit(batch));
  disk_.reset();
  batch = IoBatch();
  const Result<std::unique_ptr<Disk>> again = open_disk(path_);
  EXPECT_TRUE(again) << again.error().message();
}

TEST_P(EngineFaults, AForkedChildMayUseAndDestroyTheDiskWithoutHarmToItsParent) {
  IoBatch before = row_of(Kind::read, kBlocks, memory_);
  ASSERT_TRUE(disk_->run(before));  // so that there are rings and threads
  EXPECT_EQ(in_child([&]() -> std::string {
              IoBatch batch = row_of(Kind::read, kBlocks, memory_);
              if (!disk_->run(batch)) return "failed";
              disk_.reset();
              return judge(batch);
            }),
            "right");
  EXPECT_EQ(open_disk(path_).error(), Errc::already_open);
  std::memset(memory_.data(), 0xEE, memory_.size());
  IoBatch after = row_of(Kind::read, kBlocks, memory_);
  ASSERT_TRUE(disk_->run(after));
  EXPECT_EQ(judge(after), "right");
}

INSTANTIATE_TEST_SUITE_P(Every, EngineFaults,
                         ::testing::Values(IoEngine::io_uring, IoEngine::posix),
                         [](const auto& param) {
                           return param.param == IoEngine::posix ? "Posix" : "Uring";
                         });

#if defined(RAWCACHE_HAVE_URING)

class UringFaults : public EngineFaults {};

TEST_P(UringFaults, AKernelThatTakesNoSubmissionsAnyMoreIsDoneWithout) {
  for (const int os_error : {EAGAIN, EBUSY, ENOMEM, EPERM}) {
    EXPECT_EQ(in_child_with_disk([&]() -> std::string {
                if (!refuse_system_call(SYS_io_uring_enter, os_error)) return "right";
                IoBatch batch = row_of(Kind::read, kBlocks, memory_);
                if (!disk_->run(batch)) return "failed";
                return judge(batch);
              }),
              "right");
  }
}

TEST_P(UringFaults, AKernelThatStopsInTheMiddleIsDoneWithout) {
  EXPECT_EQ(in_child_with_disk([&]() -> std::string {
              IoBatch batch = row_of(Kind::read, kBlocks, memory_);
              if (!disk_->submit(batch)) return "not submitted";
              if (!refuse_system_call(SYS_io_uring_enter, EAGAIN)) return "right";
              if (disk_->wait(batch, kBlocks) != 0) return "not finished";
              return judge(batch);
            }),
            "right");
}

TEST_P(UringFaults, ADroppedBatchIsWaitedForEvenIfTheKernelDoesNotHelp) {
  EXPECT_EQ(in_child_with_disk([&]() -> std::string {
              {
                IoBatch batch = row_of(Kind::read, kBlocks, memory_);
                if (!disk_->submit(batch)) return "not submitted";
                if (!refuse_system_call(SYS_io_uring_enter, EBUSY)) return "right";
              }
              std::memset(memory_.data(), 0x5A, memory_.size());
              ::usleep(20'000);
              const auto alone = [](std::byte b) { return b == std::byte{0x5A}; };
              const bool kept = std::all_of(memory_.bytes().begin(), memory_.bytes().end(), alone);
              return kept ? "right" : "written to afterwards";
            }),
            "right");
}

TEST_P(UringFaults, MemoryThatMayNotBeLockedIsUsedUnregisteredAndThatIsKnown) {
  disk_.reset();
  EXPECT_EQ(in_child([&]() -> std::string {
              FileDescriptor fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
              const rlimit little{65536, 65536};
              if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0 || !become_nobody()) return "no limit";
              DiskInfo info;
              info.size_bytes = 8 * kMiB;
              const Result<std::unique_ptr<UringDisk>> disk = UringDisk::create(fd, info);
              if (!disk) return disk.error().message();
              for (const bool limited : {false, true}) {
                AlignedBuffer small = AlignedBuffer::allocate(4096);
                (*disk)->use_memory(limited ? memory_.bytes() : small.bytes());
                IoBatch batch = row_of(Kind::read, kBlocks, memory_);
                if (!(*disk)->run(batch)) return "failed";
                if ((*disk)->memory_error() != (limited ? ENOMEM : 0)) {
                  return "memory_error " + std::to_string((*disk)->memory_error());
                }
                if (judge(batch) != "right") return judge(batch);
              }
              return "right";
            }),
            "right");
}

INSTANTIATE_TEST_SUITE_P(Uring, UringFaults, ::testing::Values(IoEngine::io_uring));

#endif

}  // namespace
}  // namespace rawcache::testing
