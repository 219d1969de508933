// Guards what direct I/O needs of its memory: alignment and zeroes, at every size, and single
// ownership.
#include "base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace rawcache {
namespace {

std::uintptr_t address(const AlignedBuffer& buffer) {
  return reinterpret_cast<std::uintptr_t>(buffer.data());
}

TEST(AlignedBuffer, EverySizeIsAlignedAndZeroed) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  for (const std::size_t size : {std::size_t{1}, std::size_t{512}, std::size_t{4096},
                                 std::size_t{5000}, kHuge - 1, kHuge, kHuge + 4097}) {
    // Dirty memory of the same size first, so that zeroes cannot be luck.
    {
      AlignedBuffer dirty = AlignedBuffer::allocate(size);
      std::ranges::fill(dirty.bytes(), std::byte{0xAB});
    }
    const AlignedBuffer buffer = AlignedBuffer::allocate(size);
    ASSERT_FALSE(buffer.empty());
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(address(buffer) % (size >= kHuge ? kHuge : kIoMemoryAlignment), 0u) << size;
    EXPECT_TRUE(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(AlignedBuffer, MovingHandsTheMemoryOver) {
  AlignedBuffer first = AlignedBuffer::allocate(100);
  first.data()[99] = std::byte{7};
  const std::uintptr_t where = address(first);
  AlignedBuffer second = std::move(first);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(address(second), where);
  AlignedBuffer third = AlignedBuffer::allocate(10);
  third = std::move(second);
  EXPECT_EQ(address(third), where);
  EXPECT_EQ(third.size(), 100u);
  EXPECT_EQ(third.data()[99], std::byte{7});
}

TEST(AlignedBuffer, MoreThanAnyMachineHasGivesAnEmptyBuffer) {
  EXPECT_TRUE(AlignedBuffer::allocate(SIZE_MAX).empty());
  EXPECT_TRUE(AlignedBuffer::allocate((std::size_t{1} << 47) + 1).empty());
}

}  // namespace
}  // namespace rawcache
