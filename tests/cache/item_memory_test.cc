// Guards that items do not overlap, that the memory of large ones is used again and given back when
// they have left, and that they are served from the heap where no run is free.
#include "cache/item_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <span>
#include <thread>
#include <vector>

namespace rawcache {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::uint64_t kBytes = 32 * kHuge;
constexpr std::size_t kLarge = ItemMemory::kLargeBytes;

struct Held {
  void* memory;
  std::size_t bytes;
  unsigned char mark;
};

Held hold(ItemMemory& memory, std::size_t bytes, unsigned char mark) {
  Held held{memory.allocate(bytes), bytes, mark};
  std::memset(held.memory, mark, bytes);
  return held;
}

/// Of the range, as the system counts.
std::uint64_t resident_bytes(const ItemMemory& memory) {
  constexpr std::size_t kPage = 4096;
  const std::span<const std::byte> range = memory.range();
  if (range.empty()) return 0;
  std::vector<unsigned char> pages(range.size() / kPage);
  EXPECT_EQ(mincore(const_cast<std::byte*>(range.data()), range.size(), pages.data()), 0);
  const auto is_resident = [](unsigned char page) { return (page & 1) != 0; };
  return static_cast<std::uint64_t>(std::ranges::count_if(pages, is_resident)) * kPage;
}

bool lies_in_range(const ItemMemory& memory, const Held& held) {
  const auto* const at = static_cast<const std::byte*>(held.memory);
  return at >= memory.range().data() && at < memory.range().data() + memory.range().size();
}

bool is_untouched(const Held& held) {
  const auto* const bytes = static_cast<const unsigned char*>(held.memory);
  return std::all_of(bytes, bytes + held.bytes, [&](unsigned char b) { return b == held.mark; });
}

void let_go(ItemMemory& memory, const Held& held) {
  EXPECT_TRUE(is_untouched(held));
  memory.deallocate(held.memory, held.bytes);
}

TEST(ItemMemory, ItemsOfAllSizesDoNotOverlap) {
  ItemMemory memory(kBytes);
  std::vector<Held> items;
  std::mt19937 random(7);
  for (int step = 0; step < 1500; ++step) {
    if (items.size() < 200 && (items.empty() || random() % 2 == 0)) {
      const std::size_t bytes = 1 + random() % (random() % 8 == 0 ? 2 * kHuge : 2 * kLarge);
      items.push_back(hold(memory, bytes, static_cast<unsigned char>(step)));
    } else {
      std::swap(items[random() % items.size()], items.back());
      let_go(memory, items.back());
      items.pop_back();
    }
  }
  for (const Held& held : items) let_go(memory, held);
}

TEST(ItemMemory, SmallItemsTakeNothingOfTheRangeAndOfLittleMemoryThereIsNone) {
  ItemMemory memory(kBytes), little(kHuge);
  const Held small = hold(memory, kLarge - 1, 1);
  const Held large = hold(little, kLarge, 2);
  EXPECT_EQ(resident_bytes(memory), 0u);
  EXPECT_TRUE(little.range().empty());
  EXPECT_EQ(little.charge_of(200'000) % 4096, 0u) << "the heap takes whole pages";
  let_go(memory, small);
  let_go(little, large);
}

TEST(ItemMemory, MemoryOfWhatHasLeftIsUsedAgain) {
  ItemMemory memory(kBytes);
  for (int round = 0; round < 1000; ++round) {
    const Held held = hold(memory, kLarge + 100, static_cast<unsigned char>(round));
    ASSERT_EQ(held.memory, memory.range().data()) << "the lowest, in the range";
    let_go(memory, held);
  }
  EXPECT_LE(resident_bytes(memory), kHuge);
}

/// Fills the memory with items of `before` bytes, lets every second one go, and fills what they
/// have left with items of `after` bytes. Returns the most that the system gave for all of them.
std::uint64_t most_of_the_system(std::size_t before, std::size_t after) {
  ItemMemory memory(kBytes);
  std::vector<Held> items, others;
  std::uint64_t charged = 0, of_heap = 0, most = 0;
  while (charged + memory.charge_of(before) <= kBytes) {
    items.push_back(hold(memory, before, 1));
    charged += memory.charge_of(before);
  }
  for (std::size_t i = 0; i < items.size(); i += 2) {
    let_go(memory, items[i]);
    charged -= memory.charge_of(before);
  }
  while (charged + memory.charge_of(after) <= kBytes) {
    others.push_back(hold(memory, after, 2));
    charged += memory.charge_of(after);
    if (!lies_in_range(memory, others.back())) of_heap += heap_bytes(after);
    if (others.size() % 64 == 0) most = std::max(most, resident_bytes(memory) + of_heap);
  }
  EXPECT_GT(of_heap, kBytes / 4);
  for (std::size_t i = 1; i < items.size(); i += 2) let_go(memory, items[i]);
  for (const Held& held : others) let_go(memory, held);
  return most;
}

TEST(ItemMemory, WhatLargeItemsHaveLeftGoesBackWhenSmallOnesTakeTheirPlace) {
  EXPECT_LE(most_of_the_system(8 * kLarge, kLarge / 2), kBytes / 8 * 9 + kHuge);
}

TEST(ItemMemory, WhatLargeItemsHaveLeftGoesBackWhenItIsTooShortForOthers) {
  EXPECT_LE(most_of_the_system(8 * kLarge, 20 * kLarge), kBytes / 8 * 9 + kHuge);
}

TEST(ItemMemory, MoreThanTheRangeHoldsComesFromTheHeap) {
  ItemMemory memory(kBytes);
  std::vector<Held> items;
  for (std::size_t i = 0; i < 2 * kBytes / kHuge; ++i) {
    items.push_back(hold(memory, kHuge, static_cast<unsigned char>(i)));
  }
  EXPECT_LE(resident_bytes(memory), kBytes);
  for (const Held& held : items) let_go(memory, held);
}

TEST(ItemMemory, ItemsOfManySizesTakeAnEighthMoreThanTheyChargeAtMost) {
  ItemMemory memory(kBytes);
  std::mt19937 random(3);
  std::vector<Held> items;
  std::uint64_t charged = 0, of_heap = 0, most_of_heap = 0, most = 0;
  const auto heap_part = [&](const Held& held) -> std::uint64_t {
    return lies_in_range(memory, held) ? 0 : heap_bytes(held.bytes);
  };
  for (int step = 0; step < 2400; ++step) {
    // Small ones and large ones in turn.
    const std::size_t bytes = kLarge + random() % (step / 600 % 2 == 0 ? 30 * kLarge : kHuge / 2);
    while (charged + memory.charge_of(bytes) > kBytes) {
      std::swap(items[random() % items.size()], items.back());
      charged -= memory.charge_of(items.back().bytes);
      of_heap -= heap_part(items.back());
      let_go(memory, items.back());
      items.pop_back();
    }
    items.push_back(hold(memory, bytes, static_cast<unsigned char>(step)));
    charged += memory.charge_of(bytes);
    of_heap += heap_part(items.back());
    most_of_heap = std::max(most_of_heap, of_heap);
    if (step % 20 == 0) most = std::max(most, resident_bytes(memory) + of_heap);
  }
  EXPECT_GT(most_of_heap, kBytes / 4) << "hardly anything was short of a run";
  EXPECT_LE(most, kBytes / 8 * 9 + kHuge);
  for (const Held& held : items) let_go(memory, held);
}

TEST(ItemMemory, ManyThreadsMayUseIt) {
  ItemMemory memory(kBytes);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<Held> items;
      for (int step = 0; step < 500; ++step) {
        if (items.size() < 50) {
          // More than the range has room for.
          const std::size_t bytes = kLarge + random() % (kHuge / 2);
          items.push_back(hold(memory, bytes, static_cast<unsigned char>(t)));
        } else {
          std::swap(items[random() % items.size()], items.back());
          if (!is_untouched(items.back())) ++wrong;
          memory.deallocate(items.back().memory, items.back().bytes);
          items.pop_back();
        }
      }
      for (const Held& held : items) memory.deallocate(held.memory, held.bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace rawcache
