// BatchIO: a BatchIOManager on a disk of dots that records the order of I/O (test_disk.h).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch/batch_io_manager.h"
#include "batch/test_disk.h"

namespace rawcache {

using testing::TestDisk;
using Event = TestDisk::Event;
using Events = std::vector<Event>;

constexpr std::size_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return n << 20; }

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// A disk of dots with a manager on it.
class BatchIO : public ::testing::Test {
 protected:
  explicit BatchIO(std::uint32_t alignment = 512) : disk(16_MiB, alignment) {
    disk.fill(std::vector<std::byte>(16_MiB, std::byte{'.'}));
    make({});
  }

  void make(const BatchLimits& limits, std::size_t arena_bytes = 16_MiB,
            std::uint64_t gap = 64_KiB) {
    arena = IoArena::create(arena_bytes);
    auto made = BatchIOManager::create(disk, limits, arena, gap);
    ASSERT_TRUE(made);
    io = std::move(*made);
  }

  static std::string text(const ReadAnswer& answer) {
    if (!answer.bytes) return "error " + std::string(errc_name(answer.bytes.error().code()));
    return {reinterpret_cast<const char*>(answer.bytes->data()), answer.bytes->size()};
  }
  std::string read(std::uint64_t offset, std::uint64_t size) {
    return text(io->read(Extent{offset, size}));
  }
  std::vector<std::string> read_all(const std::vector<Extent>& extents) {
    std::vector<std::string> texts;
    for (const ReadAnswer& answer : io->read(extents)) texts.push_back(text(answer));
    return texts;
  }
  /// What survives a power cut now.
  std::string durable(std::uint64_t offset, std::uint64_t size) {
    const std::vector<std::byte> bytes = disk.durable();
    return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
  }
  bool write(std::uint64_t offset, std::string_view bytes) {
    return io->write(offset, bytes_of(bytes)).has_value();
  }
  std::string io_kinds() { return TestDisk::kinds(disk.take_events()); }

  TestDisk disk;
  std::shared_ptr<IoArena> arena;
  std::unique_ptr<BatchIOManager> io;
};

class BatchIOOfEightBytes : public BatchIO {
 protected:
  BatchIOOfEightBytes() : BatchIO(8) {}
};

}  // namespace rawcache
