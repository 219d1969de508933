// What io_uring may answer: what falls short, is interrupted, cancelled or refused, by the ring and
// by those who would make one. None of it loses a byte, and without a ring there are plain calls.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include "disk/system_calls_fixture.h"

#if defined(RAWCACHE_HAVE_URING)

namespace rawcache::testing {
namespace {

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

}  // namespace
}  // namespace rawcache::testing

#endif
