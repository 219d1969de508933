// What a disk does when the device, the kernel or its limits fail it: each failure is reported for
// its request and no other, nothing hangs, and requests are carried out whichever way the kernel
// still offers.
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
