// C4 and C12: evictions are counted and come no sooner than published, memory stays within what
// Options give, and at every limit a call says so and drops nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <map>

#include "batch/batch_io_manager.h"
#include "format/entry.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class Limits : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
};

TEST_F(Limits, EvictionsAreCountedAndComeNoSoonerThanPublished) {
  cache.reset();
  options.eviction = EvictionPolicyKind::fifo;
  open();
  // Each store takes one block of its own; fifteen of them and the footer are a segment.
  const std::string value = value_of("v", 1, 3800);
  const Stats before = cache->stats();
  const std::uint64_t per_segment = before.segment_bytes / before.block_bytes - 1;
  const std::uint64_t safe = before.eviction_distance_bytes / before.segment_bytes * per_segment;
  ASSERT_GT(safe, 100u);
  constexpr std::uint64_t kStores = 1200;
  for (std::uint64_t i = 0; i < kStores; ++i) {
    ASSERT_TRUE(cache->store(key(i), value));
    if (i % 7 != 0) continue;
    const std::uint64_t oldest_safe = i + 1 > safe ? i + 1 - safe : 0;
    ASSERT_EQ(get(key(oldest_safe)), value) << "evicted too soon, after store " << i;
    const Stats stats = cache->stats();
    ASSERT_EQ(stats.entries + stats.evicted, i + 1) << "each that is gone was counted";
  }
  const Stats stats = cache->stats();
  EXPECT_GT(stats.evicted, 0u);
  EXPECT_EQ(stats.evicted_index_full, 0u);
  EXPECT_EQ(get(key(0)), "error not_found");
  EXPECT_EQ(stats.corruptions, 0u);
  // The oldest are gone and the newest are there, without a hole.
  bool found_one = false;
  for (std::uint64_t i = 0; i < kStores; ++i) {
    const bool there = get(key(i)) == value;
    EXPECT_TRUE(there || !found_one) << i;
    found_one = found_one || there;
  }
}

TEST_F(Limits, AFullIndexEvictsTheOldestSegmentAndSaysSo) {
  close();
  format.expected_entries = 200;
  make_device(2_MiB);
  open();
  const std::uint64_t room = cache->stats().entries_max;
  EXPECT_GE(room, 200u);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(outcome(cache->store_buffered(key(i), value_of("v", i, 600))), "ok") << i;
    ASSERT_LE(cache->stats().entries, room);
  }
  const Stats stats = cache->stats();
  EXPECT_GT(stats.evicted_index_full, 0u);
  EXPECT_EQ(stats.entries + stats.evicted + stats.evicted_index_full, 2000u);
  EXPECT_EQ(get(key(1999)), value_of("v", 1999, 600));
  reopen();
  EXPECT_EQ(get(key(1999)), value_of("v", 1999, 600));
}

TEST_F(Limits, AnIndexThatIsFullWithinOneSegmentSaysWhatToDo) {
  close();
  format.segment_bytes = 1_MiB;
  format.expected_entries = 64;
  make_device(8_MiB);
  open();
  std::uint64_t stored = 0;
  Result<void> last;
  while (stored < 10'000 && (last = cache->store_buffered(key(stored), "small"))) ++stored;
  if (!last) {
    EXPECT_EQ(outcome(last), "no_space");
    EXPECT_NE(last.error().message().find("expected_entries"), std::string::npos);
    for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(get(key(i)), "small") << i;
    ASSERT_TRUE(cache->remove(key(0))) << "removing makes room";
    EXPECT_EQ(outcome(cache->store(key(stored), "small")), "ok");
  }
}

TEST_F(Limits, TheWriteBufferIsBoundedWhileFlushesFail) {
  faults().fail(FaultyDisk::Op::write, 1, EIO, FaultyDisk::Repeat::for_ever);
  const std::string value = value_of("v", 1, 20'000);
  std::map<std::string, std::string> accepted;
  bool full = false;
  std::uint64_t most = 0;
  for (std::uint64_t i = 0; i < 300; ++i) {
    const auto stored = cache->store_buffered(key(i), value);
    if (stored || stored.error() == Errc::flush_failed) {
      accepted[key(i)] = value;
    } else {
      // io_error where the log needs another segment.
      ASSERT_TRUE(outcome(stored) == "buffer_full" || outcome(stored) == "io_error");
      full = true;
      EXPECT_EQ(get(key(i)), "error not_found");
    }
    // Direct stores fail too, are withdrawn, and take no memory for ever.
    if (i % 10 == 0) {
      EXPECT_FALSE(cache->store("direct", value));
    }
    most = std::max(most, cache->stats().buffer_memory_bytes);
  }
  for (int i = 0; i < 500; ++i) {
    EXPECT_FALSE(cache->store("direct", value));
    most = std::max(most, cache->stats().buffer_memory_bytes);
  }
  // One buffer fills, one is spare, the others are sealed; each may have got 1.3 MiB more for what
  // comes with being placed elsewhere.
  EXPECT_LE(most, (kSealedBuffersMax + 2) * (options.max_buffer_bytes + 1_MiB + 300_KiB));
  EXPECT_TRUE(full);
  EXPECT_GE(accepted.size(), options.max_buffer_bytes / 20'100);
  EXPECT_EQ(get("direct"), "error not_found");
  for (const auto& [k, v] : accepted) EXPECT_EQ(get(k), v);
  faults().heal();
  ASSERT_TRUE(cache->flush_writes());
  for (std::uint64_t i = 300; i < 320; ++i) {
    ASSERT_EQ(outcome(cache->store_buffered(key(i), value)), "ok");
    accepted[key(i)] = value;
  }
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  for (const auto& [k, v] : accepted) EXPECT_EQ(get(k), v);
}

TEST_F(Limits, ValuesOutliveOverwriteEvictionAndClose) {
  const std::string small = value_of("small", 1, 100);
  const std::string large = value_of("large", 1, 30'000);
  ASSERT_TRUE(cache->store("small", small));
  ASSERT_TRUE(cache->store("large", large));
  std::vector<Value> values;
  const auto take = [&] {
    for (const char* name : {"small", "large"}) values.push_back(*cache->lookup(name));
    for (auto& value : cache->lookup_batch(std::vector<std::string>{"large", "small"})) {
      values.push_back(*value);
    }
  };
  take();
  ASSERT_TRUE(cache->store_buffered("small", small));
  ASSERT_TRUE(cache->store_buffered("large", large));
  take();  // now from the write buffer
  ASSERT_TRUE(cache->remove("small"));
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(i), value_of("filler", i, 12'000)));
  }
  EXPECT_EQ(get("large"), "error not_found");
  close();
  for (std::size_t i = 0; i < values.size(); i += 4) {
    EXPECT_EQ(values[i].view(), small);
    EXPECT_EQ(values[i + 1].view(), large);
    EXPECT_EQ(values[i + 2].view(), large);
    EXPECT_EQ(values[i + 3].view(), small);
  }
}

TEST_F(Limits, WhenValuesHoldTheReadBufferTheAnswerIsOutOfMemoryAndNeverAWait) {
  close();
  options.read_buffer_bytes = 256_KiB;
  make_device(8_MiB);
  open();
  const std::string value = value_of("v", 1, 20'000);
  for (std::uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(cache->store_buffered(key(i), value));
  ASSERT_TRUE(cache->flush_writes());
  std::vector<Value> held;
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < 60; ++i) {
    auto found = cache->lookup(key(i));
    const Stats stats = cache->stats();
    ASSERT_LE(stats.read_buffer_leased_bytes, stats.read_buffer_bytes);
    ASSERT_LE(stats.value_heap_bytes, stats.read_buffer_bytes);
    if (found) {
      ASSERT_EQ(found->view(), value) << i;
      held.push_back(std::move(*found));
    } else {
      ASSERT_EQ(outcome(found), "out_of_memory");
      ++refused;
    }
  }
  EXPECT_GE(held.size(), 20u) << "the arena, and as much again on the heap";
  EXPECT_GT(refused, 0u);
  EXPECT_GT(cache->stats().value_heap_bytes, 0u);
  for (const Value& kept : held) EXPECT_EQ(kept.view(), value);
  held.clear();
  EXPECT_EQ(cache->stats().read_buffer_leased_bytes, 0u);
  EXPECT_EQ(cache->stats().value_heap_bytes, 0u);
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(get(key(i)), value);
}

TEST_F(Limits, ABatchLargerThanTheReadBufferAnswersEveryKey) {
  close();
  options.read_buffer_bytes = 256_KiB;
  make_device(8_MiB);
  open();
  const std::string value = value_of("v", 1, 20'000);
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 60; ++i) {
    keys.push_back(key(i));
    ASSERT_TRUE(cache->store_buffered(keys.back(), value));
  }
  ASSERT_TRUE(cache->flush_writes());
  std::size_t found = 0;
  for (const std::string& answer : get_all(keys)) {
    ASSERT_TRUE(answer == value || answer == "error out_of_memory") << answer.substr(0, 50);
    found += answer == value;
  }
  EXPECT_GE(found, 10u);
  EXPECT_EQ(get(key(3)), value) << "the memory came back";
}

TEST_F(Limits, TheIndexTakesAtMostTwelveBytesPerEntry) {
  close();
  constexpr std::uint64_t kEntries = 200'000;
  format.segment_bytes = 1_MiB;
  format.expected_entries = kEntries;
  options.format.expected_entries = kEntries;  // presizes the index
  options.max_operations = 4096;
  make_memory_device(128_MiB);
  open();
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(i), "a small value"));
  }
  ASSERT_TRUE(cache->flush_writes());
  const Stats stats = cache->stats();
  EXPECT_EQ(stats.evicted + stats.evicted_index_full, 0u);
  EXPECT_GE(stats.entries + 20, kEntries) << "some share a slot and evict each other";
  EXPECT_GE(stats.index_load, 0.70);
  EXPECT_LE(double(stats.index_bytes) / double(stats.entries), 12.0);
  EXPECT_EQ(get(key(kEntries - 1)), "a small value");
}

TEST_F(Limits, KeysThatShareASlotEvictEachOtherAndNeverAnswerForEachOther) {
  // The index tells keys apart by page and tag, so two hashes that share the upper half and the tag
  // are one to it. Such keys are searched for in a device with one page and the shortest tags.
  close();
  format.expected_entries = 64;
  make_device(2_MiB);
  open();
  const Superblock s = superblock();
  ASSERT_EQ(s.index_pages, 1u);
  const unsigned location_bits =
      static_cast<unsigned>(std::bit_width(s.segments_end() / s.entry_alignment));
  const unsigned tag_bits = std::min(32u, 64 - location_bits - 10);
  std::map<std::uint64_t, std::string> seen;
  std::string first, second;
  for (std::uint64_t i = 0; first.empty() && i < 1'000'000; ++i) {
    const std::uint64_t tag = hash_key(key(i), s.id) & ((std::uint64_t{1} << tag_bits) - 1);
    const auto [at, fresh] = seen.try_emplace(tag, key(i));
    if (fresh) continue;
    first = at->second;
    second = key(i);
  }
  ASSERT_FALSE(first.empty()) << "no two of a million keys share " << tag_bits << " bits";
  ASSERT_TRUE(cache->store(first, "of the first"));
  EXPECT_EQ(get(second), "error not_found");
  EXPECT_EQ(cache->stats().collisions, 1u);
  EXPECT_EQ(get_all({second, first}),
            (std::vector<std::string>{"error not_found", "of the first"}));
  ASSERT_TRUE(cache->store(second, "of the second"));
  EXPECT_EQ(get(first), "error not_found");
  EXPECT_EQ(get(second), "of the second");
  EXPECT_EQ(all_keys(), (std::set<std::string>{second}));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(first), "error not_found");
  EXPECT_EQ(get(second), "of the second");
}

}  // namespace
}  // namespace rawcache::testing
