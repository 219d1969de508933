// Guards the bound on read memory and that a lease is nobody else's while it lives, by filling
// leases with their own pattern and by comparing random use with a plain model.
#include "base/io_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace rawcache {
namespace {

constexpr std::size_t kPage = IoArena::kPageBytes;

bool all_are(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [value](std::byte b) { return b == value; });
}

TEST(IoArena, ALeaseIsAlignedAndLargeEnough) {
  const auto arena = IoArena::create(10 * kPage - 1);
  ASSERT_NE(arena, nullptr);
  EXPECT_EQ(arena->memory().size(), 10 * kPage);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kPage, kPage + 1}) {
    const IoLease lease = arena->lease(size);
    ASSERT_TRUE(lease);
    EXPECT_GE(lease.bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(lease.bytes.data()) % kIoMemoryAlignment, 0u);
    EXPECT_GE(lease.bytes.data(), arena->memory().data());
    EXPECT_LE(lease.bytes.data() + lease.bytes.size(),
              arena->memory().data() + arena->memory().size());
    EXPECT_EQ(arena->leased_bytes(), lease.bytes.size());
  }
  EXPECT_EQ(arena->leased_bytes(), 0u);
}

TEST(IoArena, AFullArenaSaysSoAndServesAgainAfterARelease) {
  const auto arena = IoArena::create(130 * kPage);
  std::vector<IoLease> leases;
  for (int i = 0; i < 130; ++i) {
    leases.push_back(arena->lease(kPage));
    ASSERT_TRUE(leases.back()) << i;
  }
  EXPECT_TRUE(arena->nearly_empty());
  EXPECT_FALSE(arena->lease(1));
  std::byte* const freed = leases[77].bytes.data();
  leases[77] = {};
  EXPECT_FALSE(arena->lease(kPage + 1));
  const IoLease again = arena->lease(kPage);
  ASSERT_TRUE(again);
  EXPECT_EQ(again.bytes.data(), freed);
}

TEST(IoArena, ARunOfPagesIsFoundAcrossWordsAndInFrontOfOthers) {
  const auto arena = IoArena::create(200 * kPage);
  IoLease head = arena->lease(60 * kPage);
  IoLease middle = arena->lease(80 * kPage);
  IoLease tail = arena->lease(60 * kPage);
  ASSERT_TRUE(head && middle && tail);
  middle = {};
  EXPECT_FALSE(arena->lease(81 * kPage));
  const IoLease again = arena->lease(80 * kPage);
  ASSERT_TRUE(again);
  EXPECT_EQ(again.bytes.data(), arena->memory().data() + 60 * kPage);
  head = {};
  tail = {};
  // Free are now two runs that do not join around the end.
  EXPECT_FALSE(arena->lease(61 * kPage));
  EXPECT_TRUE(arena->lease(60 * kPage));
}

TEST(IoArena, TheLowestFreePagesAreUsedAgainFirst) {
  const auto arena = IoArena::create(1000 * kPage);
  std::byte* const first = arena->memory().data();
  for (int round = 0; round < 3; ++round) {
    std::vector<IoLease> leases;
    for (std::size_t i = 0; i < 100; ++i) {
      leases.push_back(arena->lease(kPage));
      ASSERT_EQ(leases.back().bytes.data(), first + i * kPage);
    }
    std::shuffle(leases.begin(), leases.end(), std::mt19937(round));
  }
  std::vector<IoLease> leases;
  for (std::size_t i = 0; i < 10; ++i) leases.push_back(arena->lease(kPage));
  leases[5] = {};
  EXPECT_EQ(arena->lease(2 * kPage).bytes.data(), first + 10 * kPage) << "too large for the gap";
  leases[5] = arena->lease(kPage);
  EXPECT_EQ(leases[5].bytes.data(), first + 5 * kPage);
  EXPECT_EQ(arena->lease(kPage).bytes.data(), first + 10 * kPage);
}

TEST(IoArena, TheWholeArenaCanBeOneLeaseAndNoMore) {
  const auto arena = IoArena::create(64 * kPage);
  EXPECT_TRUE(arena->lease(64 * kPage));
  EXPECT_FALSE(arena->lease(64 * kPage + 1));
  EXPECT_FALSE(arena->lease(SIZE_MAX));
  EXPECT_TRUE(arena->lease(64 * kPage));
}

TEST(IoArena, CopiesOfTheOwnerShareTheLease) {
  const auto arena = IoArena::create(kPage);
  IoLease lease = arena->lease(1);
  auto copy = lease.owner;
  lease = {};
  EXPECT_FALSE(arena->lease(1));
  copy.reset();
  EXPECT_TRUE(arena->lease(1));
}

TEST(IoArena, LeasesOutliveTheOwnerOfTheArena) {
  auto arena = IoArena::create(4 * kPage);
  const std::weak_ptr<IoArena> watch = arena;
  IoLease lease = arena->lease(2 * kPage);
  IoLease heap = arena->heap_lease(100, false);
  std::ranges::fill(lease.bytes, std::byte{0x5A});
  std::ranges::fill(heap.bytes, std::byte{0xA5});
  arena.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_TRUE(all_are(lease.bytes, std::byte{0x5A}));
  lease = {};
  EXPECT_TRUE(all_are(heap.bytes, std::byte{0xA5}));
  heap = {};
  EXPECT_TRUE(watch.expired());
}

TEST(IoArena, TheHeapIsBoundedLikeTheArena) {
  const auto arena = IoArena::create(4 * kPage);
  IoLease plain = arena->heap_lease(3 * kPage, false);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain.bytes.size(), 3 * kPage);
  EXPECT_EQ(arena->heap_bytes(), 3 * kPage);
  EXPECT_FALSE(arena->heap_lease(kPage + 1, false));
  const IoLease aligned = arena->heap_lease(kPage, true);
  ASSERT_TRUE(aligned);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(aligned.bytes.data()) % kIoMemoryAlignment, 0u);
  EXPECT_FALSE(arena->heap_lease(1, false));
  EXPECT_FALSE(arena->heap_lease(SIZE_MAX, true));
  plain = {};
  EXPECT_EQ(arena->heap_bytes(), kPage);
  EXPECT_TRUE(arena->heap_lease(3 * kPage, true));
  EXPECT_EQ(arena->leased_bytes(), 0u);
}

// The model: a lease must succeed exactly when a run of free pages is long enough.
TEST(IoArena, RandomUseAgreesWithAPlainModel) {
  constexpr std::size_t kPages = 150;
  const auto arena = IoArena::create(kPages * kPage);
  std::vector<bool> used(kPages, false);
  struct Held {
    IoLease lease;
    std::size_t first, pages;
  };
  std::vector<Held> held;
  std::mt19937 random(7);
  std::size_t refused = 0;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 && !held.empty()) {
      const std::size_t i = random() % held.size();
      for (std::size_t p = 0; p < held[i].pages; ++p) used[held[i].first + p] = false;
      std::swap(held[i], held.back());
      held.pop_back();
      continue;
    }
    const std::size_t pages = 1 + random() % (random() % 8 == 0 ? 90 : 9);
    std::size_t longest = 0, run = 0;
    for (const bool u : used) longest = std::max(longest, run = u ? 0 : run + 1);
    IoLease lease = arena->lease(pages * kPage);
    ASSERT_EQ(static_cast<bool>(lease), longest >= pages) << "step " << step;
    if (!lease) {
      ++refused;
      continue;
    }
    const auto first =
        static_cast<std::size_t>(lease.bytes.data() - arena->memory().data()) / kPage;
    for (std::size_t p = 0; p < pages; ++p) {
      ASSERT_FALSE(used[first + p]) << "page handed out twice";
      used[first + p] = true;
    }
    held.push_back({std::move(lease), first, pages});
  }
  EXPECT_GT(refused, 100u);  // the test did reach the bound
  held.clear();
  EXPECT_EQ(arena->leased_bytes(), 0u);
  EXPECT_TRUE(arena->lease(kPages * kPage));
}

TEST(IoArena, FourThreadsNeverHoldTheSamePage) {
  const auto arena = IoArena::create(64 * kPage);
  std::atomic<int> torn{0};
  std::atomic<int> granted{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const auto mark = static_cast<std::byte>(t + 1);
      std::vector<IoLease> held;
      for (int i = 0; i < 3000; ++i) {
        if (held.size() > 4) held.erase(held.begin() + random() % held.size());
        const std::size_t size = (1 + random() % 6) * kPage;
        IoLease lease = i % 8 == 0 ? arena->heap_lease(size, i % 16 == 0) : arena->lease(size);
        if (!lease) continue;
        ++granted;
        std::ranges::fill(lease.bytes, mark);
        held.push_back(std::move(lease));
        for (const IoLease& h : held) {
          if (!all_are(h.bytes.first(64), mark) || !all_are(h.bytes.last(64), mark)) ++torn;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  EXPECT_GT(granted, 4000);
  EXPECT_EQ(arena->leased_bytes(), 0u);
  EXPECT_EQ(arena->heap_bytes(), 0u);
}

}  // namespace
}  // namespace rawcache
