// Guards that one read of the device suffices (the class is never too small) and that it is not
// wasteful.
#include "format/size_class.h"

#include <gtest/gtest.h>

namespace rawcache {
namespace {

void expect_least_class(std::uint64_t bytes) {
  const std::uint8_t c = size_class(bytes);
  ASSERT_GE(size_class_bytes(c), bytes);
  if (c > 0) {
    ASSERT_LT(size_class_bytes(c - 1), bytes) << "not the least class";
  }
  const std::uint64_t excess = size_class_bytes(c) - bytes;
  if (bytes <= 8192) {
    ASSERT_LE(excess, 64u);
  } else {
    ASSERT_LE(excess, bytes / 8 + 512);
  }
}

TEST(SizeClass, EverySizeUpToAMegabyteGetsItsLeastClass) {
  for (std::uint64_t bytes = 1; bytes <= std::uint64_t{1} << 20; ++bytes) expect_least_class(bytes);
}

TEST(SizeClass, EverySizeAroundABorderGetsItsLeastClass) {
  for (unsigned c = 0; c < kSizeClasses; ++c) {
    const std::uint64_t border = size_class_bytes(static_cast<std::uint8_t>(c));
    ASSERT_EQ(size_class(border), c);
    expect_least_class(border);
    expect_least_class(border - 1);
    if (border < kSizeClassBytesMax) expect_least_class(border + 1);
  }
  for (std::uint64_t bytes = 1; bytes < kSizeClassBytesMax; bytes += 4093)
    expect_least_class(bytes);
}

TEST(SizeClass, ClassesGrowAndEndWithTheLargestSegment) {
  for (unsigned c = 1; c < kSizeClasses; ++c) {
    EXPECT_GT(size_class_bytes(static_cast<std::uint8_t>(c)),
              size_class_bytes(static_cast<std::uint8_t>(c - 1)));
  }
  for (unsigned c = kSizeClasses - 1; c < 256; ++c) {
    EXPECT_EQ(size_class_bytes(static_cast<std::uint8_t>(c)), kSizeClassBytesMax);
  }
  EXPECT_EQ(size_class(kSizeClassBytesMax), kSizeClasses - 1);
  EXPECT_EQ(size_class(0), 0);
}

TEST(SizeClass, ARoundValueWithItsHeaderEndsJustBehindTheRoundSize) {
  for (const std::uint64_t round : {8192u, 16384u, 65536u, 131072u, 1u << 20, 3u << 20, 4u << 20}) {
    EXPECT_EQ(size_class_bytes(size_class(round + 40)), round + 512) << round;
  }
}

}  // namespace
}  // namespace rawcache
