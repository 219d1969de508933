// WriteBuffer: limits count exactly, nothing buffered is lost or found wrong, and memory that is
// used again carries nothing over. Checked on its content, byte by byte.
#include "batch/write_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

namespace rawcache {
namespace {

constexpr std::size_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return n << 20; }

bool put(WriteBuffer& buffer, std::uint64_t offset, std::size_t size, char fill,
         std::uint32_t operations = 1) {
  const std::span<std::byte> room = buffer.reserve(offset, size, operations);
  if (room.size() != size) return false;
  std::memset(room.data(), fill, size);
  return true;
}

/// What a read finds; '.' where nothing is pending, and how many bytes are not '.'.
std::string found(const WriteBuffer& buffer, std::uint64_t offset, std::size_t size,
                  std::size_t* covered = nullptr) {
  std::string text(size, '.');
  const std::size_t n = buffer.read(offset, std::as_writable_bytes(std::span(text)));
  if (covered != nullptr) *covered = n;
  return text;
}

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

TEST(WriteBuffer, AFlushIsDueWhenTheOperationsReachTheLimitAndNotOneBefore) {
  WriteBuffer buffer({});
  for (std::uint64_t i = 0; i < 31; ++i) ASSERT_TRUE(put(buffer, i * 10000, 100, 'a'));
  EXPECT_EQ(buffer.operations(), 31U);
  EXPECT_FALSE(buffer.flush_due());
  ASSERT_TRUE(put(buffer, 999999, 100, 'a'));
  EXPECT_EQ(buffer.operations(), 32U);
  EXPECT_TRUE(buffer.flush_due());
}

TEST(WriteBuffer, AFlushIsDueWhenTheBytesReachTheLimitAndNotOneBefore) {
  WriteBuffer buffer({});
  ASSERT_TRUE(put(buffer, 0, 4_MiB - 1, 'a'));
  EXPECT_FALSE(buffer.flush_due());
  EXPECT_EQ(buffer.bytes(), 4_MiB - 1);
  ASSERT_TRUE(put(buffer, 8_MiB, 1, 'a'));
  EXPECT_EQ(buffer.bytes(), 4_MiB);
  EXPECT_TRUE(buffer.flush_due());
}

TEST(WriteBuffer, FourOperationsOfAMebibyteFitWithTheirHeaders) {
  WriteBuffer buffer({});
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(buffer.flush_due());
    ASSERT_TRUE(put(buffer, i * 64_MiB + 512 * i, 64, 'h', 0));
    ASSERT_TRUE(put(buffer, i * 64_MiB + 512 * i + 64, 1_MiB, 'a'));
  }
  EXPECT_TRUE(buffer.flush_due());
  EXPECT_EQ(buffer.operations(), 4U);
  EXPECT_EQ(buffer.bytes(), 4_MiB + 256);
}

TEST(WriteBuffer, HeadersCountAsBytesAndNotAsOperations) {
  WriteBuffer buffer({.max_operations = 1, .max_bytes = 4_KiB});
  ASSERT_TRUE(put(buffer, 0, 64, 'h', 0));
  EXPECT_EQ(buffer.operations(), 0U);
  EXPECT_EQ(buffer.bytes(), 64U);
  EXPECT_FALSE(buffer.flush_due());
  EXPECT_FALSE(buffer.empty());
}

TEST(WriteBuffer, TheLargestLimitOfOperationsIsNeverReached) {
  WriteBuffer buffer({.max_operations = 0xFFFFFFFF, .max_bytes = 1_MiB});
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(put(buffer, i * 100, 100, 'a'));
  EXPECT_FALSE(buffer.flush_due());
  EXPECT_EQ(buffer.writes().size(), 1U);
}

TEST(WriteBuffer, AWriteThatFollowsTheLastOneFollowsItInMemory) {
  WriteBuffer buffer({});
  const auto first = buffer.reserve(1000, 500);
  const auto second = buffer.reserve(1500, 700);
  EXPECT_EQ(first.data() + 500, second.data());
  ASSERT_EQ(buffer.writes().size(), 1U);
  EXPECT_EQ(buffer.writes()[0].offset, 1000U);
  EXPECT_EQ(buffer.writes()[0].bytes.size(), 1200U);
  EXPECT_EQ(buffer.operations(), 2U);
}

TEST(WriteBuffer, EveryOtherWriteStartsAtAnAddressCongruentToItsOffset) {
  WriteBuffer buffer({});
  for (const std::uint64_t offset : {100ULL, 50000ULL, 4096ULL, 1000001ULL, 7ULL}) {
    const auto room = buffer.reserve(offset, 333);
    ASSERT_EQ(room.size(), 333U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(room.data()) % 4096, offset % 4096);
  }
  EXPECT_EQ(buffer.writes().size(), 5U);
}

TEST(WriteBuffer, WhatDoesNotFitIsRefusedAndChangesNothing) {
  WriteBuffer buffer({.max_operations = 32, .max_bytes = 4_KiB});
  ASSERT_TRUE(put(buffer, 0, 4_KiB, 'a'));
  constexpr std::size_t kRest = WriteBuffer::kReserveBytes - WriteBuffer::kClosingBytes;
  ASSERT_TRUE(put(buffer, 4_KiB, kRest, 'b'));
  EXPECT_TRUE(buffer.reserve(4_KiB + kRest, 1).empty());
  EXPECT_TRUE(buffer.reserve(1_MiB, 1_MiB).empty());
  EXPECT_EQ(buffer.operations(), 2U);
  EXPECT_EQ(buffer.bytes(), 4_KiB + kRest);
  EXPECT_EQ(found(buffer, 4_KiB - 1, 3), "abb");
}

TEST(WriteBuffer, ABatchCanAlwaysBeClosedByHeadersAndPadding) {
  WriteBuffer buffer({.max_operations = 32, .max_bytes = 4_KiB});
  std::uint64_t end = 0;
  while (!buffer.reserve(end, 1_KiB).empty()) end += 1_KiB;
  EXPECT_FALSE(buffer.reserve(end, WriteBuffer::kClosingBytes, 0).empty());
}

TEST(WriteBuffer, AnEmptyBufferTakesAWriteOfAnySize) {
  WriteBuffer buffer({.max_operations = 32, .max_bytes = 4_KiB});
  const std::uint64_t memory = buffer.memory_bytes();
  const auto room = buffer.reserve(12345, 3_MiB);
  ASSERT_EQ(room.size(), 3_MiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(room.data()) % 4096, 12345U % 4096);
  EXPECT_TRUE(buffer.flush_due());
  EXPECT_GE(buffer.memory_bytes(), memory + 3_MiB);
  std::memset(room.data(), 'x', room.size());
  ASSERT_TRUE(put(buffer, 12345 + 3_MiB, 10, 'y'));  // its padding still follows it
  EXPECT_EQ(buffer.writes().size(), 1U);
  EXPECT_EQ(found(buffer, 12345 + 3_MiB - 2, 4), "xxyy");
  buffer.clear();
  EXPECT_EQ(buffer.memory_bytes(), memory);
}

TEST(WriteBuffer, AdoptedMemoryCountsAsBytesAndIsRead) {
  WriteBuffer buffer({});
  AlignedBuffer memory = AlignedBuffer::allocate(8192);
  std::memset(memory.data(), 'f', 8192);
  ASSERT_TRUE(put(buffer, 0, 4096, 'a'));
  buffer.adopt(4096, std::move(memory));
  ASSERT_TRUE(put(buffer, 12288, 4096, 'b'));
  EXPECT_EQ(buffer.operations(), 2U);
  EXPECT_EQ(buffer.bytes(), 16384U);
  EXPECT_EQ(found(buffer, 4095, 2), "af");
  EXPECT_EQ(found(buffer, 12287, 2), "fb");
}

TEST(WriteBuffer, AReadFindsTheLaterOfTwoOverlappingWritesAndCountsEachByteOnce) {
  WriteBuffer buffer({});
  ASSERT_TRUE(put(buffer, 100, 10, 'a'));
  ASSERT_TRUE(put(buffer, 105, 10, 'b'));
  ASSERT_TRUE(put(buffer, 102, 2, 'c'));
  ASSERT_TRUE(put(buffer, 120, 2, 'd'));
  std::size_t covered = 0;
  EXPECT_EQ(found(buffer, 98, 26, &covered), "..aaccabbbbbbbbbb.....dd..");
  EXPECT_EQ(covered, 17U);
  EXPECT_TRUE(buffer.overlaps({121, 100}));
  EXPECT_FALSE(buffer.overlaps({122, 100}));
  EXPECT_FALSE(buffer.overlaps({115, 5}));
  EXPECT_FALSE(buffer.overlaps({0, 100}));
  EXPECT_TRUE(buffer.overlaps({0, 101}));
}

TEST(WriteBuffer, AHiddenRangeReadsAsZerosUntilItIsRevealed) {
  WriteBuffer buffer({});
  ASSERT_TRUE(put(buffer, 0, 4, 'a'));
  ASSERT_TRUE(put(buffer, 4, 4, 'b'));
  ASSERT_TRUE(put(buffer, 8, 4, 'c'));
  buffer.hide({4, 4});
  buffer.hide({9, 2});
  std::size_t covered = 0;
  EXPECT_EQ(found(buffer, 2, 11, &covered), std::string("aa\0\0\0\0c\0\0c.", 11));
  EXPECT_EQ(covered, 10U);
  EXPECT_EQ(text(buffer.view({0, 3})), "aaa");
  EXPECT_EQ(text(buffer.view({4, 2})), "") << "hidden";
  buffer.close();
  EXPECT_EQ(found(buffer, 0, 12), "aaaabbbbcccc");
}

TEST(WriteBuffer, WhatIsPreparedIsThereOnlyWhenItHasBeenCommitted) {
  WriteBuffer buffer({});
  const auto first = buffer.prepare(100, 4);
  ASSERT_EQ(first.size(), 4U);
  EXPECT_TRUE(buffer.empty());
  std::memset(first.data(), 'x', 4);
  const auto again = buffer.prepare(100, 6);  // what was never committed was never taken
  std::memset(again.data(), 'a', 6);
  EXPECT_FALSE(buffer.commit_behind()) << "nothing lies before it";
  buffer.commit();
  EXPECT_EQ(found(buffer, 98, 10), "..aaaaaa..");

  EXPECT_TRUE(buffer.prepare_behind(107, 2).empty()) << "a byte lies between";
  const auto behind = buffer.prepare_behind(106, 3);
  ASSERT_EQ(behind.data(), again.data() + 6) << "it follows in memory too";
  std::memset(behind.data(), 'b', 3);
  EXPECT_EQ(found(buffer, 98, 12), "..aaaaaa....");
  EXPECT_EQ(buffer.bounds(), (Extent{100, 6}));
  EXPECT_FALSE(buffer.overlaps({106, 10}));
  ASSERT_TRUE(buffer.commit_behind());
  EXPECT_EQ(found(buffer, 98, 12), "..aaaaaabbb.");
  EXPECT_EQ(text(buffer.view({104, 100})), "aabbb");
  EXPECT_EQ(buffer.bounds(), (Extent{100, 9}));
  EXPECT_TRUE(buffer.overlaps({108, 10}));
  EXPECT_EQ(buffer.operations(), 2U);
  EXPECT_EQ(buffer.bytes(), 9U);

  // The next write of either kind goes on behind it.
  ASSERT_TRUE(put(buffer, 109, 2, 'c'));
  ASSERT_FALSE(buffer.prepare_behind(111, 2).empty());
  std::memset(buffer.prepare_behind(111, 2).data(), 'd', 2);
  ASSERT_TRUE(buffer.commit_behind());
  buffer.close();
  ASSERT_EQ(buffer.writes().size(), 1U);
  EXPECT_EQ(text(buffer.writes()[0].bytes), "aaaaaabbbccdd");
  buffer.clear();
  EXPECT_EQ(buffer.bounds().size, 0U);
}

TEST(WriteBuffer, AViewIsOfTheNewestWriteOrEmpty) {
  WriteBuffer buffer({});
  ASSERT_TRUE(put(buffer, 100, 10, 'a'));
  ASSERT_TRUE(put(buffer, 104, 2, 'b'));
  ASSERT_TRUE(put(buffer, 200, 2, 'c'));
  EXPECT_EQ(text(buffer.view({104, 2})), "bb");
  EXPECT_EQ(text(buffer.view({105, 3})), "b") << "up to where that write ends";
  EXPECT_EQ(text(buffer.view({106, 10})), "aaaa");
  EXPECT_EQ(text(buffer.view({100, 4})), "aaaa");
  EXPECT_EQ(text(buffer.view({100, 5})), "") << "the newest lies in the middle";
  EXPECT_EQ(text(buffer.view({98, 4})), "") << "the start is not there";
  EXPECT_EQ(text(buffer.view({150, 4})), "");
  EXPECT_EQ(text(buffer.view({199, 4})), "");
}

TEST(WriteBuffer, PaddingIsZeroAlsoInMemoryThatWasUsedBefore) {
  WriteBuffer buffer({.max_operations = 32, .max_bytes = 64_KiB});
  for (int round = 0; round < 3; ++round) {
    for (const std::uint64_t offset : {5000ULL, 100ULL, 40000ULL}) {
      const auto room = buffer.reserve(offset + 77 * static_cast<std::uint64_t>(round), 20000, 0);
      ASSERT_EQ(room.size(), 20000U);
      ASSERT_TRUE(all_zero(room)) << "round " << round;
      std::memset(room.data(), 0xFF, room.size());
    }
    buffer.clear();
    EXPECT_TRUE(buffer.empty());
    EXPECT_EQ(buffer.operations(), 0U);
    EXPECT_EQ(buffer.bytes(), 0U);
    EXPECT_EQ(found(buffer, 5000, 2), "..");
    EXPECT_FALSE(buffer.overlaps({0, 1_MiB}));
  }
}

TEST(WriteBuffer, ReadsAgreeWithAPlainArrayForRandomWrites) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint64_t n) { return std::uint64_t{random()} % n; };
    WriteBuffer buffer({.max_operations = 0xFFFFFFFF, .max_bytes = 1_MiB});
    std::string model(5000, '.');
    for (int i = 0; i < 400; ++i) {
      const std::uint64_t size = 1 + below(200);
      const std::uint64_t offset = below(5000 - size);
      const char fill = static_cast<char>('a' + below(26));
      if (put(buffer, offset, size, fill)) {
        model.replace(offset, size, size, fill);
      } else {
        buffer.clear();
        model.assign(5000, '.');
      }
      const std::uint64_t length = 1 + below(600);
      const std::uint64_t at = below(5000 - length);
      const std::string expected = model.substr(at, length);
      std::size_t covered = 0;
      ASSERT_EQ(found(buffer, at, length, &covered), expected);
      const auto dots = std::count(expected.begin(), expected.end(), '.');
      ASSERT_EQ(covered, length - static_cast<std::size_t>(dots));
      ASSERT_EQ(buffer.overlaps({at, length}), covered != 0);
    }
  }
}

}  // namespace
}  // namespace rawcache
