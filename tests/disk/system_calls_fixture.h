// SystemCalls: a disk of the posix engine and what has been written to it, with scripts for what
// the kernel answers (system_calls.h).
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <memory>

#include "base/aligned_buffer.h"
#include "disk/scratch.h"
#include "disk/system_calls.h"
#include "rawcache/disk.h"

namespace rawcache::testing {

class SystemCalls : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 65536;

  void SetUp() override {
    auto opened =
        open_disk(directory_ / "disk", {.engine = IoEngine::posix, .create_bytes = 16 * kBytes});
    ASSERT_TRUE(opened) << opened.error().message();
    disk_ = std::move(*opened);
    for (std::size_t i = 0; i < kBytes; ++i) written_.data()[i] = static_cast<std::byte>(i * 7 / 3);
  }
  void TearDown() override { reset_scripts(); }
  bool is_read_back(std::uint64_t offset) {
    return disk_->read(offset, read_.bytes()) &&
           std::memcmp(read_.data(), written_.data(), kBytes) == 0;
  }

  ScratchDirectory directory_;
  std::unique_ptr<Disk> disk_;
  AlignedBuffer written_ = AlignedBuffer::allocate(kBytes);
  AlignedBuffer read_ = AlignedBuffer::allocate(kBytes);
};

}  // namespace rawcache::testing
