// BatchIOManager used from several threads at once.
#include "batch/batch_io_manager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "batch/test_disk.h"
#include "rawcache/options.h"

namespace rawcache {
namespace {

using testing::TestDisk;

TEST(BatchIOConcurrency, EveryThreadReadsWhatItWroteLastWhileOthersWriteReadAndFlush) {
  constexpr int kThreads = 4, kSlots = 64;
  constexpr std::size_t kSlotBytes = 700;  // not aligned: slots of different threads share blocks
  TestDisk disk(1_MiB, 512);
  disk.fail_one_in(200);
  auto made = BatchIOManager::create(disk, {.max_operations = 16, .max_bytes = 16_KiB},
                                     IoArena::create(8_MiB), 4096);
  ASSERT_TRUE(made);
  BatchIOManager& io = **made;
  std::atomic<std::uint64_t> wrong{0}, refused{0};
  const auto place = [](int thread, std::uint64_t slot) {
    return Extent{(slot * kThreads + static_cast<std::uint64_t>(thread)) * kSlotBytes, kSlotBytes};
  };
  const auto is = [](const ReadAnswer& answer, std::byte fill) {
    return answer.bytes && answer.bytes->size() == kSlotBytes &&
           std::all_of(answer.bytes->begin(), answer.bytes->end(),
                       [&](std::byte b) { return b == fill; });
  };
  std::array<std::array<std::byte, kSlots>, kThreads> last{};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      auto& mine = last[static_cast<std::size_t>(t)];
      for (int i = 0; i < 1500; ++i) {
        const std::uint64_t slot = random() % kSlots;
        const auto fill = static_cast<std::byte>(random());
        const std::vector<std::byte> bytes(kSlotBytes, fill);
        const auto written = io.write(place(t, slot).offset, bytes);
        if (written || written.error() == Errc::flush_failed) {
          mine[slot] = fill;
        } else {
          refused += 1;
        }
        if (i % 40 == t) static_cast<void>(io.flush());
        const std::uint64_t other = random() % kSlots;
        const auto answers = io.read(std::vector<Extent>{place(t, slot), place(t, other)});
        if (!is(answers[0], mine[slot]) || !is(answers[1], mine[other])) wrong += 1;
        if (!is(io.read(place(t, other)), mine[other])) wrong += 1;
        static_cast<void>(io.counts());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
  disk.fail_one_in(0);
  static_cast<void>(io.flush());  // what is under way may have failed already
  ASSERT_TRUE(io.flush());
  const std::vector<std::byte> durable = disk.durable();
  for (int t = 0; t < kThreads; ++t) {
    for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
      const std::byte expected = last[static_cast<std::size_t>(t)][slot];
      const Extent extent = place(t, slot);
      for (std::uint64_t i = extent.offset; i < extent.end(); ++i) ASSERT_EQ(durable[i], expected);
    }
  }
}

TEST(BatchIOConcurrency, AnEncoderAndAFlusherShareTheStepsWhileReadersLook) {
  TestDisk disk(8_MiB, 512);
  auto made = BatchIOManager::create(disk, {.max_operations = 8, .max_bytes = 16_KiB},
                                     IoArena::create(8_MiB), 0);
  ASSERT_TRUE(made);
  BatchIOManager& io = **made;
  constexpr std::size_t kEntry = 1024;
  constexpr std::uint64_t kEntries = 4000;
  std::atomic<std::uint64_t> published{0};
  std::atomic<bool> done{false};
  const auto fill_of = [](std::uint64_t entry) { return static_cast<std::byte>(1 + entry % 251); };

  std::mutex turn;  // to flush: the encoder seals, the flusher does the rest
  const auto seal = [&] {
    const std::lock_guard lock(turn);
    return io.can_seal() && io.seal().value_or(false);
  };
  std::thread flusher([&] {  // completes what the encoder has sealed
    while (!done) {
      const std::lock_guard lock(turn);
      EXPECT_TRUE(io.submit());
      EXPECT_TRUE(io.complete().outcome);
    }
  });
  std::vector<std::thread> readers;
  for (unsigned r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937_64 random(r);
      while (!done) {
        const std::uint64_t count = published;
        if (count == 0) continue;
        const std::uint64_t entry = count - 1 - random() % std::min<std::uint64_t>(count, 40);
        // Longer than the entry: reaches into what is being encoded.
        const Extent extent{entry * kEntry, 3 * kEntry};
        ReadAnswer answer;
        if (random() % 2 == 0 || !io.read_buffered(extent, answer)) answer = io.read(extent);
        ASSERT_TRUE(answer.bytes);
        const auto own = answer.bytes->first(kEntry);
        ASSERT_TRUE(
            std::all_of(own.begin(), own.end(), [&](std::byte b) { return b == fill_of(entry); }));
      }
    });
  }
  for (std::uint64_t entry = 0; entry < kEntries; ++entry) {
    std::span<std::byte> room;
    while ((room = io.prepare(entry * kEntry, kEntry)).empty()) {
      if (!seal()) std::this_thread::yield();
    }
    std::fill(room.begin(), room.end(), fill_of(entry));
    io.commit();
    published = entry + 1;
    if (io.flush_due()) seal();
  }
  done = true;
  flusher.join();
  for (std::thread& reader : readers) reader.join();
  ASSERT_TRUE(io.flush());
  const std::vector<std::byte> durable = disk.durable();
  for (std::uint64_t entry = 0; entry < kEntries; ++entry) {
    ASSERT_EQ(durable[entry * kEntry + kEntry - 1], fill_of(entry));
  }
}

}  // namespace
}  // namespace rawcache
