// What the kernel may answer on its way: a signal that interrupts, fewer bytes than were asked for,
// a device that is busy for a moment. None of it is an error of the disk, and none of it loses a
// byte; each step of making a file may fail; and what the kernel refuses is done without.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/aligned_buffer.h"
#include "disk/scratch.h"
#include "disk/system_calls.h"
#include "rawcache/disk.h"

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
  void TearDown() override { reset_scripts(); }
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

// --- io_uring ---

#if defined(RAWCACHE_HAVE_URING)

class UringCalls : public SystemCalls {
 protected:
  static constexpr std::size_t kRequests = 150;  // more than are under way at once

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
  /// Writes, all at once and in turn, and reads; the script is set anew before each.
  void expect_all_is_well(const std::function<void()>& set) {
    for (const bool in_turn : {false, true}) {
      write_number(0, ++number_);
      set();
      IoBatch writing = batch(IoRequest::Kind::write, written_);
      writing.in_turn = in_turn;
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
      for (std::size_t i = 0; i < kRequests; ++i) {
        EXPECT_TRUE(is_read_back(i * kBytes)) << i << (in_turn ? ", in turn" : "");
      }
    }
  }
  /// Makes the bytes at `at` others than those of the rounds before.
  void write_number(std::size_t at, int number) {
    std::memcpy(written_.data() + at, &number, sizeof number);
  }
  int number_ = 0;
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

TEST_F(UringCalls, WritesInTurnAreLinkedAndOthersAreNot) {
  for (const bool in_turn : {false, true}) {
    links = 0;
    IoBatch writing = batch(IoRequest::Kind::write, written_);
    writing.in_turn = in_turn;
    ASSERT_TRUE(disk_->run(writing));
    EXPECT_EQ(links > 0, in_turn);
  }
  links = 0;
  IoBatch reading = batch(IoRequest::Kind::read, read_);
  ASSERT_TRUE(disk_->run(reading));
  IoBatch alone = batch(IoRequest::Kind::write, written_);
  alone.requests.resize(1);
  alone.in_turn = true;
  ASSERT_TRUE(disk_->run(alone));
  EXPECT_EQ(links, 0u) << "the last of a chain is linked to nothing";
}

TEST_F(UringCalls, ABatchInTurnThatIsGivenUpLeavesNothingOnTheWay) {
  {
    IoBatch writing = batch(IoRequest::Kind::write, written_);
    writing.in_turn = true;
    ASSERT_TRUE(disk_->submit(writing));
  }
  write_number(0, ++number_);
  IoBatch writing = batch(IoRequest::Kind::write, written_);
  ASSERT_TRUE(disk_->run(writing));
  for (std::size_t i = 0; i < kRequests; ++i) ASSERT_TRUE(is_read_back(i * kBytes)) << i;
}

TEST_F(UringCalls, WritesInTurnOfAThreadThatHasEndedAreWrittenAllTheSame) {
  for (int number = 0; number < 20; ++number) {
    write_number(0, number);
    // Few are sent by the thread itself, many by one of the kernel's.
    IoBatch writing = batch(IoRequest::Kind::write, written_);
    writing.requests.resize(number % 2 == 0 ? 10 : kRequests);
    writing.in_turn = true;
    std::thread([&] { ASSERT_TRUE(disk_->submit(writing)); }).join();
    disk_->wait(writing, writing.under_way);
    for (std::size_t i = 0; i < writing.requests.size(); ++i) {
      ASSERT_EQ(writing.requests[i].os_error, 0) << i;
      ASSERT_TRUE(is_read_back(i * kBytes)) << i;
    }
  }
}

TEST_F(UringCalls, OfWritesInTurnOneThatFailsDoesNotKeepOthersFromTheDisk) {
  constexpr std::size_t kBad = 3;
  IoBatch writing = batch(IoRequest::Kind::write, written_);
  writing.in_turn = true;
  void* const nowhere = ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(nowhere, MAP_FAILED);
  writing.requests[kBad].data = static_cast<std::byte*>(nowhere);
  EXPECT_EQ(disk_->run(writing).error(), Errc::io_error);
  ::munmap(nowhere, kBytes);
  for (std::size_t i = 0; i < kRequests; ++i) {
    EXPECT_EQ(writing.requests[i].os_error, i == kBad ? EFAULT : 0) << i;
    EXPECT_EQ(is_read_back(i * kBytes), i != kBad) << i;
  }
}

TEST_F(UringCalls, ARefusedSubmissionIsTriedAgainOrDoneWithout) {
  for (const int os_error : {EINTR, EAGAIN, EBUSY}) {
    for (const int after : {0, 1, 2}) {
      expect_all_is_well([&] { submissions.fail(2, os_error, after); });
    }
  }
}

TEST_F(UringCalls, MoreBytesThanAreUnderWayAtOnceAllArrive) {
  IoBatch writing = batch(IoRequest::Kind::write, written_);
  ASSERT_TRUE(disk_->run(writing));
  constexpr std::size_t kLarge = 16 * kBytes, kReads = 10;
  AlignedBuffer into = AlignedBuffer::allocate(kReads * kLarge);
  IoBatch reading;
  for (std::size_t i = 0; i < kReads; ++i) {
    reading.requests.push_back(
        {IoRequest::Kind::read, i * kBytes, into.data() + i * kLarge, kLarge});
  }
  ASSERT_TRUE(disk_->run(reading));
  for (std::size_t at = 0; at < into.size(); at += kBytes) {
    ASSERT_EQ(std::memcmp(into.data() + at, written_.data(), kBytes), 0) << at;
  }
}

TEST_F(UringCalls, WhatTheKernelHasNotTakenOfABatchThatIsGivenUpIsNotSentWithALaterOne) {
  submissions.fail(1, EINTR);
  {
    IoBatch given_up = batch(IoRequest::Kind::write, written_);
    ASSERT_TRUE(disk_->submit(given_up));
  }
  const AlignedBuffer zeros = AlignedBuffer::allocate(kBytes);
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t i = 0; i < kRequests; ++i) {
      ASSERT_TRUE(disk_->read(i * kBytes, read_.bytes()));
      ASSERT_EQ(std::memcmp(read_.data(), zeros.data(), kBytes), 0) << i;
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

TEST_F(UringCalls, WithoutARingTheOtherEngineIsUsedAndToldOrNothingIsOpened) {
  disk_.reset();
  rings.fail(1, ENOSYS);
  const auto opened = open_disk(directory_ / "ring");
  ASSERT_TRUE(opened);
  EXPECT_EQ((*opened)->info().engine, "posix");
  EXPECT_NE((*opened)->info().fallback_reason, "");
  for (const auto& [os_error, told] : {std::pair{ENOSYS, Errc::not_supported},
                                       {EMFILE, Errc::too_many_files},
                                       {ENFILE, Errc::too_many_files}}) {
    rings.fail(1, os_error);
    EXPECT_EQ(open_disk(directory_ / "disk", {.engine = IoEngine::io_uring}).error(), told);
  }
}

TEST_F(UringCalls, WithoutRegisteredFilesAndMemoryAllIsWell) {
  disk_.reset();
  registered_files.fail(1'000, EMFILE);
  registered_memory.fail(1'000, ENOMEM);
  auto opened = open_disk(directory_ / "ring", {.engine = IoEngine::io_uring});
  ASSERT_TRUE(opened);
  disk_ = std::move(*opened);
  disk_->use_memory(written_.bytes());
  disk_->use_memory(read_.bytes());
  expect_all_is_well([] {});
  IoBatch first = batch(IoRequest::Kind::write, written_);
  ASSERT_TRUE(disk_->submit(first));
  expect_all_is_well([] {});  // with a ring of its own
  disk_->wait(first, first.requests.size());
}

TEST_F(UringCalls, MemoryThatIsRegisteredInPartServesAllTheSame) {
  disk_->use_memory({});
  disk_->use_memory(written_.bytes().first(kBytes / 2));
  disk_->use_memory(read_.bytes().first(kBytes / 2));
  expect_all_is_well([] {});
}

TEST_F(UringCalls, BothThatAreDoneWithoutAreTold) {
  disk_.reset();
  flags.fail(1, EINVAL);
  rings.fail(1, ENOSYS);
  const auto opened = open_disk(directory_ / "ring");
  ASSERT_TRUE(opened);
  const std::string& told = (*opened)->info().fallback_reason;
  EXPECT_NE(told.find("O_DIRECT"), std::string::npos) << told;
  EXPECT_NE(told.find("; io_uring"), std::string::npos) << told;
}

TEST_F(UringCalls, ASyncInTheBackgroundIsToldAsItEndedWhoeverCarriedItOut) {
  const auto outcome = [&] {
    IoBatch sync;
    disk_->start_sync(sync);
    const auto done = disk_->finish_sync(sync);
    return done ? 0 : done.error().os_error();
  };
  EXPECT_EQ(outcome(), 0);
  completions.fail(1, EIO);
  EXPECT_EQ(outcome(), EIO);
  EXPECT_EQ(outcome(), 0);
  completions.fail(1'000'000, EAGAIN);  // it is carried out without the ring
  EXPECT_EQ(outcome(), 0);
  syncs.fail(1, EIO);
  EXPECT_EQ(outcome(), EIO);
}

TEST_F(UringCalls, ARingThatCannotBeMadeLaterIsDoneWithout) {
  IoBatch first = batch(IoRequest::Kind::write, written_);
  ASSERT_TRUE(disk_->submit(first));  // has the ring that there is
  rings.fail(1'000, EMFILE);
  IoBatch second = batch(IoRequest::Kind::write, written_);
  EXPECT_TRUE(disk_->run(second));
  disk_->wait(first, first.requests.size());
  EXPECT_TRUE(is_read_back(0));
}

#endif

}  // namespace
}  // namespace rawcache::testing
