// Recovery: newest valid checkpoint and replay. Recovering twice gives what recovering once gives,
// sealed segments are replayed from their footers without reading payload, and torn or rotten
// checkpoints, footers and first blocks cost no more than themselves.
#include "cache/recovery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "base/math.h"
#include "batch/batch_io_manager.h"
#include "cache/checkpoint_io.h"
#include "cache/segment_scan.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class RecoveryTest : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }

  /// Stores and removes at random, as a model keeps it.
  void churn(std::uint64_t steps, std::uint64_t seed, std::uint64_t keys = 150) {
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < steps; ++i) {
      const std::string name = key(random() % keys);
      if (random() % 6 == 0) {
        ASSERT_TRUE(cache->remove_buffered(name));
        model.erase(name);
      } else {
        model[name] = value_of(name, seed * 100'000 + i, random() % 1500);
        ASSERT_TRUE(cache->store_buffered(name, model[name]));
      }
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  /// Every value found is the newest; without evictions all are found.
  void expect_model(bool all) {
    for (const auto& [name, value] : model) {
      const std::string found = get(name);
      if (!all && found == "error not_found") continue;
      ASSERT_EQ(found, value) << name;
    }
    for (const std::string& name : all_keys()) {
      ASSERT_TRUE(model.contains(name)) << name << " was removed";
    }
  }
  /// What recovery makes of the present medium: the index, page by page, sorted.
  std::vector<std::vector<std::uint64_t>> recovered_index(RecoveryCounts* counts = nullptr) {
    const Superblock s = superblock();
    auto index = Index::create(s, false);
    const auto recovered = recover(device->medium(), s, **index, false);
    EXPECT_TRUE(recovered) << recovered.error().message();
    if (recovered && counts != nullptr) *counts = recovered->counts;
    std::vector<std::vector<std::uint64_t>> pages((*index)->pages());
    for (std::uint32_t page = 0; page < (*index)->pages(); ++page) {
      (*index)->copy_page(page, pages[page]);
      std::ranges::sort(pages[page]);
    }
    return pages;
  }
  std::vector<std::byte> durable_image() { return device->medium().durable_content(); }
  /// The area of the checkpoint with the higher generation.
  int newer_area() {
    const Superblock s = superblock();
    std::uint64_t generations[2] = {};
    for (int area = 0; area < 2; ++area) {
      if (const auto reader = CheckpointReader::open(device->medium(), s, area)) {
        generations[area] = reader->header().generation;
      }
    }
    return generations[1] > generations[0] ? 1 : 0;
  }
  void wipe_checkpoint(int area) {
    const Superblock s = superblock();
    device->wipe({s.checkpoint_offset[area], s.block_bytes});
  }
  /// The segments that hold a valid footer, the one filled last at the end.
  std::vector<std::uint32_t> sealed_segments() {
    const Superblock s = superblock();
    std::vector<std::pair<std::uint64_t, std::uint32_t>> found;
    for (std::uint32_t segment = 0; segment < s.segments; ++segment) {
      if (const auto trailer = read_footer_trailer(device->medium(), s, segment)) {
        found.emplace_back(trailer->last_batch, segment);
      }
    }
    std::ranges::sort(found);
    std::vector<std::uint32_t> segments;
    for (const auto& [batch, segment] : found) segments.push_back(segment);
    return segments;
  }

  std::map<std::string, std::string> model;
};

TEST_F(RecoveryTest, RecoveringTwiceGivesTheSameIndex) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    churn(400, seed);
    cut_power(CrashPolicy::keep_all, seed);
    const auto once = recovered_index();
    EXPECT_EQ(once, recovered_index()) << "recover only reads";
    open();  // recovers, and writes a checkpoint
    expect_model(false);
    cut_power(CrashPolicy::lose_all, seed);
    EXPECT_EQ(once, recovered_index()) << "after the checkpoint of the recovery";
    open();
    close();
    EXPECT_EQ(once, recovered_index()) << "after an orderly close";
    open();
  }
}

TEST_F(RecoveryTest, ATornBatchIsJudgedTheSameEachTimeItIsOpened) {
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "old"));
  ASSERT_TRUE(cache->flush_writes());
  const std::vector<std::byte> before = durable_image();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "new"));
  ASSERT_TRUE(cache->flush_writes());
  // The last sector of the batch never reached the medium.
  std::vector<std::byte> image = durable_image();
  const auto last = std::mismatch(image.rbegin(), image.rend(), before.rbegin());
  const std::uint64_t end = static_cast<std::uint64_t>(image.rend() - last.first);
  const std::uint64_t sector = (end - 1) / 512 * 512;
  std::copy_n(before.begin() + std::ptrdiff_t(sector), 512, image.begin() + std::ptrdiff_t(sector));
  replace_device(std::move(image));
  const auto expect_old = [&](const char* when) {
    for (int i = 0; i < 30; ++i) ASSERT_EQ(get(key(i)), "old") << when << i;
  };
  open();
  expect_old("first opening, ");
  crash(CrashPolicy::lose_all);
  expect_old("after a second crash, ");
  reopen();
  expect_old("after an orderly close, ");
  ASSERT_TRUE(cache->store(key(100), "later"));
  crash(CrashPolicy::lose_all);
  expect_old("after another store, ");
  EXPECT_EQ(get(key(100)), "later");
}

TEST_F(RecoveryTest, SealedSegmentsAreReplayedFromTheirFooters) {
  // A device whose checkpoints are rare: half the log lies between two.
  cache.reset();
  format.segment_bytes = 64_KiB;
  options.eviction = EvictionPolicyKind::fifo;
  options.max_operations = 8;
  make_device(16_MiB);
  open();
  const std::string filler = value_of("filler", 1, 4000);
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(i), filler));
  }
  ASSERT_TRUE(cache->flush_writes());
  ASSERT_EQ(cache->stats().checkpoints, 0u);
  crash(CrashPolicy::lose_all);
  const Stats stats = cache->stats();
  // Scanned is where the log ends, and what the batches hold of which no later one says that they
  // were durable: those that may be under way at once, half a segment each.
  const std::uint64_t scanned_max = 2 + divide_up(kSealedBuffersMax, 2);
  EXPECT_LE(stats.recovery_segments_scanned, scanned_max);
  EXPECT_LE(stats.recovery_payload_bytes, scanned_max * stats.segment_bytes);
  EXPECT_GE(stats.recovery_segments_by_footer, 14 - scanned_max);
  EXPECT_EQ(stats.recovery_entries_replayed, 200u);
  EXPECT_GT(stats.recovery_read_bytes, stats.recovery_payload_bytes);
  EXPECT_GT(stats.recovery_ns, 0u);
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_EQ(get(key(i)), filler);
  // After an orderly close there is nothing to replay.
  reopen();
  EXPECT_EQ(cache->stats().recovery_segments_by_footer, 0u);
  EXPECT_LE(cache->stats().recovery_payload_bytes, cache->stats().segment_bytes);
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_EQ(get(key(i)), filler);
}

TEST_F(RecoveryTest, ATornNewerCheckpointLeavesTheOlder) {
  churn(300, 1);
  ASSERT_TRUE(cache->flush_writes());
  close();
  open();
  churn(20, 2);
  close();  // a second checkpoint; since the first, less than a segment was written
  wipe_checkpoint(newer_area());
  open();
  expect_model(false);
  const std::string found = get(model.begin()->first);
  EXPECT_EQ(found, model.begin()->second);
  EXPECT_GE(cache->stats().recovery_entries_replayed, 1u);
  reopen();
  expect_model(false);
}

// Its first batches could not be written there, so the log has gone on in another one.
TEST_F(RecoveryTest, ACheckpointWhoseOpenSegmentStayedEmptyIsUsed) {
  const auto leave_segment = [&] {
    faults().fail(FaultyDisk::Op::write, 1, EIO, FaultyDisk::Repeat::for_ever);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(outcome(cache->store("never", "stored")), "io_error");
    faults().heal();
  };
  ASSERT_TRUE(cache->store("a", "1"));
  leave_segment();
  const std::uint64_t checkpoints = cache->stats().checkpoints;
  ASSERT_TRUE(cache->maintain());
  ASSERT_EQ(cache->stats().checkpoints, checkpoints + 1);
  const int area = newer_area();
  leave_segment();
  ASSERT_TRUE(cache->store("b", "2"));
  cut_power(CrashPolicy::lose_all);
  wipe_checkpoint(1 - area);
  open();
  EXPECT_EQ(get_all({"a", "b", "never"}), (std::vector<std::string>{"1", "2", "error not_found"}));
}

TEST_F(RecoveryTest, ACutCheckpointChunkLeavesTheOlder) {
  churn(100, 1);
  reopen();
  churn(20, 2);
  close();
  const Superblock s = superblock();
  device->wipe({s.checkpoint_offset[newer_area()] + s.block_bytes, 512}, std::byte{0x5A});
  open();
  expect_model(true);
}

TEST_F(RecoveryTest, AnOlderCheckpointIsNotUsedWhereSegmentsWereReusedSince) {
  churn(100, 1);
  reopen();
  // Everything is overwritten many times: segments of the older checkpoint hold other things now.
  for (std::uint64_t seed = 2; seed < 8; ++seed) churn(1500, seed);
  close();
  wipe_checkpoint(newer_area());
  const auto opened = try_open();
  if (opened) {
    expect_model(false);
  } else {
    EXPECT_EQ(outcome(opened), "checkpoint_lost");
    options.rebuild_if_checkpoint_lost = true;
    open();
    expect_model(false);
    EXPECT_GT(cache->stats().entries, 10u);
  }
}

TEST_F(RecoveryTest, WithoutACheckpointItIsSaidAndARebuildFindsNothingOld) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) churn(500, seed);
  close();
  wipe_checkpoint(0);
  wipe_checkpoint(1);
  const std::vector<std::byte> image = durable_image();
  const auto opened = try_open();
  EXPECT_EQ(outcome(opened), "checkpoint_lost");
  EXPECT_NE(opened.error().message().find("rebuild"), std::string::npos);
  EXPECT_EQ(device->medium().content(), image) << "a refused open writes nothing";
  options.rebuild_if_checkpoint_lost = true;
  open();
  expect_model(false);
  EXPECT_GT(cache->stats().entries, 20u);
  const std::size_t found = all_keys().size();
  options.rebuild_if_checkpoint_lost = false;
  reopen();
  expect_model(false);
  EXPECT_EQ(all_keys().size(), found) << "the rebuilt cache has a checkpoint again";
}

TEST_F(RecoveryTest, ARebuildDoesNotServeWhatARottenSegmentSuperseded) {
  ASSERT_TRUE(cache->store("key", "old value, in the first segment"));
  const std::string filler = value_of("filler", 1, 4000);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(cache->store_buffered(key(i), filler));
  ASSERT_TRUE(cache->store("key", "new value, rotten"));
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(cache->store_buffered(key(i), filler));
  close();
  EXPECT_GE(device->rot("new value, rotten"), 1);
  wipe_checkpoint(0);
  wipe_checkpoint(1);
  options.rebuild_if_checkpoint_lost = true;
  open();
  EXPECT_EQ(get("key"), "error not_found");
  EXPECT_EQ(get(key(3)), filler);
}

TEST_F(RecoveryTest, ARottenFirstBlockDoesNotHideTheNewestSegment) {
  churn(40, 1, 40);
  reopen();
  // A segment is sealed and the next one begun after the checkpoint, then the power goes.
  const auto sealed_before = sealed_segments().size();
  while (sealed_segments().size() < sealed_before + 2) churn(10, 2 + sealed_segments().size(), 40);
  churn(5, 99, 40);
  const Superblock s = superblock();
  const auto last = read_footer_trailer(device->medium(), s, sealed_segments().back());
  ASSERT_TRUE(last && last->next_segment < s.segments);
  const auto first_block = segment_offset(s, last->next_segment);
  cut_power(CrashPolicy::lose_all);
  device->wipe({first_block, 512});
  open();
  // Only what lay in that block is lost; nothing older takes its place, and the last batch is
  // there.
  for (const std::string& name : all_keys()) ASSERT_TRUE(model.contains(name));
  std::size_t found = 0;
  for (const auto& [name, value] : model) found += get(name) == value;
  EXPECT_GE(found + 15, model.size());
}

TEST_F(RecoveryTest, AScanFindsThePartsOfTheNewestLifeOnly) {
  const Superblock s = superblock();
  std::size_t ghosts = 0;
  for (unsigned round = 0; round < 20 && ghosts == 0; ++round) {
    churn(round == 0 ? 5000 : 7, 1 + round);
    for (std::uint32_t segment = 0; segment < s.segments; ++segment) {
      const auto scan = scan_segment(device->medium(), s, segment);
      ASSERT_TRUE(scan);
      std::uint32_t newest = 0;
      for (const ScannedPart& part : scan->parts) newest = std::max(newest, part.header.generation);
      for (const ScannedPart& part : scan->parts) EXPECT_EQ(part.header.generation, newest);
      // What an earlier life has left behind the end of the open segment is there, and verifies.
      const std::vector<std::byte> bytes = device->medium().content();
      for (std::uint64_t at = 0; at < s.segment_bytes; at += s.block_bytes) {
        const std::uint64_t offset = segment_offset(s, segment) + at;
        const auto header =
            decode_batch_header(std::span(bytes).subspan(offset), {s.id, offset, 0});
        ghosts += header && header->generation < newest;
      }
    }
  }
  EXPECT_GT(ghosts, 0u);
}

TEST_F(RecoveryTest, ARottenFooterIsReplacedByAScan) {
  churn(40, 1, 40);
  reopen();
  const auto sealed_before = sealed_segments().size();
  while (sealed_segments().size() < sealed_before + 3) churn(10, 2 + sealed_segments().size(), 40);
  const Superblock s = superblock();
  const auto segments = sealed_segments();
  const std::uint32_t victim = segments[segments.size() - 2];
  cut_power(CrashPolicy::lose_all);
  // The trailer of one footer, then the records of another.
  device->wipe({segment_offset(s, victim) + s.segment_bytes - 512, 512});
  const auto trailer = read_footer_trailer(device->medium(), s, segments.back());
  ASSERT_TRUE(trailer);
  const std::uint64_t footer = footer_bytes(trailer->records_bytes, s.block_bytes);
  device->wipe({segment_offset(s, segments.back()) + s.segment_bytes - footer, 512});
  RecoveryCounts counts;
  (void)recovered_index(&counts);
  EXPECT_GE(counts.segments_scanned, 2u);
  open();
  expect_model(true);
}

TEST_F(RecoveryTest, AFailingReadWhileRecoveringHidesNoValueForEver) {
  churn(200, 1);
  cut_power(CrashPolicy::lose_all);
  const std::vector<std::byte> image = durable_image();
  for (std::uint64_t n = 1; n <= 30; ++n) {
    replace_device(image);
    faults().fail(FaultyDisk::Op::read, n, EIO);
    const auto opened = try_open();
    if (!opened) {
      EXPECT_TRUE(outcome(opened) == "io_error" || outcome(opened) == "checkpoint_lost" ||
                  outcome(opened) == "superblock_damaged")
          << outcome(opened);
      continue;
    }
    expect_model(false);
  }
}

TEST_F(RecoveryTest, WhatCannotBeReadForGoodMakesOpenFailUnlessThatIsAccepted) {
  churn(60, 1);
  cut_power(CrashPolicy::lose_all);
  const std::vector<std::byte> image = durable_image();
  replace_device(image);
  open();
  const std::uint64_t reads = faults().count(FaultyDisk::Op::read);
  for (const bool accepted : {false, true}) {
    options.accept_unreadable = accepted;
    for (std::uint64_t n = accepted ? reads : 1; n <= reads; ++n) {
      replace_device(image);
      faults().fail(FaultyDisk::Op::read, n, EIO, FaultyDisk::Repeat::for_ever);
      // The last read is of the second copy of a dictionary's slot.
      EXPECT_EQ(try_open().has_value(), accepted || n == reads)
          << "from read " << n << " of " << reads;
      faults().heal();
    }
  }
  for (const std::string& name : all_keys()) EXPECT_TRUE(model.contains(name)) << name;
}

TEST_F(RecoveryTest, SequencesGrowAcrossReopeningAndCrashes) {
  std::uint64_t before = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(cache->store("key", std::to_string(i)));
    const auto found = cache->lookup("key");
    ASSERT_TRUE(found);
    EXPECT_GT(found->sequence(), before);
    before = found->sequence();
    i % 2 == 0 ? reopen() : crash(CrashPolicy::lose_all);
    EXPECT_EQ(cache->lookup("key")->sequence(), before);
  }
}

TEST_F(RecoveryTest, ItSaysWhenTheCacheWasWrittenLast) {
  const auto recovered_until = [&] {
    return static_cast<std::int64_t>(cache->stats().recovered_until);
  };
  clock += 50;
  ASSERT_TRUE(cache->store("key", "value"));
  const std::int64_t stored = clock;
  clock += 1000;
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(recovered_until(), stored);
  clock += 100;
  const std::int64_t closed = clock;
  reopen();  // which closes it in order
  EXPECT_EQ(recovered_until(), closed);
}

// One copy of the superblock knows of the clear, and cannot be read at first.
TEST_F(RecoveryTest, AReadOfASuperblockThatFailsOnceUndoesNoClear) {
  ASSERT_TRUE(cache->store("key", "value"));
  faults().fail(FaultyDisk::Op::write, 2, EIO);
  ASSERT_TRUE(cache->clear());
  faults().heal();
  for (std::uint64_t n = 1; n <= 3; ++n) {
    SCOPED_TRACE(n);
    cut_power(CrashPolicy::keep_all);
    faults().fail(FaultyDisk::Op::read, n, EIO);
    const auto opened = try_open();
    faults().heal();
    if (!opened) open();
    EXPECT_EQ(get("key"), "error not_found");
  }
}

}  // namespace
}  // namespace rawcache::testing
