// Eviction by rc in the whole cache: what is asked for stays, copies are the entries they were made
// from, and a power cut loses none of them and brings nothing back.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "cache/checkpoint_io.h"
#include "format/bytes.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class EvictionTest : public CacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  static std::string hot(std::uint64_t i) { return "hot " + std::to_string(i); }
  static constexpr std::uint64_t kHot = 10;
  static constexpr std::size_t kSize = 1000;

  void SetUp() override {
    cache.reset();
    format.segment_bytes = 64_KiB;
    format.block_bytes = 512;
    format.expected_entries = 16384;
    options.max_operations = 16;
    make_device(4_MiB);
    open();
  }
  /// Writes this often the capacity of entries that nobody asks for, asking for the hot ones.
  void churn(double times, std::uint64_t version) {
    const std::uint64_t capacity = cache->stats().capacity_bytes;
    const auto count = static_cast<std::uint64_t>(times * double(capacity) / kSize);
    for (std::uint64_t i = 0; i < count; ++i, ++next_) {
      ASSERT_TRUE(cache->store_buffered(key(next_), value_of(key(next_), version, kSize)));
      if (i % 8 == 0) (void)cache->lookup(hot(i / 8 % kHot));
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  void store_hot(std::uint64_t version) {
    for (std::uint64_t i = 0; i < kHot; ++i) {
      ASSERT_TRUE(cache->store(hot(i), value_of(hot(i), version, kSize)));
    }
  }
  /// A key that the ghost remembers. Of the others it takes one in 8192 for such a key.
  void store_what_comes_back(const std::string& key, const std::string& value) {
    const std::uint64_t hits_before = cache->stats().ghost_hits;
    ASSERT_TRUE(cache->store_buffered(key, value));
    EXPECT_EQ(cache->stats().ghost_hits, hits_before + 1);
  }
  static std::uint64_t gone(const Stats& stats) {
    return stats.evicted + stats.evicted_index_full + stats.expired;
  }
  std::uint64_t next_ = 0;
};

TEST_F(EvictionTest, WhatIsAskedForStaysAndWhatIsNotGoes) {
  store_hot(1);
  churn(3, 1);
  for (std::uint64_t i = 0; i < kHot; ++i) EXPECT_EQ(get(hot(i)), value_of(hot(i), 1, kSize));
  EXPECT_EQ(get(key(0)), "error not_found");
  const Stats stats = cache->stats();
  EXPECT_GT(stats.copied, 0u);
  EXPECT_LE(stats.logical_write_amplification(), options.wa_cap);
  EXPECT_EQ(stats.evicted, stats.evicted_cold + stats.evicted_hot);
  EXPECT_EQ(stats.corruptions, 0u);
}

TEST_F(EvictionTest, ACopyKeepsItsSequenceAndItsLife) {
  std::int64_t time = 4'000'000'000;  // later than any clock that has been written
  cache.reset();
  options.now = [&] { return time; };
  open();
  ASSERT_TRUE(cache->store(hot(0), "value", {.ttl = std::chrono::seconds(100)}));
  const std::uint64_t sequence = cache->lookup(hot(0))->sequence();
  churn(1, 1);
  ASSERT_GT(cache->stats().copied, 0u);
  const auto value = cache->lookup(hot(0));
  ASSERT_TRUE(value);
  EXPECT_EQ(value->sequence(), sequence);
  crash(CrashPolicy::lose_all);
  ASSERT_TRUE(cache->lookup(hot(0)));
  EXPECT_EQ(cache->lookup(hot(0))->sequence(), sequence);
  time += 100;
  EXPECT_EQ(get(hot(0)), "error not_found");
  cache.reset();  // before the clock goes
}

TEST_F(EvictionTest, CopiesSurviveAPowerCutAndOverwritesOfThemToo) {
  std::uint64_t copied = 0;
  for (std::uint64_t round = 1; round <= 8; ++round) {
    SCOPED_TRACE(round);
    store_hot(round);
    churn(1.3, round);
    // After it was copied: a later value of one, and one gone.
    ASSERT_TRUE(cache->store(hot(1), value_of(hot(1), 100 + round, kSize)));
    ASSERT_TRUE(cache->remove(hot(2)));
    churn(0.02, round);
    copied += cache->stats().copied;
    crash(round % 2 == 0 ? CrashPolicy::lose_all : CrashPolicy::keep_all);
    EXPECT_EQ(get(hot(1)), value_of(hot(1), 100 + round, kSize));
    EXPECT_EQ(get(hot(2)), "error not_found");
    for (std::uint64_t i = 3; i < kHot; ++i) EXPECT_EQ(get(hot(i)), value_of(hot(i), round, kSize));
    EXPECT_EQ(cache->stats().corruptions, 0u);
  }
  EXPECT_GT(copied, 0u);
}

// What is to be copied has been chosen and is being read when some of it is overwritten.
TEST_F(EvictionTest, ACopyNeverTakesThePlaceOfWhatWasStoredMeanwhile) {
  store_hot(1);
  churn(0.1, 1);
  const std::string newer = value_of(hot(0), 2, kSize);
  const Superblock s = superblock();
  std::thread overwriting;
  bool storing = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    const bool footer = (event.offset + event.size - s.segments_offset) % s.segment_bytes == 0;
    if (event.op != FaultyDisk::Op::read || footer || !storing || overwriting.joinable()) return;
    overwriting = std::thread([&] { EXPECT_TRUE(cache->store_buffered(hot(0), newer)); });
    while (get(hot(0)) != newer) std::this_thread::yield();
  });
  for (std::uint64_t i = 0; !overwriting.joinable(); ++i) {
    ASSERT_EQ(get(hot(i % kHot)), value_of(hot(i % kHot), 1, kSize));
    storing = true;  // which frees a segment now and then
    ASSERT_TRUE(cache->store_buffered(key(next_++), value_of("cold", i, kSize)));
    storing = false;
  }
  overwriting.join();
  device->at_each_request({});
  EXPECT_EQ(get(hot(0)), newer);
  reopen();
  EXPECT_EQ(get(hot(0)), newer);
}

TEST_F(EvictionTest, WhatIsDeadIsNotCopied) {
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(
        cache->store_buffered(hot(0), value_of(hot(0), static_cast<std::uint64_t>(i), kSize)));
    (void)cache->lookup(hot(0));
  }
  EXPECT_EQ(cache->stats().copied, 0u);
  EXPECT_EQ(cache->stats().evicted, 0u);
}

TEST_F(EvictionTest, WhatHasExpiredIsNotCopied) {
  for (std::uint64_t i = 0; i < kHot; ++i) {
    ASSERT_TRUE(cache->store(hot(i), "value", {.ttl = std::chrono::seconds(100)}));
  }
  churn(0.1, 1);  // asked for when they are old enough for that to count
  clock += 100;
  const std::string cold = value_of("cold", 1, kSize);
  while (cache->stats().evicted == 0) {
    ASSERT_TRUE(cache->store_buffered(key(next_++), cold));
  }
  EXPECT_EQ(cache->stats().expired, kHot);
  EXPECT_EQ(cache->stats().copied, 0u);
}

// A remembered key comes back: no copy is paid for it.
TEST_F(EvictionTest, WhatComesBackJoinsTheMainStreamEvenWithoutCopies) {
  constexpr std::size_t kLarge = 6000;  // worth a change of streams
  options.wa_cap = 1.0;
  reopen();
  ASSERT_TRUE(cache->store_buffered("back", value_of("back", 1, kLarge)));
  churn(1.3, 1);
  ASSERT_EQ(get("back"), "error not_found");
  store_what_comes_back("back", value_of("back", 2, kLarge));
  churn(0.5, 1);
  EXPECT_EQ(get("back"), value_of("back", 2, kLarge)) << "it went with the small queue";
  EXPECT_EQ(cache->stats().copied, 0u);
  reopen();
  EXPECT_EQ(get("back"), value_of("back", 2, kLarge));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("back"), value_of("back", 2, kLarge));
}

// Order between the streams is that of the sequences.
TEST_F(EvictionTest, WhatHasGoneIsRememberedAcrossAnOrderlyCloseOnly) {
  churn(1.5, 1);
  const std::uint64_t remembered = cache->stats().ghost_entries;
  ASSERT_GT(remembered, 100u);
  reopen();
  EXPECT_NEAR(double(cache->stats().ghost_entries), double(remembered), 0.02 * double(remembered));
  const std::uint64_t gone = next_ - cache->stats().capacity_bytes * 13 / 10 / kSize;
  store_what_comes_back(key(gone), value_of(key(gone), 2, kSize));
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(cache->stats().ghost_entries, 0u);
  EXPECT_EQ(get(key(gone)), value_of(key(gone), 2, kSize));
}

// A key that has come back is not remembered any more: the close before knew it, the last does not.
TEST_F(EvictionTest, WhatWasRememberedAtTheLastOfManyClosesCounts) {
  constexpr std::uint64_t kBack = 10;
  churn(1.5, 1);
  reopen();
  const std::uint64_t gone = next_ - cache->stats().capacity_bytes * 13 / 10 / kSize;
  const auto store_again = [&](std::uint64_t version) {
    for (std::uint64_t i = gone; i < gone + kBack; ++i) {
      ASSERT_TRUE(cache->remove_buffered(key(i)));
      ASSERT_TRUE(cache->store_buffered(key(i), value_of(key(i), version, kSize)));
    }
  };
  store_again(2);
  EXPECT_EQ(cache->stats().ghost_hits, kBack);
  ASSERT_EQ(cache->stats().checkpoints, 0u) << "that of the close before is still there";
  reopen();
  EXPECT_GT(cache->stats().ghost_entries, 100u);
  store_again(3);
  EXPECT_EQ(cache->stats().ghost_hits, 0u);
}

TEST_F(EvictionTest, WhatMayBeCopiedIsKnownAcrossAnOrderlyClose) {
  churn(2, 1);
  // Not hot enough for their segments to stay as they are.
  for (std::uint64_t i = 0; i < next_; ++i) {
    if (i % 5 < 2) (void)cache->lookup(key(i));
  }
  reopen();
  churn(0.2, 1);
  EXPECT_GT(cache->stats().logical_write_amplification(), options.wa_cap)
      << "more was copied than has been earned since";
}

// Whoever looks something up meanwhile waits for no more than that.
TEST_F(EvictionTest, WhatIsToBeCopiedIsReadAFewEntriesAtATime) {
  cache.reset();
  format.segment_bytes = 2_MiB;
  format.expected_entries = 100'000;
  options.max_operations = 256;
  options.read_buffer_bytes = 16_MiB;
  make_device(40_MiB);
  open();
  churn(1.1, 1);
  for (std::uint64_t i = 0; i < next_; ++i) {
    if (i % 5 < 2) (void)cache->lookup(key(i));
  }
  (void)device->take_calls();
  const std::uint64_t copied = cache->stats().copied_bytes;
  for (std::uint64_t i = 0; i < 8'000; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(next_), value_of(key(next_), 1, kSize)));
    ++next_;
  }
  ASSERT_GT(cache->stats().copied_bytes - copied, 1_MiB);
  std::uint64_t most = 0;
  for (const DeviceCall& call : device->take_calls()) {
    std::uint64_t bytes = 0;
    for (const Extent& extent : call.extents) bytes += extent.size;
    if (call.writes == 0) most = std::max(most, bytes);
  }
  EXPECT_GT(most, 128_KiB);
  EXPECT_LE(most, 256_KiB);
}

TEST_F(EvictionTest, HintsThatAreDamagedCostNothingElse) {
  churn(1.5, 1);
  const std::uint64_t entries = cache->stats().entries;
  close();
  ASSERT_EQ(RawDiskCache::verify(device->medium())->damage_count, 0u);
  const Superblock s = superblock();
  std::size_t found = 0;
  for (int area = 0; area < 2; ++area) {
    const auto reader = CheckpointReader::open(device->medium(), s, area);
    if (!reader || reader->header().hint_bytes == 0) continue;
    ++found;
    const std::uint64_t hints = s.checkpoint_offset[area] +
                                checkpoint_area_bytes(reader->header().stream_bytes, s.block_bytes);
    device->wipe({hints + s.block_bytes, s.block_bytes}, std::byte{0x5A});
  }
  EXPECT_EQ(found, 1u);
  const auto report = RawDiskCache::verify(device->medium());
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->damage_count, 1u);
  open();
  EXPECT_EQ(cache->stats().ghost_entries, 0u);
  EXPECT_EQ(cache->stats().entries, entries);
}

// Their checksums are right, as if whoever wrote them had been wrong.
TEST_F(EvictionTest, HintsThatMakeNoSenseAreLeftOut) {
  churn(1.5, 1);
  const std::uint64_t entries = cache->stats().entries;
  close();
  const Superblock s = superblock();
  const int area = CheckpointReader::open_hints(device->medium(), s, 0) ? 0 : 1;
  const std::vector<std::byte> image = device->medium().content();
  std::mt19937_64 random(3);
  int left_out = 0;
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    std::vector<std::byte> changed = image;
    const auto at = [&](std::uint64_t offset) { return std::span(changed).subspan(offset); };
    const std::uint64_t start = s.checkpoint_offset[area];
    auto header = load<CheckpointHeader>(at(start));
    const std::uint64_t hints = start + checkpoint_area_bytes(header.stream_bytes, s.block_bytes);
    const auto chunk = load<ChunkHeader>(at(hints));
    for (int edits = round % 4 + 1; edits > 0; --edits) {
      at(hints + sizeof chunk)[random() % chunk.payload_bytes] = static_cast<std::byte>(random());
    }
    if (round % 10 == 0) header.hint_bytes = random() % (2 * chunk.payload_bytes);
    header.hint_digest =
        digest_next(kDigestStart, encode_chunk(at(hints), chunk.number, chunk.generation,
                                               chunk.payload_bytes, {.id = s.id, .offset = hints}));
    encode_checkpoint_header(at(start).first(s.block_bytes), header, {.id = s.id, .offset = start});
    replace_device(std::move(changed));
    open();
    EXPECT_EQ(cache->stats().entries, entries);
    left_out += cache->stats().ghost_entries == 0;
  }
  EXPECT_GT(left_out, 20);
  EXPECT_LT(left_out, 200) << "a key may be another one, or younger";
}

// Overwrites, removes, lives of all lengths, sizes from small to large, and an index that is too
// small at times: whatever is not there any more was counted by one cause.
TEST_F(EvictionTest, EverythingThatHasGoneWasCountedOnce) {
  for (const auto policy :
       {EvictionPolicyKind::rc, EvictionPolicyKind::fifo, EvictionPolicyKind::lru}) {
    SCOPED_TRACE(static_cast<int>(policy));
    cache.reset();
    format.expected_entries = 1500;
    options.eviction = policy;
    make_device(4_MiB);
    open();
    std::mt19937_64 random(5);
    std::uint64_t removed = 0;
    for (int i = 0; i < 15'000; ++i) {
      clock += i % 100 == 0;
      const std::string name = key(random() % 1000 * (random() % 6 + 1));
      const bool there = cache->lookup(name).has_value();
      const Stats before = cache->stats();
      std::uint64_t more = 0;
      if (random() % 10 == 0) {
        ASSERT_TRUE(cache->remove_buffered(name));
        more -= there;
        removed += there;
      } else if (!there || random() % 4 == 0) {
        const std::size_t size = random() % (i / 2500 % 2 == 0 ? 4000 : 200);
        const StoreOptions store{.ttl = std::chrono::seconds(random() % 3 * 30)};
        ASSERT_TRUE(cache->store_buffered(name, std::string(size, 'v'), store));
        more += !there;
      }
      const Stats after = cache->stats();
      const std::uint64_t came = after.entries + gone(after) - before.entries - gone(before);
      // What was to be overwritten or removed may be evicted for the room that takes.
      const bool evicted = there && gone(after) != gone(before);
      ASSERT_TRUE(came == more || (evicted && came == more + 1)) << i;
    }
    const Stats s = cache->stats();
    EXPECT_EQ(s.evicted, s.evicted_hot + s.evicted_cold);
    EXPECT_EQ(s.collisions + s.corruptions, 0u);
    for (const std::uint64_t count : {s.evicted_cold, s.evicted_index_full, s.expired, removed}) {
      EXPECT_GT(count, 20u);
    }
    EXPECT_EQ(s.copied > 0, policy == EvictionPolicyKind::rc);
  }
}

TEST_F(EvictionTest, TheLaterOfTwoWritesInDifferentStreamsCountsAfterACrash) {
  constexpr std::size_t kLarge = 6000;
  ASSERT_TRUE(cache->store_buffered("back", value_of("back", 1, kLarge)));
  churn(1.3, 1);
  ASSERT_EQ(get("back"), "error not_found");
  store_what_comes_back("back", value_of("back", 2, kLarge));               // main
  ASSERT_TRUE(cache->store_buffered("back", value_of("back", 3, kLarge)));  // small
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("back"), value_of("back", 3, kLarge));
}

}  // namespace
}  // namespace rawcache::testing
