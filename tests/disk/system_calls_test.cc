// What the kernel may answer on its way: a signal that interrupts, fewer bytes than were asked for,
// a device that is busy for a moment. None of it is an error of the disk, and none of it loses a
// byte. The functions of libc that the posix engine calls are replaced here, in this program.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/aligned_buffer.h"
#include "disk/scratch.h"
#include "rawcache/disk.h"

namespace {

/// What the next calls of one function answer.
struct Script {
  std::atomic<int> good{0};                 ///< so many succeed ...
  std::atomic<int> failures{0};             ///< ... then so many fail ...
  std::atomic<int> os_error{0};             ///< ... with this
  std::atomic<std::size_t> bytes_max{~0U};  ///< and no call moves more than this

  void fail(int times, int with, int after = 0) {
    os_error = with;
    good = after;
    failures = times;
  }
  bool fails() {
    if (failures <= 0 || (good > 0 && good-- > 0) || failures-- <= 0) return false;
    errno = os_error;
    return true;
  }
};
Script reads, writes, syncs;

}  // namespace

extern "C" ssize_t pread(int fd, void* data, size_t size, off_t at) {
  if (reads.fails()) return -1;
  return ::syscall(SYS_pread64, fd, data, std::min(size, reads.bytes_max.load()), at);
}

extern "C" ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  if (writes.fails()) return -1;
  return ::syscall(SYS_pwrite64, fd, data, std::min(size, writes.bytes_max.load()), at);
}

extern "C" int fdatasync(int fd) {
  if (syncs.fails()) return -1;
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

namespace rawcache::testing {
namespace {

class SystemCalls : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 65536;

  void SetUp() override {
    auto opened =
        open_disk(directory_ / "disk", {.engine = IoEngine::posix, .create_bytes = 16 * kBytes});
    ASSERT_TRUE(opened) << opened.error().message();
    disk_ = std::move(*opened);
    for (std::size_t i = 0; i < kBytes; ++i) written_.data()[i] = static_cast<std::byte>(i * 7 / 3);
  }
  void TearDown() override {
    for (Script* script : {&reads, &writes, &syncs}) {
      script->failures = 0;
      script->bytes_max = ~std::size_t{0};
    }
  }
  bool is_read_back(std::uint64_t offset) {
    return disk_->read(offset, read_.bytes()) &&
           std::memcmp(read_.data(), written_.data(), kBytes) == 0;
  }

  ScratchDirectory directory_;
  std::unique_ptr<Disk> disk_;
  AlignedBuffer written_ = AlignedBuffer::allocate(kBytes);
  AlignedBuffer read_ = AlignedBuffer::allocate(kBytes);
};

TEST_F(SystemCalls, AnInterruptedTransferIsCarriedOutAllTheSame) {
  writes.fail(3, EINTR);
  ASSERT_TRUE(disk_->write(0, written_.bytes()));
  reads.fail(3, EINTR);
  EXPECT_TRUE(is_read_back(0));
}

TEST_F(SystemCalls, ATransferOfFewerBytesGoesOnBehindThem) {
  writes.bytes_max = 4096;
  ASSERT_TRUE(disk_->write(kBytes, written_.bytes()));
  reads.bytes_max = 8192;
  EXPECT_TRUE(is_read_back(kBytes));
  EXPECT_EQ(disk_->counters().writes, 1u) << "for the caller it is one";
}

TEST_F(SystemCalls, ADeviceThatIsBusyForAMomentIsWaitedFor) {
  writes.fail(5, EAGAIN);
  ASSERT_TRUE(disk_->write(0, written_.bytes()));
  reads.fail(5, EAGAIN);
  EXPECT_TRUE(is_read_back(0));
}

TEST_F(SystemCalls, ADeviceThatStaysBusyIsAnErrorAtLast) {
  reads.fail(1'000'000, EAGAIN);
  const auto read = disk_->read(0, read_.bytes());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().os_error(), EAGAIN);
}

TEST_F(SystemCalls, AnErrorInTheMiddleOfATransferIsTheErrorOfAll) {
  writes.bytes_max = 4096;
  writes.fail(1, ENOSPC, 5);
  const auto written = disk_->write(0, written_.bytes());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error(), Errc::no_space);
}

TEST_F(SystemCalls, AnInterruptedSyncIsDoneAgainAndAFailedOneIsNot) {
  syncs.fail(3, EINTR);
  EXPECT_TRUE(disk_->sync());
  syncs.fail(1, EIO);
  const auto synced = disk_->sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error(), Errc::sync_failed);
  EXPECT_EQ(synced.error().os_error(), EIO);
}

}  // namespace
}  // namespace rawcache::testing
