// The promises of Disk, checked on every implementation by one suite: what was written is read back
// whatever the shape of the batch, invalid requests start nothing, batches may be waited for
// piecemeal, in another thread or not at all, and everything is counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "disk/scratch.h"
#include "rawcache/disk.h"
#include "support/faulty_disk.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kDiskBytes = std::uint64_t{8} << 20;
using Kind = IoRequest::Kind;

/// What a disk under test stands on, and the disk.
struct Bench {
  ScratchDirectory directory;
  std::unique_ptr<LoopDevice> loop;
  std::unique_ptr<Disk> disk;
  std::string why_not;
};

struct Implementation {
  const char* name;
  std::function<void(Bench&)> make;
};

void open_at(Bench& bench, const std::string& path, const DiskOptions& options) {
  Result<std::unique_ptr<Disk>> disk = open_disk(path, options);
  if (disk) {
    bench.disk = std::move(*disk);
  } else {
    bench.why_not = disk.error().message();
  }
}

Implementation file_with(const char* name, IoEngine engine, DirectIo direct) {
  return {name, [=](Bench& bench) {
            open_at(bench, bench.directory / "disk",
                    {.engine = engine, .direct = direct, .create_bytes = kDiskBytes});
          }};
}

Implementation loop_with(const char* name, IoEngine engine) {
  return {name, [=](Bench& bench) {
            const std::string file = bench.directory / "disk";
            open_at(bench, file, {.create_bytes = kDiskBytes});
            bench.disk.reset();
            bench.loop = std::make_unique<LoopDevice>(file, "");
            if (bench.loop->path().empty()) {
              bench.why_not = "no loop devices here (losetup needs root)";
              return;
            }
            open_at(bench, bench.loop->path(), {.engine = engine, .direct = DirectIo::required});
          }};
}

const Implementation kImplementations[] = {
    file_with("UringDirect", IoEngine::io_uring, DirectIo::required),
    file_with("UringPageCache", IoEngine::io_uring, DirectIo::off),
    file_with("PosixDirect", IoEngine::posix, DirectIo::required),
    file_with("PosixPageCache", IoEngine::posix, DirectIo::off),
    loop_with("UringLoopDevice", IoEngine::io_uring),
    loop_with("PosixLoopDevice", IoEngine::posix),
    {"Memory", [](Bench& bench) { bench.disk = make_memory_disk(kDiskBytes); }},
    {"Faulty",
     [](Bench& bench) {
       bench.disk = std::make_unique<FaultyDisk>(make_memory_disk(kDiskBytes, 4096));
     }},
    {"FaultyOverPosix",
     [](Bench& bench) {
       open_at(bench, bench.directory / "disk",
               {.engine = IoEngine::posix, .create_bytes = kDiskBytes});
       bench.disk = std::make_unique<FaultyDisk>(std::move(bench.disk));
     }},
    {"Simulated", [](Bench& bench) { bench.disk = std::make_unique<SimDisk>(kDiskBytes); }},
};

/// A byte that depends on the place and on who wrote it, so that any mix-up shows.
std::byte pattern(std::uint64_t at, std::uint64_t seed) {
  return static_cast<std::byte>((at * 0x9E3779B97F4A7C15u + seed * 0xD1B54A32D192ED03u) >> 56);
}

void fill(std::span<std::byte> bytes, std::uint64_t offset, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = pattern(offset + i, seed);
}

bool holds(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != pattern(offset + i, seed)) return false;
  }
  return true;
}

class DiskConformance : public ::testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override {
    GetParam().make(bench_);
    if (bench_.disk == nullptr) GTEST_SKIP() << bench_.why_not;
  }

  Disk& disk() { return *bench_.disk; }
  std::size_t unit() { return disk().info().io_alignment; }

  /// Requests of `unit()` bytes, one after the other from `offset`, in `memory`.
  IoBatch row(Kind kind, std::size_t count, std::span<std::byte> memory, std::uint64_t offset = 0) {
    IoBatch batch;
    for (std::size_t i = 0; i < count; ++i) {
      batch.requests.push_back({kind, offset + i * unit(), memory.data() + i * unit(), unit()});
    }
    return batch;
  }

  void write_pattern(std::uint64_t offset, std::size_t size, std::uint64_t seed) {
    AlignedBuffer buffer = AlignedBuffer::allocate(size);
    fill(buffer.bytes(), offset, seed);
    ASSERT_TRUE(disk().write(offset, buffer.bytes()));
  }

  Bench bench_;
};

TEST_P(DiskConformance, ItSaysWhatItIs) {
  const DiskInfo& info = disk().info();
  EXPECT_EQ(info.size_bytes, kDiskBytes);
  EXPECT_TRUE(std::has_single_bit(info.io_alignment));
  EXPECT_TRUE(std::has_single_bit(info.memory_alignment));
  EXPECT_LE(info.memory_alignment, 4096u);
  EXPECT_FALSE(info.engine.empty());
  EXPECT_EQ(info.fallback_reason, "");
}

TEST_P(DiskConformance, ANewDiskReadsAsZeros) {
  std::vector<std::byte> bytes(1 << 20, std::byte{0xFF});
  ASSERT_TRUE(disk().read(kDiskBytes - bytes.size(), bytes));
  EXPECT_TRUE(
      std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_P(DiskConformance, WhatIsWrittenIsReadBackAtAnySizeAndPlace) {
  std::uint64_t seed = 1;
  for (const std::size_t size : {unit(), 2 * unit(), 7 * unit(), std::size_t{65536},
                                 std::size_t{1} << 20, std::size_t{5} << 20}) {
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{unit()}, std::uint64_t{37 * unit()}, kDiskBytes - size}) {
      write_pattern(offset, size, ++seed);
      AlignedBuffer back = AlignedBuffer::allocate(size);
      ASSERT_TRUE(disk().read(offset, back.bytes()));
      ASSERT_TRUE(holds(back.bytes(), offset, seed)) << size << " bytes at " << offset;
    }
  }
}

TEST_P(DiskConformance, NeighboursOfAWriteStayAsTheyAre) {
  write_pattern(0, 8 * unit(), 1);
  write_pattern(3 * unit(), 2 * unit(), 2);
  AlignedBuffer back = AlignedBuffer::allocate(8 * unit());
  ASSERT_TRUE(disk().read(0, back.bytes()));
  EXPECT_TRUE(holds(back.bytes().first(3 * unit()), 0, 1));
  EXPECT_TRUE(holds(back.bytes().subspan(3 * unit(), 2 * unit()), 3 * unit(), 2));
  EXPECT_TRUE(holds(back.bytes().subspan(5 * unit()), 5 * unit(), 1));
}

TEST_P(DiskConformance, TheConvenientCallsTakeMemoryOfAnyAlignment) {
  std::vector<std::byte> memory(3 * unit() + 1);
  const std::span<std::byte> odd = std::span(memory).subspan(1);
  fill(odd, unit(), 5);
  ASSERT_TRUE(disk().write(unit(), odd));
  std::fill(memory.begin(), memory.end(), std::byte{0});
  ASSERT_TRUE(disk().read(unit(), odd));
  EXPECT_TRUE(holds(odd, unit(), 5));
}

TEST_P(DiskConformance, BatchesOfAnyLengthDoEachRequestOnce) {
  AlignedBuffer memory = AlignedBuffer::allocate(500 * unit());
  AlignedBuffer back = AlignedBuffer::allocate(500 * unit());
  std::uint64_t seed = 10;
  for (const std::size_t count :
       {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 64, 65, 100, 127, 128, 129, 500}) {
    fill(memory.bytes().first(count * unit()), 0, ++seed);
    IoBatch writes = row(Kind::write, count, memory.bytes());
    std::shuffle(writes.requests.begin(), writes.requests.end(), std::mt19937_64(seed));
    ASSERT_TRUE(disk().run(writes)) << count;
    IoBatch reads = row(Kind::read, count, back.bytes());
    std::shuffle(reads.requests.begin(), reads.requests.end(), std::mt19937_64(seed + 1));
    ASSERT_TRUE(disk().run(reads)) << count;
    EXPECT_EQ(reads.under_way, 0u);
    EXPECT_EQ(reads.engine_state, nullptr);
    for (const IoRequest& request : reads.requests) ASSERT_TRUE(request.done);
    ASSERT_TRUE(holds(back.bytes().first(count * unit()), 0, seed)) << count;
  }
}

TEST_P(DiskConformance, SizesMayDifferWithinABatch) {
  AlignedBuffer memory = AlignedBuffer::allocate(kDiskBytes / 2);
  fill(memory.bytes(), 0, 3);
  std::mt19937_64 random(3);
  IoBatch writes;
  for (std::size_t at = 0; at < memory.size();) {
    const std::size_t largest = random() % 8 == 0 ? (1 << 20) : (1 << 16);
    const std::size_t units = 1 + random() % (largest / unit());
    const std::size_t size = std::min(units * unit(), memory.size() - at);
    writes.requests.push_back({Kind::write, at, memory.data() + at, size});
    at += size;
  }
  IoBatch reads = writes;
  ASSERT_TRUE(disk().run(writes));
  AlignedBuffer back = AlignedBuffer::allocate(memory.size());
  for (IoRequest& request : reads.requests) {
    request.kind = Kind::read;
    request.data = back.data() + request.offset;
  }
  ASSERT_TRUE(disk().run(reads));
  EXPECT_TRUE(holds(back.bytes(), 0, 3));
}

TEST_P(DiskConformance, ReadsAndWritesMayTravelTogether) {
  write_pattern(0, 100 * unit(), 1);
  AlignedBuffer memory = AlignedBuffer::allocate(200 * unit());
  IoBatch batch = row(Kind::read, 100, memory.bytes());
  fill(memory.bytes().subspan(100 * unit()), 100 * unit(), 2);
  for (IoRequest& request :
       row(Kind::write, 100, memory.bytes().subspan(100 * unit()), 100 * unit()).requests) {
    batch.requests.push_back(request);
  }
  std::shuffle(batch.requests.begin(), batch.requests.end(), std::mt19937_64(1));
  ASSERT_TRUE(disk().run(batch));
  EXPECT_TRUE(holds(memory.bytes().first(100 * unit()), 0, 1));
  AlignedBuffer back = AlignedBuffer::allocate(100 * unit());
  ASSERT_TRUE(disk().read(100 * unit(), back.bytes()));
  EXPECT_TRUE(holds(back.bytes(), 100 * unit(), 2));
}

TEST_P(DiskConformance, ABatchMayBeWaitedForPiecemeal) {
  write_pattern(0, 300 * unit(), 4);
  AlignedBuffer back = AlignedBuffer::allocate(300 * unit());
  for (const std::size_t step : {1, 7, 50}) {
    std::memset(back.data(), 0, back.size());
    IoBatch batch = row(Kind::read, 300, back.bytes());
    ASSERT_TRUE(disk().submit(batch));
    std::set<std::size_t> seen;
    for (std::size_t left = batch.under_way;;) {
      for (std::size_t i = 0; i < batch.requests.size(); ++i) {
        if (!batch.requests[i].done || !seen.insert(i).second) continue;
        ASSERT_EQ(batch.requests[i].os_error, 0);
        ASSERT_TRUE(holds(back.bytes().subspan(i * unit(), unit()), i * unit(), 4)) << i;
      }
      ASSERT_EQ(seen.size() + left, 300u);
      if (left == 0) break;
      const std::size_t now = disk().wait(batch, step);
      ASSERT_EQ(now, batch.under_way);
      ASSERT_LE(now + std::min(step, left), left);
      left = now;
    }
    EXPECT_EQ(disk().wait(batch, 1), 0u);
  }
}

TEST_P(DiskConformance, WaitingForNothingReturnsAtOnceAndLosesNothing) {
  AlignedBuffer back = AlignedBuffer::allocate(100 * unit());
  IoBatch batch = row(Kind::read, 100, back.bytes());
  ASSERT_TRUE(disk().submit(batch));
  for (int i = 0; i < 10; ++i) disk().wait(batch, 0);
  EXPECT_EQ(disk().wait(batch, 1000), 0u);
  for (const IoRequest& request : batch.requests) EXPECT_TRUE(request.done);
}

TEST_P(DiskConformance, ABatchThatIsDoneMayBeSubmittedAgain) {
  AlignedBuffer back = AlignedBuffer::allocate(50 * unit());
  IoBatch batch = row(Kind::read, 50, back.bytes());
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    write_pattern(0, 50 * unit(), seed);
    ASSERT_TRUE(disk().run(batch));
    ASSERT_TRUE(holds(back.bytes(), 0, seed));
  }
}

TEST_P(DiskConformance, AnEmptyBatchIsDone) {
  IoBatch batch;
  EXPECT_TRUE(disk().run(batch));
  EXPECT_EQ(disk().wait(batch, 1), 0u);
}

TEST_P(DiskConformance, InvalidRequestsAreRefusedAndNothingOfTheirBatchIsStarted) {
  write_pattern(0, 4 * unit(), 1);
  AlignedBuffer memory = AlignedBuffer::allocate(4 * unit());
  fill(memory.bytes(), 0, 2);
  const std::uint64_t size = disk().info().size_bytes;
  const std::byte* odd = memory.data() + 1;
  const IoRequest invalid[] = {
      {Kind::write, 0, memory.data(), 0},                                   // empty
      {Kind::write, 1, memory.data(), unit()},                              // offset not aligned
      {Kind::write, 0, memory.data(), unit() - 1},                          // size not aligned
      {Kind::write, 0, const_cast<std::byte*>(odd), unit()},                // memory not aligned
      {Kind::write, 0, nullptr, unit()},                                    // no memory
      {Kind::write, size, memory.data(), unit()},                           // behind the end
      {Kind::write, size - unit(), memory.data(), 2 * unit()},              // across the end
      {Kind::write, 0 - std::uint64_t{unit()}, memory.data(), 2 * unit()},  // overflows to 1 unit
      {Kind::write, unit(), memory.data(), 0 - unit()},                     // overflows to 0
  };
  const DiskCounters before = disk().counters();
  for (const IoRequest& request : invalid) {
    for (const bool first : {false, true}) {
      for (const Kind kind : {Kind::read, Kind::write}) {
        IoBatch batch = row(Kind::write, 3, memory.bytes());
        batch.requests.insert(first ? batch.requests.begin() : batch.requests.end(), request);
        batch.requests[first ? 0 : 3].kind = kind;
        const Result<void> refused = disk().submit(batch);
        ASSERT_FALSE(refused) << request.size << " bytes at " << request.offset;
        EXPECT_EQ(refused.error(), Errc::invalid_io);
        EXPECT_EQ(batch.under_way, 0u);
        EXPECT_EQ(batch.engine_state, nullptr);
      }
    }
  }
  EXPECT_EQ(disk().write(1, memory.bytes()).error(), Errc::invalid_io);
  EXPECT_EQ(disk().write(0, {}).error(), Errc::invalid_io);
  EXPECT_EQ(disk().read(size, memory.bytes()).error(), Errc::invalid_io);
  EXPECT_EQ(disk().read(0, memory.bytes().subspan(1)).error(), Errc::invalid_io);
  EXPECT_EQ(disk().counters().writes, before.writes);
  EXPECT_EQ(disk().counters().reads, before.reads);
  AlignedBuffer back = AlignedBuffer::allocate(4 * unit());
  ASSERT_TRUE(disk().read(0, back.bytes()));
  EXPECT_TRUE(holds(back.bytes(), 0, 1)) << "something was written";
}

TEST_P(DiskConformance, ThreadsDoNotDisturbEachOther) {
  constexpr std::size_t kThreads = 4, kRequests = 60;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t, &wrong] {
      const std::uint64_t offset = t * (kDiskBytes / kThreads);
      AlignedBuffer memory = AlignedBuffer::allocate(kRequests * unit());
      for (std::uint64_t round = 0; round < 10; ++round) {
        const std::uint64_t seed = t * 1000 + round;
        fill(memory.bytes(), offset, seed);
        IoBatch writes = row(Kind::write, kRequests, memory.bytes(), offset);
        if (!disk().run(writes)) ++wrong;
        if (round % 4 == t && !disk().sync()) ++wrong;
        std::memset(memory.data(), 0, memory.size());
        IoBatch reads = row(Kind::read, kRequests, memory.bytes(), offset);
        if (!disk().submit(reads)) ++wrong;
        while (disk().wait(reads, 9) != 0) {
        }
        if (!holds(memory.bytes(), offset, seed)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(DiskConformance, ManyBatchesOfOneThreadMayBeUnderWayAtOnce) {
  constexpr std::size_t kBatches = 20, kRequests = 10;  // more than there are rings
  write_pattern(0, kRequests * unit(), 9);
  AlignedBuffer memory = AlignedBuffer::allocate(kBatches * kRequests * unit());
  std::vector<IoBatch> batches(kBatches);
  for (std::size_t i = 0; i < kBatches; ++i) {
    batches[i] = row(Kind::read, kRequests, memory.bytes().subspan(i * kRequests * unit()));
    ASSERT_TRUE(disk().submit(batches[i]));
  }
  for (std::size_t i = kBatches; i-- > 0;) {
    EXPECT_EQ(disk().wait(batches[i], kRequests), 0u);
    EXPECT_TRUE(holds(memory.bytes().subspan(i * kRequests * unit(), kRequests * unit()), 0, 9));
  }
}

TEST_P(DiskConformance, ABatchMayBeWaitedForInAnotherThreadThanItWasSubmittedIn) {
  write_pattern(0, 200 * unit(), 6);
  for (int round = 0; round < 20; ++round) {
    AlignedBuffer back = AlignedBuffer::allocate(200 * unit());
    IoBatch batch = row(Kind::read, 200, back.bytes());
    // The submitting thread ends while requests are under way.
    std::thread([&] { ASSERT_TRUE(disk().submit(batch)); }).join();
    EXPECT_EQ(disk().wait(batch, 200), 0u);
    for (const IoRequest& request : batch.requests) ASSERT_EQ(request.os_error, 0);
    ASSERT_TRUE(holds(back.bytes(), 0, 6));
  }
}

TEST_P(DiskConformance, ManyBytesAreWrittenThoughTheThreadThatSubmittedThemHasEnded) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << 20, kPieces = 6;
  AlignedBuffer memory = AlignedBuffer::allocate(kPieces * kPieceBytes);
  AlignedBuffer back = AlignedBuffer::allocate(kPieces * kPieceBytes);
  for (std::uint64_t round = 0; round < 10; ++round) {
    fill(memory.bytes(), 0, round);
    IoBatch batch;
    for (std::size_t at = 0; at < memory.size(); at += kPieceBytes) {
      batch.requests.push_back({Kind::write, at, memory.data() + at, kPieceBytes});
    }
    std::thread([&] { ASSERT_TRUE(disk().submit(batch)); }).join();
    EXPECT_EQ(disk().wait(batch, kPieces), 0u);
    for (const IoRequest& request : batch.requests) ASSERT_EQ(request.os_error, 0);
    ASSERT_TRUE(disk().read(0, back.bytes()));
    ASSERT_TRUE(holds(back.bytes(), 0, round)) << "round " << round;
  }
}

TEST_P(DiskConformance, ASubmittingThreadThatSleepsDoesNotHoldUpTheOneThatWaits) {
  write_pattern(0, 20 * unit(), 6);
  AlignedBuffer back = AlignedBuffer::allocate(20 * unit());
  IoBatch batch = row(Kind::read, 20, back.bytes());
  std::atomic<bool> submitted{false}, waited{false};
  std::thread submitter([&] {
    ASSERT_TRUE(disk().submit(batch));
    submitted = true;
    submitted.notify_one();
    while (!waited) {  // never enters the kernel
    }
  });
  submitted.wait(false);
  EXPECT_EQ(disk().wait(batch, 20), 0u);
  waited = true;
  submitter.join();
  EXPECT_TRUE(holds(back.bytes(), 0, 6));
}

TEST_P(DiskConformance, ADroppedBatchLeavesItsMemoryAloneAfterwards) {
  write_pattern(0, 500 * unit(), 7);
  AlignedBuffer back = AlignedBuffer::allocate(500 * unit());
  for (int round = 0; round < 10; ++round) {
    {
      IoBatch batch = row(Kind::read, 500, back.bytes());
      ASSERT_TRUE(disk().submit(batch));
      if (round % 2 == 1) disk().wait(batch, 3);
      if (round % 3 == 1) batch = IoBatch();  // frees the requests before the state
    }
    std::memset(back.data(), 0x5A, back.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto alone = [](std::byte b) { return b == std::byte{0x5A}; };
    ASSERT_TRUE(std::all_of(back.bytes().begin(), back.bytes().end(), alone));
  }
  ASSERT_TRUE(disk().read(0, back.bytes()));  // and the disk goes on
  EXPECT_TRUE(holds(back.bytes(), 0, 7));
}

TEST_P(DiskConformance, MemoryGivenToUseMemoryAndOtherMemoryWorkAlike) {
  AlignedBuffer known = AlignedBuffer::allocate(100 * unit());
  AlignedBuffer other = AlignedBuffer::allocate(100 * unit());
  disk().use_memory(known.bytes());
  fill(known.bytes(), 0, 8);
  IoBatch writes = row(Kind::write, 100, known.bytes());
  ASSERT_TRUE(disk().run(writes));
  IoBatch reads = row(Kind::read, 100, other.bytes());
  ASSERT_TRUE(disk().run(reads));
  EXPECT_TRUE(holds(other.bytes(), 0, 8));
  AlignedBuffer more = AlignedBuffer::allocate(100 * unit());
  disk().use_memory(more.bytes());
  for (AlignedBuffer* memory : {&known, &other, &more}) {
    std::memset(memory->data(), 0, memory->size());
    IoBatch again = row(Kind::read, 100, memory->bytes());
    ASSERT_TRUE(disk().run(again));
    EXPECT_TRUE(holds(memory->bytes(), 0, 8));
  }
  bench_.disk.reset();  // before the memory
}

TEST_P(DiskConformance, EverythingIsCounted) {
  const DiskCounters before = disk().counters();
  AlignedBuffer memory = AlignedBuffer::allocate(10 * unit());
  IoBatch batch = row(Kind::write, 7, memory.bytes());
  batch.requests.push_back({Kind::read, 8 * unit(), memory.data() + 8 * unit(), 2 * unit()});
  ASSERT_TRUE(disk().run(batch));
  ASSERT_TRUE(disk().sync());
  ASSERT_TRUE(disk().sync());
  const DiskCounters after = disk().counters();
  EXPECT_EQ(after.writes - before.writes, 7u);
  EXPECT_EQ(after.written_bytes - before.written_bytes, 7 * unit());
  EXPECT_EQ(after.reads - before.reads, 1u);
  EXPECT_EQ(after.read_bytes - before.read_bytes, 2 * unit());
  EXPECT_EQ(after.syncs - before.syncs, 2u);
  EXPECT_EQ(after.errors, 0u);
}

INSTANTIATE_TEST_SUITE_P(Every, DiskConformance, ::testing::ValuesIn(kImplementations),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace rawcache::testing
