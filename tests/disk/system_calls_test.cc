// What the kernel may answer on its way: a signal that interrupts, fewer bytes than were asked for,
// a device that is busy for a moment. None of it is an error of the disk, and none of it loses a
// byte; each step of making a file may fail; and what the kernel refuses is done without.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>

#include "disk/system_calls_fixture.h"

namespace rawcache::testing {
namespace {

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

TEST_F(SystemCalls, WithoutMemoryToAlignWhatIsNotAlignedNothingIsDoneAndThatIsSaid) {
  ASSERT_TRUE(disk_->write(0, written_.bytes()));
  const auto unaligned = read_.bytes().subspan(8, 4096);
  memory.fail(1, ENOMEM);
  EXPECT_EQ(disk_->read(0, unaligned).error(), Errc::out_of_memory);
  memory.fail(1, ENOMEM);
  EXPECT_EQ(disk_->write(0, unaligned).error(), Errc::out_of_memory);
  EXPECT_EQ(disk_->write(1, unaligned).error(), Errc::invalid_io) << "whatever its memory";
  EXPECT_TRUE(is_read_back(0));
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
       {Step{&opens, 0, EACCES, Errc::permission_denied}, Step{&opens, 0, EBUSY, Errc::mounted},
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
  locks.fail(1, ENOLCK);
  EXPECT_EQ(open_disk(directory_ / "new", {.create_bytes = kBytes}).error(), Errc::io_error);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "new")) << "a whole file or none";
}

TEST_F(SystemCalls, AFileThatIsReplacedBySomethingElseWhileItIsOpenedIsNotTaken) {
  disk_.reset();
  const std::string path = directory_ / "disk";
  before_opening = [&] {
    std::filesystem::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  };
  const auto opened = open_disk(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error(), Errc::io_error);
  EXPECT_NE(opened.error().message().find("replaced"), std::string::npos);
}

TEST_F(SystemCalls, WhatTheKernelSaysOfAnOpeningIsToldAsWhatItMeans) {
  disk_.reset();
  const std::string path = directory_ / "disk";
  for (const auto& [os_error, told] : {std::pair{ENOTDIR, Errc::no_such_file},
                                       {ELOOP, Errc::no_such_file},
                                       {ENAMETOOLONG, Errc::no_such_file},
                                       {EISDIR, Errc::is_a_directory},
                                       {EPERM, Errc::permission_denied},
                                       {EROFS, Errc::read_only},
                                       {ETXTBSY, Errc::mounted},
                                       {EBUSY, Errc::mounted},
                                       {EMFILE, Errc::too_many_files},
                                       {ENFILE, Errc::too_many_files},
                                       {ENOMEM, Errc::out_of_memory},
                                       {EDQUOT, Errc::no_space},
                                       {ENXIO, Errc::io_error}}) {
    opens.fail(1, os_error);
    EXPECT_EQ(open_disk(path).error(), told) << os_error;
  }
  EXPECT_TRUE(open_disk(path)) << "nothing was changed";
}

TEST_F(SystemCalls, AFileThatAnotherCacheHoldsIsWaitedForAndThenToldAsSuch) {
  opens.fail(1, EBUSY);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::already_open);
  // Where that cannot be found out it is in use, by whomever.
  opens.fail(2, EBUSY);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::mounted);
  opens.fail(1, EBUSY);
  locks.fail(1, ENOLCK);
  EXPECT_EQ(open_disk(directory_ / "disk").error(), Errc::mounted);
}

TEST_F(SystemCalls, AFileThatSomebodyElseMakesMeanwhileIsTakenAsItIsThen) {
  opens.fail(1, EEXIST);
  EXPECT_TRUE(open_disk(directory_ / "new", {.create_bytes = kBytes}));
  opens.fail(2, EEXIST);
  EXPECT_EQ(open_disk(directory_ / "newer", {.create_bytes = kBytes}).error(), Errc::no_such_file);
}

TEST_F(SystemCalls, WhereTheDirectoryCannotBeOpenedItsFileSystemIsSynced) {
  opens.fail(1, EACCES, 1);
  EXPECT_TRUE(open_disk(directory_ / "new", {.create_bytes = kBytes}));
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(std::filesystem::path(directory_ / "x").parent_path());
  EXPECT_TRUE(open_disk("relative", {.create_bytes = kBytes}));
  std::filesystem::current_path(before);
  opens.fail(1, EACCES, 1);
  file_system_syncs.fail(1, EIO);
  EXPECT_EQ(open_disk(directory_ / "newer", {.create_bytes = kBytes}).error(), Errc::io_error);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "newer"));
}

// --- Direct I/O ---

TEST_F(SystemCalls, WhereDirectIoIsRefusedThePageCacheIsUsedAndToldOrNothingIsOpened) {
  disk_.reset();
  const auto expect_refused = [&](const std::function<void()>& refuse) {
    refuse();
    EXPECT_EQ(open_disk(directory_ / "disk", {.direct = DirectIo::required}).error(),
              Errc::not_supported);
    reset_scripts();
    refuse();
    const auto opened = open_disk(directory_ / "disk");
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_FALSE((*opened)->info().direct);
    EXPECT_NE((*opened)->info().fallback_reason.find("O_DIRECT"), std::string::npos);
    reset_scripts();
  };
  expect_refused([] { flags.fail(1, EINVAL); });
  expect_refused([] { flags.fail(1, EINVAL, 1); });
#if defined(STATX_DIOALIGN)
  expect_refused([] { alignments = {.io = 0, .memory = 0}; });
  expect_refused([] { alignments = {.io = 3000, .memory = 512}; });
  expect_refused([] { alignments = {.io = 131072, .memory = 512}; });
  expect_refused([] { alignments = {.io = 512, .memory = 520}; });
  expect_refused([] { alignments = {.io = 512, .memory = 131072}; });
#endif
  expect_refused([] { reads.fail(1, EINVAL); });
}

TEST_F(SystemCalls, ABadFirstSectorAndALackOfMemorySayNothingAboutDirectIo) {
  const bool direct = disk_->info().direct;
  disk_.reset();
  for (const int os_error : {EINTR, EIO}) {
    reads.fail(1, os_error);
    const auto opened = open_disk(directory_ / "disk");
    ASSERT_TRUE(opened) << os_error << ": " << opened.error().message();
    EXPECT_EQ((*opened)->info().direct, direct);
  }
  memory.fail(1, ENOMEM);
  const auto opened = open_disk(directory_ / "disk");
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ((*opened)->info().direct, direct);
}

}  // namespace
}  // namespace rawcache::testing
