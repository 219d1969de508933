// C7 and C9: rot is a miss and never an older value, and whatever stands on a device is told apart
// or refused, without being changed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "format/bytes.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class Rot : public SmallCacheTest {
 protected:
  const std::string old_value = "old value: " + value_of("x", 1, 200);
  const std::string new_value = "new value: " + value_of("x", 2, 200);
  void fill_segments(int segments) {
    const std::string filler = value_of("filler", 1, 4000);
    for (int i = 0; i < 15 * segments; ++i) {
      ASSERT_TRUE(cache->store_buffered("filler " + std::to_string(i), filler));
    }
    ASSERT_TRUE(cache->flush_writes());
  }
};

TEST_F(Rot, OfTheNewestEntryIsAMissWhileTheCacheIsOpen) {
  ASSERT_TRUE(cache->store("key", old_value));
  ASSERT_TRUE(cache->store("key", new_value));
  EXPECT_EQ(device->rot(new_value), 1);
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get_all({"key", "key"}),
            (std::vector<std::string>{"error not_found", "error not_found"}));
  EXPECT_FALSE(cache->contains("key").value_or(true));
  EXPECT_TRUE(all_keys().empty());
  EXPECT_EQ(cache->stats().corruptions, 1u);
  reopen();
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->store("key", "third"));
  EXPECT_EQ(get("key"), "third");
}

TEST_F(Rot, AfterAnOrderlyCloseIsAMissAndNeverTheOlderValue) {
  ASSERT_TRUE(cache->store("key", old_value));
  ASSERT_TRUE(cache->store("key", new_value));
  ASSERT_TRUE(cache->store("other", "whole"));
  close();
  EXPECT_EQ(device->rot(new_value), 1);
  for (int i = 0; i < 3; ++i) {
    open();
    EXPECT_EQ(get("key"), "error not_found") << i;
    EXPECT_EQ(get("other"), "whole");
    i == 1 ? cut_power(CrashPolicy::lose_all) : close();
  }
}

TEST_F(Rot, OfAnEntryNamedByACheckpointIsAMissAfterACrash) {
  ASSERT_TRUE(cache->store("key", old_value));
  ASSERT_TRUE(cache->store("key", new_value));
  reopen();  // the checkpoint is durable
  ASSERT_TRUE(cache->store("other", "later"));
  cut_power(CrashPolicy::lose_all);
  EXPECT_EQ(device->rot(new_value), 1);
  open();
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get("other"), "later");
}

TEST_F(Rot, OfAnEntryNamedByAFooterIsAMissAfterACrash) {
  ASSERT_TRUE(cache->store("key", old_value));
  ASSERT_TRUE(cache->store("key", new_value));
  fill_segments(1);
  ASSERT_TRUE(cache->store("other", "in the next segment"));
  cut_power(CrashPolicy::lose_all);
  EXPECT_EQ(device->rot(new_value), 1);
  open();
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get("other"), "in the next segment");
}

TEST_F(Rot, OfARemoveRecordDoesNotBringTheValueBackAfterACheckpoint) {
  ASSERT_TRUE(cache->store("the key that was removed", old_value));
  ASSERT_TRUE(cache->remove("the key that was removed"));
  close();
  EXPECT_GE(device->rot("the key that was removed"), 2);
  // Only the remove is to rot: the value becomes whole again.
  EXPECT_GE(device->rot("4he key that was removed" + old_value), 1);
  open();
  EXPECT_EQ(get("the key that was removed"), "error not_found");
}

// The log must not go on in its place: two batches that verify there would be told apart by
// nothing.
TEST_F(Rot, ABatchThatWentAstrayBeforeACloseNeverPassesForWhatIsStoredLater) {
  const Superblock geometry = superblock();
  const std::uint64_t log_bytes = std::uint64_t{geometry.segments} * geometry.segment_bytes;
  const Extent log{geometry.segments_offset, log_bytes};
  const std::uint64_t elsewhere = log.end() - 8192;
  ASSERT_TRUE(cache->store("other", "whole"));
  device->medium().misdirect_write(1, elsewhere, log);
  ASSERT_TRUE(cache->store("key", old_value));
  reopen();
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->store("key", new_value));
  device->medium().misdirect_read(1, elsewhere, log);
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get("other"), "whole");
  ASSERT_TRUE(cache->store("key", new_value));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), new_value);
  EXPECT_EQ(get("other"), "whole");
}

TEST_F(Rot, OfANeighbourCostsNothing) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(
        cache->store_buffered("k" + std::to_string(i), value_of("k", std::uint64_t(i), 150)));
  }
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(device->rot(value_of("k", 7, 150)), 1);
  for (const bool reopened : {false, true}) {
    if (reopened) reopen();
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(get("k" + std::to_string(i)),
                i == 7 ? "error not_found" : value_of("k", std::uint64_t(i), 150));
    }
  }
}

// Bits flip all over the log, or all over the device. With whole checkpoints what is found is the
// newest version; where checkpoints are damaged too it is at least one that was stored.
TEST_F(Rot, AnywhereIsNeverAWrongValue) {
  const auto size_of = [](std::uint64_t version) { return 20 + version * 37 % 2500; };
  for (std::uint64_t i = 0; i < 150; ++i) {
    const std::string name = "k" + std::to_string(i % 100);
    ASSERT_TRUE(cache->store_buffered(name, value_of(name, i, size_of(i))));
  }
  close();
  const std::vector<std::byte> image = device->medium().content();
  const std::uint64_t log = superblock().segments_offset;
  std::mt19937_64 random(31);
  for (int round = 0; round < 80; ++round) {
    const bool log_only = round % 2 == 0;
    const std::uint64_t first = log_only ? log : 0;
    std::vector<std::byte> damaged = image;
    for (int flips = 0; flips < 1 + round * 3; ++flips) {
      std::size_t at = 0;
      for (int tries = 0; tries < 20 && damaged[at] == std::byte{0}; ++tries) {
        at = first + random() % (damaged.size() - first);  // mostly where something is written
      }
      damaged[std::max(at, first)] ^= static_cast<std::byte>(1u << random() % 8);
    }
    replace_device(std::move(damaged));
    options.rebuild_if_checkpoint_lost = round % 4 == 1;
    const auto opened = try_open();
    if (!opened) {
      ASSERT_FALSE(log_only) << opened.error().message();
      continue;
    }
    for (std::uint64_t i = 0; i < 100; ++i) {
      const std::string name = "k" + std::to_string(i);
      const std::uint64_t version = i < 50 ? i + 100 : i;
      const std::string found = get(name);
      const bool newest = found == value_of(name, version, size_of(version));
      const bool older = found == value_of(name, i, size_of(i));
      ASSERT_TRUE(newest || found == "error not_found" || (older && !log_only))
          << "round " << round << ": " << found.substr(0, 30);
    }
  }
}

TEST_F(Rot, VerifyListsWhatIsDamagedAndChangesNothing) {
  ASSERT_TRUE(cache->store("damaged key", new_value));
  ASSERT_TRUE(cache->store("whole", "fine"));
  close();
  const auto healthy = RawDiskCache::verify(device->medium());
  ASSERT_TRUE(healthy);
  EXPECT_EQ(healthy->damage_count, 0u);
  EXPECT_EQ(healthy->entries, 2u);
  EXPECT_EQ(device->rot(new_value), 1);
  const std::vector<std::byte> image = device->medium().content();
  const auto report = RawDiskCache::verify(device->medium());
  ASSERT_TRUE(report);
  EXPECT_GE(report->damage_count, 1u);
  EXPECT_EQ(report->entries, 1u);
  bool named = false;
  for (const Damage& damage : report->damage) named = named || damage.key == "damaged key";
  EXPECT_TRUE(named);
  EXPECT_EQ(device->medium().content(), image);
}

class Superblocks : public Rot {
 protected:
  Superblocks() {
    EXPECT_TRUE(cache->store("key", "value"));
    close();
  }
  /// Opens, expects this error and that nothing was written.
  void expect_refused(Errc code) {
    const std::vector<std::byte> image = device->medium().content();
    const auto opened = try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), code) << opened.error().message();
    EXPECT_EQ(device->medium().content(), image);
  }
  void damage(int copy) { device->wipe({kSuperblockOffsets[copy] + 128, 0x200}, std::byte{0x77}); }
  /// Changes fields of both copies and puts the checksums right.
  template <typename Change>
  void forge(Change change) {
    for (int copy = 0; copy < 2; ++copy) {
      std::vector<std::byte> block(4096);
      ASSERT_TRUE(device->medium().read(kSuperblockOffsets[copy], block));
      auto s = decode_superblock(block, copy);
      ASSERT_TRUE(s);
      change(*s);
      encode_superblock(block, *s, copy);
      ASSERT_TRUE(device->medium().write(kSuperblockOffsets[copy], block));
    }
    ASSERT_TRUE(device->medium().sync());
  }
};

TEST_F(Superblocks, OneDamagedCopyIsEnough) {
  for (int copy = 0; copy < 2; ++copy) {
    const std::vector<std::byte> image = device->medium().content();
    device->wipe({kSuperblockOffsets[copy], 512}, std::byte{0x77});
    open();
    EXPECT_EQ(get("key"), "value") << copy;
    close();
    replace_device(image);
  }
}

TEST_F(Superblocks, BothDamagedOrZeroedOrForeignAreToldApart) {
  const std::vector<std::byte> image = device->medium().content();
  for (int copy = 0; copy < 2; ++copy) {
    std::vector<std::byte> sector(512);
    ASSERT_TRUE(device->medium().read(kSuperblockOffsets[copy], sector));
    sector[300] ^= std::byte{1};
    ASSERT_TRUE(device->medium().write(kSuperblockOffsets[copy], sector));
  }
  expect_refused(Errc::superblock_damaged);
  for (const std::byte filler : {std::byte{0}, std::byte{0xE5}}) {
    replace_device(image);
    device->wipe({kSuperblockOffsets[0], 4096}, filler);
    device->wipe({kSuperblockOffsets[1], 4096}, filler);
    expect_refused(Errc::not_a_cache);
  }
  replace_device(std::vector<std::byte>(1_MiB));
  expect_refused(Errc::not_a_cache);
  replace_device(std::vector<std::byte>(512));
  expect_refused(Errc::not_a_cache);
}

TEST_F(Superblocks, ANewerVersionIsRefused) {
  for (int copy = 0; copy < 2; ++copy) {
    std::vector<std::byte> sector(512);
    ASSERT_TRUE(device->medium().read(kSuperblockOffsets[copy], sector));
    auto newer = load<Superblock>(sector);
    newer.version = kFormatVersion + 1;
    const Place place{.id = newer.id, .offset = kSuperblockOffsets[copy], .generation = 0};
    newer.checksum = checksum_of(newer, place_seed(place));
    save(sector, newer);
    ASSERT_TRUE(device->medium().write(kSuperblockOffsets[copy], sector));
  }
  ASSERT_TRUE(device->medium().sync());
  expect_refused(Errc::unsupported_version);
}

TEST_F(Superblocks, AnotherSizeOrIdOrGeometryIsRefused) {
  const std::vector<std::byte> image = device->medium().content();
  std::vector<std::byte> grown = image;
  grown.resize(image.size() + 64_KiB);
  replace_device(grown);
  expect_refused(Errc::device_grown);
  options.accept_grown = true;
  open();
  EXPECT_EQ(get("key"), "value");
  options.accept_grown = false;
  replace_device({image.begin(), image.end() - 4096});
  expect_refused(Errc::device_shrunk);
  replace_device(image);
  options.expected_id = std::string(32, '0');
  expect_refused(Errc::wrong_device);
  options.expected_id = RawDiskCache::inspect(device->medium())->id;
  open();
  close();
  options.format.segment_bytes = 128_KiB;
  expect_refused(Errc::geometry_mismatch);
}

TEST_F(Superblocks, EntriesOfAnotherCacheNeverVerify) {
  // Everything but the identity is the same: a device that was formatted anew.
  forge([](Superblock& s) { s.id.lo ^= 1; });
  expect_refused(Errc::checkpoint_lost);
  options.rebuild_if_checkpoint_lost = true;
  open();
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(cache->stats().entries, 0u);
}

TEST_F(Superblocks, FormatIsTheOnlyCallThatFormats) {
  const std::string before = RawDiskCache::inspect(device->medium())->id;
  ASSERT_TRUE(RawDiskCache::format(device->medium(), format));
  EXPECT_NE(RawDiskCache::inspect(device->medium())->id, before);
  open();
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_TRUE(all_keys().empty());
}

}  // namespace
}  // namespace rawcache::testing
