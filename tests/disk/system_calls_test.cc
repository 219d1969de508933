// What the kernel may answer on its way: a signal that interrupts, fewer bytes than were asked for,
// a device that is busy for a moment. None of it is an error of the disk, and none of it loses a
// byte; and each step of making a file may fail. The functions of libc and liburing that the
// engines call are replaced here, in this program.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(RAWCACHE_HAVE_URING)
#include <liburing.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/aligned_buffer.h"
#include "disk/scratch.h"
#include "rawcache/disk.h"

namespace {

/// What the next calls of one function answer.
struct Script {
  std::atomic<int> good{0};                             ///< so many succeed ...
  std::atomic<int> failures{0};                         ///< ... then so many fail ...
  std::atomic<int> os_error{0};                         ///< ... with this
  std::atomic<std::size_t> bytes_max{~std::size_t{0}};  ///< and no call moves more than this

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
  void reset() {
    failures = 0;
    bytes_max = ~std::size_t{0};
  }
};
Script reads, writes, syncs, opens, locks, modes, allocations, file_syncs, states;
Script submissions, completions;  // of io_uring

}  // namespace

// The linker puts these in the place of those that they are named after (tests/CMakeLists.txt).
extern "C" {

ssize_t __real_pread(int fd, void* data, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void* data, size_t size, off_t at) {
  return reads.fails() ? -1 : __real_pread(fd, data, std::min(size, reads.bytes_max.load()), at);
}

ssize_t __real_pwrite(int fd, const void* data, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void* data, size_t size, off_t at) {
  return writes.fails() ? -1 : __real_pwrite(fd, data, std::min(size, writes.bytes_max.load()), at);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd) { return syncs.fails() ? -1 : __real_fdatasync(fd); }

int __real_fsync(int fd);
int __wrap_fsync(int fd) { return file_syncs.fails() ? -1 : __real_fsync(fd); }

int __real_open(const char* path, int flags, ...);
int __wrap_open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(more, unsigned) : 0;
  va_end(more);
  return opens.fails() ? -1 : __real_open(path, flags, mode);
}

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation) { return locks.fails() ? -1 : __real_flock(fd, operation); }

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode) { return modes.fails() ? -1 : __real_fchmod(fd, mode); }

int __real_fstat(int fd, struct stat* status);
int __wrap_fstat(int fd, struct stat* status) {
  return states.fails() ? -1 : __real_fstat(fd, status);
}

int __real_posix_fallocate(int fd, off_t offset, off_t size);
int __wrap_posix_fallocate(int fd, off_t offset, off_t size) {
  return allocations.fails() ? errno : __real_posix_fallocate(fd, offset, size);
}

#if defined(RAWCACHE_HAVE_URING)

/// Changes what the requests that are done say.
static void rewrite_completions(io_uring* ring) {
  unsigned head = 0;
  io_uring_cqe* done = nullptr;
  io_uring_for_each_cqe(ring, head, done) {
    if (done->res < 0) continue;
    const auto moved = static_cast<std::size_t>(done->res);
    done->res = completions.fails()
                    ? -completions.os_error
                    : static_cast<int>(std::min(moved, completions.bytes_max.load()));
  }
}

int __real_io_uring_submit(io_uring* ring);
int __wrap_io_uring_submit(io_uring* ring) {
  if (submissions.fails()) return -submissions.os_error;
  const int submitted = __real_io_uring_submit(ring);
  rewrite_completions(ring);
  return submitted;
}

int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wanted);
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wanted) {
  if (submissions.fails()) return -submissions.os_error;
  const int submitted = __real_io_uring_submit_and_wait(ring, wanted);
  rewrite_completions(ring);
  return submitted;
}

#endif

}  // extern "C"

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
    for (Script* script : {&reads, &writes, &syncs, &opens, &locks, &modes, &allocations,
                           &file_syncs, &states, &submissions, &completions}) {
      script->reset();
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

// --- Opening and making files ---

TEST_F(SystemCalls, AnInterruptedOpeningIsCarriedOutAllTheSame) {
  disk_.reset();
  opens.fail(2, EINTR);
  locks.fail(2, EINTR);
  EXPECT_TRUE(open_disk(directory_ / "disk"));
  opens.fail(2, EINTR);
  allocations.fail(2, EINTR);
  EXPECT_TRUE(open_disk(directory_ / "new", {.create_bytes = kBytes}));
}

TEST_F(SystemCalls, EachStepOfMakingAFileMayFailAndThenThereIsNone) {
  struct Step {
    Script* script;
    int after;
    int os_error;
    Errc told;
  };
  const std::string path = directory_ / "new";
  for (const Step& step :
       {Step{&opens, 0, EACCES, Errc::permission_denied},
        Step{&modes, 0, EPERM, Errc::permission_denied},
        Step{&allocations, 0, ENOSPC, Errc::no_space}, Step{&allocations, 0, EFBIG, Errc::no_space},
        Step{&file_syncs, 0, EIO, Errc::io_error},
        Step{&file_syncs, 1, EIO, Errc::io_error},  // of the directory
        Step{&states, 0, ENOMEM, Errc::out_of_memory}}) {
    step.script->fail(1, step.os_error, step.after);
    const auto made = open_disk(path, {.create_bytes = kBytes});
    step.script->reset();
    ASSERT_FALSE(made) << step.os_error;
    EXPECT_EQ(made.error(), step.told) << made.error().message();
    EXPECT_FALSE(std::filesystem::exists(path)) << made.error().message();
  }
}

TEST_F(SystemCalls, ADirectoryThatCannotBeSyncedByItselfIsSyncedWithItsFileSystem) {
  file_syncs.fail(1, EINVAL, 1);
  EXPECT_TRUE(open_disk(directory_ / "new", {.create_bytes = kBytes}));
}

TEST_F(SystemCalls, AFileThatCannotBeLookedAtOrLockedIsNotOpened) {
  disk_.reset();
  states.fail(1, EIO);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::io_error);
  states.fail(1, EIO, 1);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::io_error);
  states.reset();
  locks.fail(1, ENOLCK);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::io_error);
  EXPECT_TRUE(open_disk(directory_ / "disk")) << "nothing was changed";
}

// --- io_uring ---

#if defined(RAWCACHE_HAVE_URING)

class UringCalls : public SystemCalls {
 protected:
  static constexpr std::size_t kRequests = 40;  // more than are under way at once

  void SetUp() override {
    SystemCalls::SetUp();
    auto opened = open_disk(directory_ / "ring",
                            {.engine = IoEngine::io_uring, .create_bytes = kRequests * kBytes});
    if (!opened) GTEST_SKIP() << opened.error().message();
    disk_ = std::move(*opened);
  }
  IoBatch batch(IoRequest::Kind kind, AlignedBuffer& memory) {
    IoBatch all;
    for (std::size_t i = 0; i < kRequests; ++i) {
      all.requests.push_back(
          {.kind = kind, .offset = i * kBytes, .data = memory.data(), .size = kBytes});
    }
    return all;
  }
  /// Writes and reads; the script is set anew before each.
  void expect_all_is_well(const std::function<void()>& set) {
    set();
    IoBatch writing = batch(IoRequest::Kind::write, written_);
    const auto wrote = disk_->run(writing);
    ASSERT_TRUE(wrote) << wrote.error().message();
    set();
    std::memset(read_.data(), 0, kBytes);
    IoBatch reading = batch(IoRequest::Kind::read, read_);
    const auto done = disk_->run(reading);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(std::memcmp(read_.data(), written_.data(), kBytes), 0);
    completions.reset();
    submissions.reset();
    EXPECT_TRUE(is_read_back((kRequests - 1) * kBytes));
  }
};

TEST_F(UringCalls, ARequestThatFellShortGoesOn) {
  expect_all_is_well([] { completions.bytes_max = 4096; });
}

TEST_F(UringCalls, ARequestThatWasInterruptedOrCancelledIsSubmittedAgain) {
  for (const int os_error : {EINTR, EAGAIN, ECANCELED}) {
    expect_all_is_well([&] { completions.fail(50, os_error); });
  }
}

TEST_F(UringCalls, ARequestThatIsNeverLetThroughIsCarriedOutWithoutTheRing) {
  expect_all_is_well([] { completions.fail(1'000'000, EAGAIN); });
}

TEST_F(UringCalls, ARefusedSubmissionIsTriedAgainOrDoneWithout) {
  for (const int os_error : {EINTR, EAGAIN, EBUSY}) {
    for (const int after : {0, 1, 2}) {
      expect_all_is_well([&] { submissions.fail(2, os_error, after); });
    }
  }
}

TEST_F(UringCalls, AnErrorIsThatOfItsRequestAndNothingMovedIsOne) {
  completions.fail(1, ENOSPC, 3);
  IoBatch some = batch(IoRequest::Kind::write, written_);
  EXPECT_EQ(disk_->run(some).error(), Errc::no_space);
  EXPECT_EQ(std::ranges::count_if(some.requests, [](auto& r) { return r.os_error != 0; }), 1);
  completions.bytes_max = 0;
  IoBatch all = batch(IoRequest::Kind::read, read_);
  EXPECT_EQ(disk_->run(all).error(), Errc::io_error);
  EXPECT_EQ(std::ranges::count_if(all.requests, [](auto& r) { return r.os_error == EIO; }),
            std::ptrdiff_t{kRequests});
}

#endif

}  // namespace
}  // namespace rawcache::testing
