// BatchIOManager against a plain array: random writes, flushes and reads on disks that fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "batch/batch_io_fixture.h"

namespace rawcache {
namespace {

struct Chance {
  unsigned seed;
  std::uint32_t alignment;
  unsigned fail_one_in;  // 0: never
};

class BatchIOModel : public ::testing::TestWithParam<Chance> {};

TEST_P(BatchIOModel, AgreesWithAPlainArrayThroughWritesFlushesAndReads) {
  constexpr std::uint64_t kSize = 256_KiB;
  const Chance chance = GetParam();
  TestDisk disk(kSize, chance.alignment);
  disk.fail_one_in(chance.fail_one_in);
  const auto arena = IoArena::create(4_MiB);
  auto made = BatchIOManager::create(disk, {.max_operations = 8, .max_bytes = 64_KiB}, arena, 4096);
  ASSERT_TRUE(made);
  BatchIOManager& io = **made;
  std::vector<std::byte> model(kSize), flushed(kSize);
  std::mt19937_64 random(chance.seed);
  const auto extent = [&] {
    const std::uint64_t size = 1 + random() % (random() % 8 == 0 ? 20000 : 900);
    const std::uint64_t offset = random() % (kSize - size);
    if (random() % 3 != 0) return Extent{offset, size};
    return Extent{offset & ~std::uint64_t{4095},
                  std::min(kSize - offset, (size + 511) & ~std::uint64_t{511})};
  };
  std::uint64_t accepted = 0, durable = 0, failures = 0;
  for (int step = 0; step < 3000; ++step) {
    if (const auto action = random() % 10; action < 6) {
      const Extent place = extent();
      std::vector<std::byte> bytes(place.size, static_cast<std::byte>(random()));
      const auto written = io.write(place.offset, bytes);
      if (!written) ++failures;
      if (written || written.error() == Errc::flush_failed) {
        std::copy(bytes.begin(), bytes.end(),
                  model.begin() + static_cast<std::ptrdiff_t>(place.offset));
        ++accepted;
      }
    } else if (action == 6) {
      const auto done = io.flush();
      if (!done) {
        ++failures;
        continue;
      }
      durable += *done;
      ASSERT_TRUE(disk.durable() == model) << "step " << step;
      ASSERT_EQ(io.counts().pending_operations + io.counts().in_flight_operations, 0U);
    } else {
      std::vector<Extent> extents;
      for (std::uint64_t i = random() % 6; i != ~0ULL; --i) extents.push_back(extent());
      const std::vector<ReadAnswer> answers = io.read(extents);
      ASSERT_EQ(answers.size(), extents.size());
      for (std::size_t i = 0; i < answers.size(); ++i) {
        ASSERT_TRUE(answers[i].bytes);
        ASSERT_EQ(answers[i].bytes->size(), extents[i].size);
        ASSERT_TRUE(std::equal(answers[i].bytes->begin(), answers[i].bytes->end(),
                               model.begin() + static_cast<std::ptrdiff_t>(extents[i].offset)))
            << "step " << step;
      }
    }
  }
  disk.fail_one_in(0);
  (void)io.flush();  // what is under way may have failed already
  ASSERT_TRUE(io.flush());
  EXPECT_TRUE(disk.durable() == model);
  EXPECT_EQ(failures != 0, chance.fail_one_in != 0);
  EXPECT_GT(accepted, 100U);  // most are refused where every fifth I/O fails
  EXPECT_LE(durable, accepted);
  EXPECT_EQ(arena->leased_bytes() + arena->heap_bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BatchIOModel,
                         ::testing::Values(Chance{1, 512, 0}, Chance{2, 512, 0}, Chance{3, 4096, 0},
                                           Chance{4, 8, 0}, Chance{5, 512, 20}, Chance{6, 512, 5},
                                           Chance{7, 4096, 20}, Chance{8, 4096, 5},
                                           Chance{9, 8, 10}, Chance{10, 512, 50}));

}  // namespace
}  // namespace rawcache
