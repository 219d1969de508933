// A checkpoint promises that what it points to is there and is the newest, whenever the power goes:
// its chunks are durable before its header, its entries before both, stores that fail meanwhile are
// not in it, and a segment that it points into is not reused before a newer one is durable.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/math.h"
#include "cache/checkpoint_io.h"
#include "format/entry.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;

class CheckpointTest : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  /// The areas of the checkpoints that hold sectors which a power cut may lose.
  std::size_t open_areas() {
    const std::vector<OpenSector> open = device->medium().open_sectors();
    return static_cast<std::size_t>(std::ranges::count_if(areas_, [&](const Extent& area) {
      return std::ranges::any_of(open, [&](const OpenSector& sector) {
        return sector.offset >= area.offset && sector.offset < area.end();
      });
    }));
  }
  void find_areas() {
    const Superblock s = superblock();
    for (int i = 0; i < 2; ++i) areas_[i] = {s.checkpoint_offset[i], s.checkpoint_bytes};
  }
  bool is_header(const FaultyDisk::Event& event) const {
    return event.op == Op::write && std::ranges::any_of(areas_, [&](const Extent& area) {
             return area.offset == event.offset;
           });
  }
  bool is_chunk(const FaultyDisk::Event& event) const {
    return event.op == Op::write && std::ranges::any_of(areas_, [&](const Extent& area) {
             return area.offset < event.offset && event.offset < area.end();
           });
  }
  /// Stores until a checkpoint has been taken because it was due.
  void store_until_checkpoint() {
    const std::uint64_t before = cache->stats().checkpoints;
    for (std::uint64_t i = 0; cache->stats().checkpoints == before; ++i) {
      ASSERT_LT(i, 10'000u);
      ASSERT_TRUE(cache->store_buffered("filler", value_of("filler", i, 2000)));
    }
  }

  Extent areas_[2];
};

TEST_F(CheckpointTest, ItsChunksAreDurableBeforeItsHeaderIsWritten) {
  find_areas();
  std::size_t headers = 0;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (!is_header(event)) return;
    ++headers;
    EXPECT_EQ(open_areas(), 0u);
  });
  for (int i = 0; i < 3; ++i) ASSERT_NO_FATAL_FAILURE(store_until_checkpoint());
  reopen();
  device->at_each_request({});
  EXPECT_GE(headers, 4u);
}

TEST_F(CheckpointTest, IsDurableWhenItCounts) {
  find_areas();
  for (int i = 0; i < 3; ++i) {
    ASSERT_NO_FATAL_FAILURE(store_until_checkpoint());
    EXPECT_EQ(open_areas(), 0u) << "segments that only the one before it needs may be reused now";
  }
}

/// An index so large that its checkpoint takes two chunks, and a third for hints: when the first is
/// written, the later pages have not been copied yet.
class LargeCheckpoint : public CheckpointTest {
 protected:
  static constexpr std::uint64_t kEntries = 150'000;

  void SetUp() override {
    cache.reset();
    format.segment_bytes = 256_KiB;
    format.expected_entries = kEntries;
    options.max_operations = 8192;
    make_device(16_MiB);
    open();
    find_areas();
    for (std::uint64_t i = 0; i < kEntries; ++i) ASSERT_TRUE(cache->store_buffered(key(i), ""));
    last_ = key_on_the_last_page();
    ASSERT_TRUE(cache->store(last_, "old"));
    reopen();  // nothing is due
  }
  std::string key_on_the_last_page() const {
    const Superblock s = superblock();
    for (std::uint64_t i = 0;; ++i) {
      std::string name = "last " + std::to_string(i);
      const auto high = static_cast<std::uint32_t>(hash_key(name, s.id) >> 32);
      if (scale_hash(high, s.index_pages) == s.index_pages - 1) return name;
    }
  }
  /// Closes the cache, calls these when the first and the last chunk of its checkpoint are written,
  /// cuts the power and opens the cache again. Sets behind_header_.
  void close_with(const std::function<void()>& at_first, const std::function<void()>& at_last) {
    std::size_t chunks = 0;
    std::mt19937_64 random(1);
    bool header = false;
    std::atomic<bool> slow{false};
    device->at_each_request([&](const FaultyDisk::Event& event) {
      if (header && behind_header_.empty()) {
        behind_header_ = device->medium().crash(random, CrashPolicy::keep_all);
      }
      header = header || is_header(event);
      if (is_chunk(event)) {
        slow = ++chunks == 1;  // the sync after it
        if (chunks == 1) at_first();
        if (chunks == 2) at_last();
      }
      if (event.op == Op::sync && slow.exchange(false)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
      }
    });
    close();
    EXPECT_EQ(chunks, 3u);
    device->at_each_request({});
    replace_device(device->medium().crash(random, CrashPolicy::lose_all));
    open();
  }

  std::string last_;
  std::vector<std::byte> behind_header_;  ///< what a power cut before the next request leaves
};

TEST_F(LargeCheckpoint, PointsToNothingThatAPowerCutMayLose) {
  close_with([&] { EXPECT_TRUE(cache->store_buffered(last_, "new")); }, [] {});
  EXPECT_EQ(get(last_), "new");
  ASSERT_FALSE(behind_header_.empty());
  replace_device(std::move(behind_header_));
  open();
  EXPECT_EQ(get(last_), "new");
}

TEST_F(LargeCheckpoint, IsGivenUpIfAStoreIsWithdrawnMeanwhile) {
  std::thread storing;
  const auto begin_to_store = [&] {
    storing = std::thread([&] {
      faults().fail(Op::sync, 1, EIO);
      EXPECT_EQ(outcome(cache->store(last_, "never")), "sync_failed");
    });
    // Until it is in the index. Before its sync, which takes a while, fails the page is copied.
    while (get(last_) != "never") std::this_thread::yield();
  };
  close_with(begin_to_store, [&] { storing.join(); });
  EXPECT_EQ(get(last_), "old");
}

// Told to the flush, though it is the checkpoint's chunk that is gone.
TEST_F(LargeCheckpoint, IsGivenUpIfASyncFailedWhileItWasWritten) {
  std::size_t chunks = 0;
  faults().set_on_failure([&](const FaultyDisk::Event&) { device->medium().forget_unsynced(); });
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (!is_chunk(event) || ++chunks != 2) return;
    faults().fail(Op::sync, 1, EIO);
    EXPECT_TRUE(cache->store_buffered("key", "value"));
    EXPECT_EQ(outcome(cache->flush_writes()), "sync_failed");
  });
  close();
  device->at_each_request({});
  EXPECT_GE(chunks, 2u);
  cut_power(CrashPolicy::lose_all);
  const Superblock opened = superblock();  // readers look at it
  std::optional<CheckpointReader> newest;
  for (int area = 0; area < 2; ++area) {
    auto reader = CheckpointReader::open(device->medium(), opened, area);
    const bool newer =
        reader && (!newest || newest->header().generation < reader->header().generation);
    if (newer) newest = std::move(reader);
  }
  ASSERT_TRUE(newest);
  std::vector<std::byte> stream(newest->header().stream_bytes);
  EXPECT_TRUE(newest->read(stream) && newest->complete()) << "it counts, and is not all there";
}

TEST_F(CheckpointTest, APowerCutWhileItIsWrittenLeavesTheOneBefore) {
  close();
  options.eviction = EvictionPolicyKind::fifo;
  make_device(1_MiB);
  open();
  find_areas();
  // The log has gone round, so that no checkpoint but the last can be used.
  for (int i = 0; i < 30; ++i) ASSERT_NO_FATAL_FAILURE(store_until_checkpoint());
  ASSERT_TRUE(cache->store("key", "acknowledged"));
  std::vector<std::vector<std::byte>> images;
  bool writing = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    writing = writing || is_chunk(event);
    if (!writing) return;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      std::mt19937_64 random(seed);
      images.push_back(device->medium().crash(random, CrashPolicy::any_garbage));
    }
  });
  close();
  device->at_each_request({});
  EXPECT_GE(images.size(), 4u * 8) << "chunk, sync, header, sync";
  for (std::vector<std::byte>& image : images) {
    replace_device(std::move(image));
    const auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().message();
    ASSERT_EQ(get("key"), "acknowledged");
  }
}

// A failed sync is told once: here to a checkpoint, though it is a flush's writes that are gone.
TEST_F(CheckpointTest, WhatAFlushHadUnderWayWhenItsSyncFailedIsWrittenAgain) {
  close();
  options.max_operations = 4;
  options.maintenance_thread = true;
  make_device(16_MiB);  // so large that no segment is needed meanwhile
  open();
  find_areas();
  std::atomic<bool> begun{false}, stopped{false}, stored{false};
  const auto wait_for = [](const std::atomic<bool>& flag) {
    for (int ms = 0; ms < 300 && !flag; ++ms) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  faults().set_on_failure([&](const FaultyDisk::Event&) { device->medium().forget_unsynced(); });
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (is_chunk(event) && !begun.exchange(true)) {
      wait_for(stopped);
      faults().fail(Op::sync, 1, EIO);
    } else if (event.op == Op::sync && begun) {
      wait_for(stored);
    }
  });
  const auto is_accepted = [&](std::string_view key, std::string_view value) {
    const auto accepted = cache->store_buffered(key, value);
    return accepted || accepted.error() == Errc::flush_failed;
  };
  for (std::uint64_t i = 0; !begun; ++i) {
    ASSERT_TRUE(is_accepted("filler", value_of("filler", i, 2000)));
  }
  stopped = true;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(is_accepted("late " + std::to_string(i), "stored"));
  stored = true;
  while (faults().failures() == 0) std::this_thread::yield();
  ASSERT_TRUE(cache->flush_writes());
  cut_power(CrashPolicy::lose_all);
  device->at_each_request({});
  options.maintenance_thread = false;
  open();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(get("late " + std::to_string(i)), "stored");
}

TEST_F(CheckpointTest, SlotsIntoSegmentsThatWereReusedSinceAreDropped) {
  close();
  options.eviction = EvictionPolicyKind::fifo;
  make_device(2_MiB);
  open();
  std::uint64_t stored = 0;
  for (std::uint64_t rounds = 0; rounds < 12; ++rounds) {
    const std::uint64_t end = stored + (rounds == 0 ? 1000 : 17);  // a segment holds fifteen
    for (; stored < end; ++stored) {
      ASSERT_TRUE(cache->store_buffered(key(stored), value_of(key(stored), 1, 3800)));
    }
    ASSERT_TRUE(cache->flush_writes());
    crash(CrashPolicy::lose_all);
    EXPECT_EQ(cache->stats().entries, all_keys().size());
    for (std::uint64_t i = 0; i < stored; ++i) {
      const std::string found = get(key(i));
      EXPECT_TRUE(found == "error not_found" || found == value_of(key(i), 1, 3800)) << found;
    }
    EXPECT_EQ(cache->stats().corruptions, 0u);
  }
}

/// A key is overwritten after a checkpoint, and the segment of its newer value is evicted and
/// wanted again at once, because it is not asked for and the others are (lru), and none is spare.
class SupersededCheckpoint : public CheckpointTest {
 protected:
  static constexpr std::size_t kSize = 100;  // so many entries that checkpoints are not due
  static constexpr std::uint64_t kPerSegment = 64_KiB / (kSize + 50);

  void SetUp() override {
    close();
    options.eviction = EvictionPolicyKind::lru;
    options.max_operations = 1000;
    format.expected_entries = 8192;
    make_device(768_KiB);
    ASSERT_LT(superblock().segments, 8u);
    open();
    fill(9 * kPerSegment);
    ASSERT_TRUE(cache->store("key", "of the checkpoint"));
    fill(kPerSegment);
    leave_alone(kPerSegment);
    reopen();
    ASSERT_TRUE(cache->store("key", "newer"));
    ask_for_fillers();
    leave_alone(2 * kPerSegment);
    fill(kPerSegment / 2);
    ASSERT_TRUE(cache->flush_writes());
    ASSERT_FALSE(all_keys().contains("key")) << "it was not asked for";
    checkpoints_ = cache->stats().checkpoints;
    cut_power(CrashPolicy::lose_all);
  }
  void fill(std::uint64_t count) {
    for (; count > 0; --count, ++fillers_) {
      ASSERT_TRUE(cache->store_buffered(key(fillers_), value_of("filler", 1, kSize)));
    }
  }
  void leave_alone(std::uint64_t count) {
    for (; count > 0; --count) {
      const std::string name = "left alone " + std::to_string(count);
      ASSERT_TRUE(cache->store_buffered(name, value_of("left", 1, kSize)));
    }
  }
  void ask_for_fillers() {
    for (std::uint64_t i = 0; i < fillers_; ++i) (void)cache->lookup(key(i));
  }

  std::uint64_t fillers_ = 0;
  std::uint64_t checkpoints_ = 0;
};

// Else nothing would tell recovery that what the checkpoint knows is the older value.
TEST_F(SupersededCheckpoint, ASegmentWrittenSinceIsNotReusedBeforeTheNext) {
  open();
  EXPECT_NE(get("key"), "of the checkpoint");
}

TEST_F(SupersededCheckpoint, IsNotUsedIfTheNewerIsLost) {
  ASSERT_EQ(checkpoints_, 1u) << "else it has been overwritten";
  std::uint64_t generations[2] = {};
  const Superblock s = superblock();
  for (int area = 0; area < 2; ++area) {
    const auto reader = CheckpointReader::open(device->medium(), s, area);
    ASSERT_TRUE(reader);
    generations[area] = reader->header().generation;
  }
  device->wipe({s.checkpoint_offset[generations[1] > generations[0] ? 1 : 0], s.block_bytes});
  EXPECT_EQ(outcome(try_open()), "checkpoint_lost");
}

}  // namespace
}  // namespace rawcache::testing
