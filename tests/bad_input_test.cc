// Guards: bad input gets a clear error and changes nothing. Every case through the public API: the
// Errc that belongs to it alone, a message that says what to do, and, where something was there
// before, every byte of it as it was.
#include "bad_input_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "disk/child.h"
#include "format/bytes.h"
#include "format/superblock.h"

namespace rawcache::testing {
namespace {

// --- Arguments of calls ---

TEST_F(BadInput, KeysThatAreEmptyOrTooLongAndValuesThatAreTooLargeAreToldTheLimit) {
  auto cache = RawDiskCache::open(cache_file(), small_options());
  ASSERT_TRUE(cache) << cache.error().message();
  const Stats before = cache->stats();
  const std::string long_key(kKeyBytesMax + 1, 'k');
  const std::string limit = std::to_string(kKeyBytesMax);
  EXPECT_EQ(complaint(cache->store("", "v"), Errc::key_empty, {"at least one byte"}), "");
  EXPECT_EQ(complaint(cache->lookup(""), Errc::key_empty, {"at least one byte"}), "");
  EXPECT_EQ(complaint(cache->remove(""), Errc::key_empty, {"at least one byte"}), "");
  EXPECT_EQ(complaint(cache->store(long_key, "v"), Errc::key_too_long, {limit}), "");
  EXPECT_EQ(complaint(cache->store_buffered(long_key, "v"), Errc::key_too_long, {limit}), "");
  EXPECT_EQ(complaint(cache->lookup(long_key), Errc::key_too_long, {limit}), "");
  EXPECT_EQ(complaint(cache->contains(long_key), Errc::key_too_long, {limit}), "");

  const std::uint64_t most = cache->value_bytes_max(3);
  const std::string large(most + 1, 'v');
  EXPECT_EQ(complaint(cache->store("key", large), Errc::value_too_large,
                      {std::to_string(most), "larger segments"}),
            "");
  EXPECT_EQ(
      complaint(cache->store_buffered("key", large), Errc::value_too_large, {std::to_string(most)}),
      "");
  const Stats after = cache->stats();
  EXPECT_EQ(after.entries, before.entries);
  EXPECT_EQ(after.device_writes, before.device_writes);
  EXPECT_EQ(after.pending_writes, 0U);
  EXPECT_EQ(cache->lookup("key")->view(), "value");
}

// --- Options ---

struct BadOption {
  const char* field;  ///< the message names it
  void (*spoil)(Options& options);
};

constexpr BadOption kBadOptions[] = {
    {"max_operations", [](Options& o) { o.max_operations = 0; }},
    {"max_buffer_bytes", [](Options& o) { o.max_buffer_bytes = 0; }},
    {"max_buffer_bytes", [](Options& o) { o.max_buffer_bytes = 2_GiB; }},
    {"max_buffer_bytes", [](Options& o) { o.max_buffer_bytes = ~std::uint64_t{0}; }},
    {"read_buffer_bytes", [](Options& o) { o.read_buffer_bytes = 0; }},
    {"read_buffer_bytes", [](Options& o) { o.read_buffer_bytes = ~std::uint64_t{0}; }},
    {"read_gap_bytes", [](Options& o) { o.read_gap_bytes = 65537; }},
    {"default_ttl", [](Options& o) { o.default_ttl = std::chrono::seconds(-1); }},
};

TEST_F(BadInput, AnOptionOutOfRangeIsNamedAndNothingIsMadeOrChanged) {
  const std::string path = cache_file();
  for (const BadOption& bad : kBadOptions) {
    SCOPED_TRACE(bad.field);
    Options options = small_options();
    bad.spoil(options);
    expect_open_fails(path, Errc::invalid_options, {bad.field}, options);
    options.create_if_missing = true;
    const std::string fresh = directory_ / "fresh";
    EXPECT_EQ(complaint(RawDiskCache::open(fresh, options), Errc::invalid_options, {bad.field}),
              "");
    EXPECT_NE(::access(fresh.c_str(), F_OK), 0) << "a file was made";
  }
}

struct BadFormat {
  const char* field;
  FormatOptions options;
};

const BadFormat kBadFormats[] = {
    {"capacity", {.capacity = 0}},
    {"block_bytes", {.capacity = kCapacity, .block_bytes = 0}},
    {"block_bytes", {.capacity = kCapacity, .block_bytes = 100}},
    {"block_bytes", {.capacity = kCapacity, .block_bytes = 256}},
    {"block_bytes", {.capacity = kCapacity, .block_bytes = 131072}},
    {"segment_bytes", {.capacity = kCapacity, .segment_bytes = 1}},
    {"segment_bytes", {.capacity = kCapacity, .segment_bytes = 65537}},
    {"segment_bytes", {.capacity = kCapacity, .segment_bytes = 128_MiB}},
    {"segment_bytes", {.capacity = kCapacity, .segment_bytes = ~std::uint64_t{4095}}},
    {"expected_entries", {.capacity = kCapacity, .expected_entries = ~std::uint64_t{0}}},
};

TEST_F(BadInput, AFormatOptionOutOfRangeIsNamedAndNothingIsMadeOrChanged) {
  const std::string existing = file_of("existing", std::string(kCapacity, 'x'));
  const std::string before = bytes_of(existing);
  const std::string fresh = directory_ / "fresh";
  for (const BadFormat& bad : kBadFormats) {
    SCOPED_TRACE(bad.field);
    EXPECT_EQ(
        complaint(RawDiskCache::format(fresh, bad.options), Errc::invalid_options, {bad.field}),
        "");
    Options options = small_options();
    options.create_if_missing = true;
    options.format = bad.options;
    EXPECT_EQ(complaint(RawDiskCache::open(fresh, options), Errc::invalid_options, {bad.field}),
              "");
    EXPECT_NE(::access(fresh.c_str(), F_OK), 0) << "a file was made";
    if (bad.options.capacity == 0) continue;  // all of an existing file
    EXPECT_EQ(
        complaint(RawDiskCache::format(existing, bad.options), Errc::invalid_options, {bad.field}),
        "");
    EXPECT_TRUE(bytes_of(existing) == before);
  }
  EXPECT_EQ(complaint(RawDiskCache::format(existing, {.capacity = 2 * kCapacity}),
                      Errc::invalid_options, {"capacity", std::to_string(kCapacity)}),
            "");
  EXPECT_TRUE(bytes_of(existing) == before);
}

TEST_F(BadInput, ACapacityTooSmallForTheGeometryIsToldHowMuchItNeeds) {
  const std::string fresh = directory_ / "fresh";
  for (const std::uint64_t capacity : {std::uint64_t{1}, 4_KiB, 128_KiB, 200_KiB}) {
    const FormatOptions format{
        .capacity = capacity, .segment_bytes = 65536, .expected_entries = 256};
    EXPECT_EQ(complaint(RawDiskCache::format(fresh, format), Errc::capacity_too_small,
                        {std::to_string(capacity), "more space"}),
              "");
    EXPECT_NE(::access(fresh.c_str(), F_OK), 0) << "a file was made";
  }
  const FormatOptions crowded{.capacity = kCapacity, .expected_entries = 1000000000};
  EXPECT_EQ(complaint(RawDiskCache::format(fresh, crowded), Errc::capacity_too_small,
                      {"fewer expected entries"}),
            "");
  // What the message asks for is enough.
  const auto refused = RawDiskCache::format(fresh, {.capacity = 1, .segment_bytes = 65536});
  ASSERT_FALSE(refused);
  const std::string message = refused.error().detail();
  const std::uint64_t needed = std::stoull(message.substr(message.find_last_of(' ') + 1));
  EXPECT_TRUE(RawDiskCache::format(fresh, {.capacity = needed, .segment_bytes = 65536}));
}

// --- What lies at the path ---

TEST_F(BadInput, APathThatIsNoFileOrDiskIsToldApart) {
  const std::string fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  Options options = small_options();
  options.create_if_missing = true;
  const struct {
    std::string path;
    Errc code;
    const char* remedy;
  } cases[] = {
      {directory_.path(), Errc::is_a_directory, "name a file"},
      {fifo, Errc::not_a_file_or_disk, "regular file"},
      {"/dev/null", Errc::not_a_file_or_disk, "regular file"},
  };
  for (const auto& bad : cases) {
    EXPECT_EQ(complaint(RawDiskCache::open(bad.path, options), bad.code, {bad.path, bad.remedy}),
              "");
    EXPECT_EQ(complaint(RawDiskCache::format(bad.path, small_format(), true), bad.code, {bad.path}),
              "");
    EXPECT_EQ(complaint(RawDiskCache::inspect(bad.path), bad.code, {bad.path}), "");
    EXPECT_EQ(complaint(RawDiskCache::verify(bad.path), bad.code, {bad.path}), "");
  }
  const std::string nothing = directory_ / "nothing";
  EXPECT_EQ(
      complaint(RawDiskCache::open(nothing), Errc::no_such_file, {nothing, "create_if_missing"}),
      "");
  EXPECT_EQ(complaint(RawDiskCache::open(directory_ / "no/such/place", options), Errc::no_such_file,
                      {"no/such/place"}),
            "");
}

TEST_F(BadInput, AFileThatMayNotBeWrittenIsPermissionDenied) {
  const std::string path = cache_file();
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  EXPECT_EQ(in_child([&] {
              if (!become_nobody()) return std::string("cannot become another user");
              return complaint(RawDiskCache::open(path, small_options()), Errc::permission_denied,
                               {path, "let this user"});
            }),
            "");
  expect_whole(path);
}

TEST_F(BadInput, AReadOnlyDeviceIsReadOnly) {
  const std::string path = cache_file();
  {
    const LoopDevice loop(path, "-r");
    if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
    const std::string before = bytes_of(path);
    EXPECT_EQ(complaint(RawDiskCache::open(loop.path(), small_options()), Errc::read_only,
                        {loop.path(), "writable"}),
              "");
    EXPECT_EQ(complaint(RawDiskCache::format(loop.path(), {}, true), Errc::read_only, {}), "");
    EXPECT_TRUE(RawDiskCache::inspect(loop.path())) << "reading is allowed";
    EXPECT_TRUE(bytes_of(path) == before);
  }
  expect_whole(path);
}

TEST_F(BadInput, AMountedDeviceIsRefusedEvenIfItMayBeOverwritten) {
  const std::string image = file_of("image", std::string(16_MiB, '\0'));
  const LoopDevice loop(image, "");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  if (first_line_of("mkfs.ext4 -q " + loop.path() + " && echo made") != "made") {
    GTEST_SKIP() << "no mkfs.ext4 here";
  }
  const Mount mount(loop.path(), directory_ / "mount", "ext4");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount here";
  std::ofstream(directory_ / "mount/file") << "precious";
  const std::vector<std::string> holds{loop.path(), "unmount"};
  EXPECT_EQ(complaint(RawDiskCache::open(loop.path()), Errc::mounted, holds), "");
  EXPECT_EQ(complaint(RawDiskCache::format(loop.path(), {}, true), Errc::mounted, holds), "");
  EXPECT_EQ(bytes_of(directory_ / "mount/file"), "precious");
}

TEST_F(BadInput, ACacheThatIsOpenIsAlreadyOpenHereAndInOtherProcesses) {
  const std::string path = cache_file();
  auto cache = RawDiskCache::open(path, small_options());
  ASSERT_TRUE(cache) << cache.error().message();
  const std::vector<std::string> holds{path, "only one"};
  EXPECT_EQ(complaint(RawDiskCache::open(path, small_options()), Errc::already_open, holds), "");
  EXPECT_EQ(complaint(RawDiskCache::format(path, {}, true), Errc::already_open, holds), "");
  EXPECT_EQ(in_child([&] {
              return complaint(RawDiskCache::open(path, small_options()), Errc::already_open,
                               holds);
            }),
            "");
  EXPECT_EQ(cache->lookup("key")->view(), "value");
  ASSERT_TRUE(cache->close());
  expect_whole(path);
}

TEST_F(BadInput, WhatIsNoCacheIsNeverFormattedByOpen) {
  std::string noise(kCapacity, '\0');
  std::uint64_t state = 1;
  for (char& c : noise) {
    state = state * 6364136223846793005 + 1442695040888963407;
    c = static_cast<char>(state >> 56);
  }
  Options options = small_options();
  options.create_if_missing = true;
  const std::vector<std::string> holds{"format it first"};
  expect_open_fails(file_of("zeros", std::string(kCapacity, '\0')), Errc::not_a_cache, holds,
                    options);
  expect_open_fails(file_of("noise", noise), Errc::not_a_cache, holds, options);
  expect_open_fails(file_of("empty", ""), Errc::not_a_cache, holds, options);
  expect_open_fails(file_of("short", "hello"), Errc::not_a_cache, holds, options);
}

TEST_F(BadInput, AFileSystemIsNeitherOpenedNorFormattedUnlessThatIsWanted) {
  const std::string ext4 = file_of("ext4", std::string(16_MiB, '\0'));
  if (first_line_of("mkfs.ext4 -q -F " + ext4 + " && echo made") != "made") {
    GTEST_SKIP() << "no mkfs.ext4 here";
  }
  expect_open_fails(ext4, Errc::not_a_cache, {"format"});
  const std::string before = bytes_of(ext4);
  EXPECT_EQ(
      complaint(RawDiskCache::format(ext4, {}), Errc::already_exists, {ext4, "ext", "overwrite"}),
      "");
  EXPECT_TRUE(bytes_of(ext4) == before);
  EXPECT_TRUE(RawDiskCache::format(ext4, {}, true));
}

TEST_F(BadInput, FormatAsksBeforeItOverwritesAPartitionTableOrACache) {
  const std::string gpt = file_of("gpt", std::string(kCapacity, '\0'));
  write_at(gpt, 512, "EFI PART");
  const std::string before = bytes_of(gpt);
  EXPECT_EQ(complaint(RawDiskCache::format(gpt, {}), Errc::already_exists, {gpt, "GPT"}), "");
  EXPECT_TRUE(bytes_of(gpt) == before);

  const std::string path = cache_file();
  EXPECT_EQ(complaint(RawDiskCache::format(path, {}), Errc::already_exists, {path, "rawcache"}),
            "");
  expect_whole(path);
  // Also if only the second superblock is left.
  write_at(path, 0, std::string(4096, '\0'));
  EXPECT_EQ(complaint(RawDiskCache::format(path, {}), Errc::already_exists, {"rawcache"}), "");
  expect_whole(path);
  EXPECT_TRUE(RawDiskCache::format(path, {}, true));
}

// --- Another cache than expected ---

TEST_F(BadInput, AnotherFormatVersionIsToldApartFromDamage) {
  const std::string path = cache_file();
  for (const std::uint64_t superblock : kSuperblocks) {
    std::string bytes = bytes_of(path).substr(superblock, sizeof(Superblock));
    auto other = load<Superblock>(std::as_bytes(std::span(bytes)));
    other.version = 99;
    other.checksum =
        checksum_of(other, place_seed({.id = other.id, .offset = superblock, .generation = 0}));
    save(std::as_writable_bytes(std::span(bytes)), other);
    write_at(path, superblock, bytes);
  }
  expect_open_fails(path, Errc::unsupported_version, {path, "version"});
  const std::string damaged = cache_file("damaged");
  for (const std::uint64_t superblock : kSuperblocks) write_at(damaged, superblock + 100, "rot");
  expect_open_fails(damaged, Errc::superblock_damaged, {damaged, "format anew"});
}

TEST_F(BadInput, ADeviceThatShrankIsToldBothSizes) {
  const std::string path = cache_file();
  ASSERT_EQ(::truncate(path.c_str(), kCapacity - 65536), 0);
  expect_open_fails(path, Errc::device_shrunk,
                    {std::to_string(kCapacity), std::to_string(kCapacity - 65536), "restore"});
}

TEST_F(BadInput, ADeviceThatGrewIsRefusedUntilThatIsAccepted) {
  const std::string path = cache_file();
  ASSERT_EQ(::truncate(path.c_str(), 2 * kCapacity), 0);
  expect_open_fails(path, Errc::device_grown,
                    {std::to_string(kCapacity), std::to_string(2 * kCapacity), "accept_grown"});
  Options options = small_options();
  options.accept_grown = true;
  auto cache = RawDiskCache::open(path, options);
  ASSERT_TRUE(cache) << cache.error().message();
  EXPECT_EQ(cache->lookup("key")->view(), "value");
}

TEST_F(BadInput, AnotherCachesDeviceIsRefusedIfAnIdIsExpected) {
  const std::string first = cache_file("first");
  const std::string first_id = id_;
  const std::string second = cache_file("second");
  Options options = small_options();
  options.expected_id = first_id;
  expect_open_fails(second, Errc::wrong_device, {first_id, id_, "expected_id"}, options);
  EXPECT_TRUE(RawDiskCache::open(first, options));
}

TEST_F(BadInput, AnotherGeometryThanTheCacheHasIsNamed) {
  const std::string path = cache_file();
  Options options = small_options();
  options.format.segment_bytes = 131072;
  expect_open_fails(path, Errc::geometry_mismatch, {"segment_bytes", "65536", "131072"}, options);
  options = small_options();
  options.format.block_bytes = 8192;
  expect_open_fails(path, Errc::geometry_mismatch, {"block_bytes", "4096", "8192"}, options);
  options = small_options();
  options.format.capacity = 4 * kCapacity;
  expect_open_fails(path, Errc::geometry_mismatch, {"capacity", std::to_string(4 * kCapacity)},
                    options);
}

}  // namespace
}  // namespace rawcache::testing
