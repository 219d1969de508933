// Guards that readers of a SharedMutex share it, that a writer has it alone, and that neither waits
// for ever.
#include "base/shared_mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <thread>
#include <vector>

namespace rawcache {
namespace {

/// Long enough for a thread that is not held back.
constexpr std::chrono::milliseconds kLongEnough{50};

TEST(SharedMutex, ReadersAreInsideTogether) {
  SharedMutex mutex;
  std::latch inside(4);
  std::vector<std::jthread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      const ReadLock lock(mutex);
      inside.arrive_and_wait();
    });
  }
  readers.clear();
  EXPECT_TRUE(inside.try_wait());
}

TEST(SharedMutex, AWriterWaitsForTheLastReaderAndReadersForTheWriter) {
  SharedMutex mutex;
  std::atomic<bool> wants{false}, written{false}, read{false};
  std::latch read_may_end(1), write_may_end(1);
  std::latch reading(1), writing(1);
  std::jthread first([&] {
    const ReadLock lock(mutex);
    reading.count_down();
    read_may_end.wait();
  });
  reading.wait();
  std::jthread writer([&] {
    wants = true;
    const WriteLock lock(mutex);
    written = true;
    writing.count_down();
    write_may_end.wait();
  });
  while (!wants) std::this_thread::yield();
  std::this_thread::sleep_for(kLongEnough);
  EXPECT_FALSE(written) << "beside a reader";
  read_may_end.count_down();
  writing.wait();
  std::jthread second([&] {
    const ReadLock lock(mutex);
    read = true;
  });
  std::this_thread::sleep_for(kLongEnough);
  EXPECT_FALSE(read) << "beside the writer";
  write_may_end.count_down();
  second.join();
  EXPECT_TRUE(read);
}

TEST(SharedMutex, NobodySeesWhatAWriterHasHalfDone) {
  constexpr int kWriters = 2, kReaders = 3, kRounds = 2'000;
  SharedMutex mutex;
  int one = 0, other = 0;
  std::atomic<int> halves{0};
  std::latch start(kWriters + kReaders);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      for (int round = 0; round < kRounds; ++round) {
        const WriteLock lock(mutex);
        ++one;
        std::this_thread::yield();  // half done, for whoever would look
        ++other;
      }
    });
  }
  for (int i = 0; i < kReaders; ++i) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      for (int round = 0; round < kRounds; ++round) {
        const ReadLock lock(mutex);
        const int first = one;
        std::this_thread::yield();
        if (first != other) ++halves;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(halves, 0);
  EXPECT_EQ(one, kWriters * kRounds);
  EXPECT_EQ(other, kWriters * kRounds);
}

}  // namespace
}  // namespace rawcache
