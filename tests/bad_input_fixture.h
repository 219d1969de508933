// BadInput: small caches in a scratch directory, and what an error must say.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "disk/scratch.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::testing {

inline constexpr std::uint64_t kCapacity = 2_MiB;
inline constexpr std::uint64_t kSuperblocks[] = {0, 65536};

inline bool is_root() { return ::geteuid() == 0; }

inline FormatOptions small_format() {
  return {.capacity = kCapacity, .segment_bytes = 65536, .expected_entries = 256};
}

inline Options small_options() {
  Options options;
  options.format = small_format();
  options.read_buffer_bytes = 1_MiB;
  options.max_buffer_bytes = 64_KiB;
  return options;
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_at(const std::string& path, std::uint64_t offset, std::string_view bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.flush());
}

/// "" or what is wrong with the error of a result.
template <typename T>
std::string complaint(const Result<T>& result, Errc code,
                      const std::vector<std::string>& message_holds) {
  if (result) return "it succeeded";
  const Error& error = result.error();
  if (error.code() != code) {
    return "it is " + std::string(errc_name(error.code())) + ": " + error.message();
  }
  for (const std::string& piece : message_holds) {
    if (error.message().find(piece) == std::string::npos) {
      return "no \"" + piece + "\" in: " + error.message();
    }
  }
  return {};
}

class BadInput : public ::testing::Test {
 protected:
  /// A cache with one entry, closed.
  std::string cache_file(const std::string& name = "cache") {
    std::string path = directory_ / name;
    const auto made = RawDiskCache::format(path, small_format());
    EXPECT_TRUE(made) << made.error().message();
    if (made) id_ = made->id;
    Options options = small_options();
    options.format = {};
    auto cache = RawDiskCache::open(path, options);
    EXPECT_TRUE(cache) << cache.error().message();
    if (cache) {
      EXPECT_TRUE(cache->store("key", "value"));
      EXPECT_TRUE(cache->close());
    }
    return path;
  }
  std::string file_of(const std::string& name, const std::string& bytes) {
    std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  /// Opening fails so, and leaves the file as it is.
  void expect_open_fails(const std::string& path, Errc code, const std::vector<std::string>& holds,
                         Options options = small_options()) {
    const std::string before = bytes_of(path);
    EXPECT_EQ(complaint(RawDiskCache::open(path, options), code, holds), "");
    EXPECT_TRUE(bytes_of(path) == before) << "the file has changed";
  }
  /// The cache at the path still has what cache_file put there.
  static void expect_whole(const std::string& path) {
    Options options = small_options();
    options.format = {};
    auto cache = RawDiskCache::open(path, options);
    ASSERT_TRUE(cache) << cache.error().message();
    auto value = cache->lookup("key");
    ASSERT_TRUE(value) << value.error().message();
    EXPECT_EQ(value->view(), "value");
  }

  ScratchDirectory directory_;
  std::string id_;
};

}  // namespace rawcache::testing
