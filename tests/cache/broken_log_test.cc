// A log that is not as a life of the cache leaves it: segments missing, torn at their border, or
// naming each other in a circle. Where only one checkpoint can be read the chain of segments must
// lead back to it, or opening is refused; what recovery does find is never an older value.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "cache/checkpoint_io.h"
#include "cache/segment_scan.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class BrokenLog : public SmallCacheTest {
 protected:
  static constexpr std::size_t kSize = 3800;  // some fifteen to a segment

  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  static std::string value(std::uint64_t i) { return value_of(key(i), 1, kSize); }

  void store(std::uint64_t first, std::uint64_t end) {
    for (std::uint64_t i = first; i < end; ++i) ASSERT_TRUE(cache->store(key(i), value(i)));
  }
  /// What is found is right; returns how many are.
  std::uint64_t found(std::uint64_t first, std::uint64_t end) {
    std::uint64_t hits = 0;
    for (std::uint64_t i = first; i < end; ++i) {
      const std::string text = get(key(i));
      if (text == "error not_found") continue;
      EXPECT_EQ(text, value(i));
      ++hits;
    }
    return hits;
  }
  Extent extent_of(std::uint32_t segment) const {
    const Superblock s = superblock();
    return {segment_offset(s, segment), s.segment_bytes};
  }
  /// What the footers say, by segment.
  std::vector<std::optional<FooterTrailer>> trailers() {
    const Superblock s = superblock();
    std::vector<std::optional<FooterTrailer>> all;
    for (std::uint32_t i = 0; i < s.segments; ++i) {
      all.push_back(read_footer_trailer(device->medium(), s, i));
    }
    return all;
  }
  /// Changes the header of a segment's first batch and seals it again.
  void edit_first_batch(std::uint32_t segment, const std::function<void(BatchHeader&)>& edit) {
    const Superblock s = superblock();
    const std::uint64_t offset = segment_offset(s, segment);
    std::vector<std::byte> block(s.block_bytes);
    ASSERT_TRUE(device->medium().read(offset, block));
    auto header = decode_batch_header(block, {s.id, offset, 0});
    ASSERT_TRUE(header);
    edit(*header);
    encode_batch_header(block, *header, {s.id, offset, header->generation});
    device->medium().overwrite(offset, block);
  }
};

/// One checkpoint that can be read, and since then segments 0 (older), 1, 2 ... of one stream.
class OneCheckpoint : public BrokenLog {
 protected:
  static constexpr std::uint64_t kKeys = 60;

  void SetUp() override {
    options.eviction = EvictionPolicyKind::fifo;
    close();
    make_device(16_MiB);  // so large that checkpoints are rare
    open();
    store(0, kKeys / 2);
    close();
    const Superblock s = superblock();
    std::uint64_t generations[2] = {};
    for (int area = 0; area < 2; ++area) {
      if (const auto reader = CheckpointReader::open(device->medium(), s, area)) {
        generations[area] = reader->header().generation;
      }
    }
    device->wipe({s.checkpoint_offset[generations[0] > generations[1] ? 1 : 0], s.block_bytes});
    open();
  }
  /// Cuts the power. Returns the segments that have been filled, the one filled last at the end.
  std::vector<std::uint32_t> filled() {
    cut_power(CrashPolicy::lose_all);
    std::vector<std::pair<std::uint64_t, std::uint32_t>> sealed;
    const auto all = trailers();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      if (all[i]) sealed.emplace_back(all[i]->last_batch, i);
    }
    std::ranges::sort(sealed);
    std::vector<std::uint32_t> segments;
    for (const auto& [batch, segment] : sealed) segments.push_back(segment);
    return segments;
  }
  void expect_lost() { EXPECT_EQ(outcome(try_open()), "checkpoint_lost"); }
};

TEST_F(OneCheckpoint, IsUsedIfTheLogSinceIsWhole) {
  store(kKeys / 2, kKeys);
  ASSERT_GE(filled().size(), 3u);
  open();
  EXPECT_EQ(found(0, kKeys), kKeys);
}

TEST_F(OneCheckpoint, IsNotUsedIfASegmentSinceIsMissing) {
  store(kKeys / 2, kKeys);
  const auto segments = filled();
  ASSERT_GE(segments.size(), 3u);
  device->wipe(extent_of(segments.back()));
  expect_lost();
}

TEST_F(OneCheckpoint, IsNotUsedIfTheSegmentsSinceLeadBackToOneOfTheOtherStream) {
  store(kKeys / 2, kKeys);
  const auto segments = filled();
  ASSERT_GE(segments.size(), 3u);
  edit_first_batch(segments.back(), [](BatchHeader& header) {
    header.stream = static_cast<std::uint8_t>(Stream::main);
  });
  expect_lost();
}

TEST_F(OneCheckpoint, IsNotUsedIfTheSegmentsSinceLeadInACircle) {
  store(kKeys / 2, kKeys);
  const auto segments = filled();
  ASSERT_GE(segments.size(), 3u);
  const auto last = read_footer_trailer(device->medium(), superblock(), segments.back());
  ASSERT_TRUE(last);
  const std::uint32_t newest = last->next_segment;
  const std::vector<std::byte> image = device->medium().content();
  edit_first_batch(newest, [&](BatchHeader& header) { header.previous_segment = newest; });
  expect_lost();
  // By way of an older one, whose own footer says so, too.
  replace_device(image);
  const Superblock s = superblock();
  const std::uint64_t start = segment_offset(s, segments.back());
  FooterTrailer trailer = *last;
  trailer.previous_segment = newest;
  std::vector<std::byte> footer(footer_bytes(0, s.block_bytes));
  encode_footer(footer, {}, trailer, {s.id, start, trailer.generation});
  device->medium().overwrite(start + s.segment_bytes - footer.size(), footer);
  expect_lost();
}

// What came before the clear, and the checkpoint leads to, does not matter any more.
TEST_F(OneCheckpoint, IsUsedAfterAClearIfTheLogLeadsBackToThat) {
  store(kKeys / 2, kKeys);
  ASSERT_TRUE(cache->clear());
  store(kKeys, 2 * kKeys);
  EXPECT_EQ(cache->stats().checkpoints, 0u);
  const auto segments = filled();
  open();
  EXPECT_EQ(found(0, kKeys), 0u);
  EXPECT_EQ(found(kKeys, 2 * kKeys), kKeys);
  ASSERT_GE(segments.size(), 3u);
}

TEST_F(OneCheckpoint, IsNotUsedAfterAClearIfASegmentSinceIsMissing) {
  ASSERT_TRUE(cache->clear());
  store(kKeys, 2 * kKeys);
  const auto segments = filled();
  ASSERT_GE(segments.size(), 3u);
  device->wipe(extent_of(segments.back()));
  expect_lost();
}

// The power cut loses the first batch of a segment that held other things before, and keeps the
// footer, written with it, that names the segment as the next one.
TEST_F(BrokenLog, ASegmentThatWasNotBegunIsNotTakenForItsEarlierLife) {
  options.eviction = EvictionPolicyKind::fifo;
  reopen();
  store(0, 2000);  // many times round
  reopen();
  const std::vector<std::byte> before = device->medium().durable_content();
  const auto trailers_before = trailers();
  std::uint64_t stored = 2000;
  std::optional<std::uint32_t> next;
  for (; !next && stored < 2100; ++stored) {
    store(stored, stored + 1);
    const auto now = trailers();
    for (std::size_t i = 0; i < now.size(); ++i) {
      const auto& old = trailers_before[i];
      if (now[i] && (!old || old->generation != now[i]->generation)) next = now[i]->next_segment;
    }
  }
  ASSERT_TRUE(next && *next < superblock().segments);
  const Extent lost = extent_of(*next);
  std::vector<std::byte> image = device->medium().durable_content();
  std::copy_n(before.data() + lost.offset, lost.size, image.data() + lost.offset);
  ASSERT_TRUE(std::any_of(image.data() + lost.offset, image.data() + lost.offset + 4096,
                          [](std::byte b) { return b != std::byte{0}; }));
  replace_device(std::move(image));
  open();
  EXPECT_EQ(found(stored - 1, stored), 0u) << "it was in the batch that is lost";
  EXPECT_GT(found(2000, stored - 1), 0u);
  EXPECT_EQ(found(2000, stored - 1), stored - 1 - 2000);
  (void)found(0, 2000);
  EXPECT_EQ(cache->stats().corruptions, 0u);
  store(stored, stored + 20);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(found(stored, stored + 20), 20u);
}

// Large segments are read in pieces.
TEST_F(BrokenLog, APieceOfASegmentThatCannotBeReadAtOnceIsReadBlockByBlock) {
  constexpr std::uint64_t kEntries = 800;
  close();
  format.segment_bytes = 4_MiB;
  make_device(64_MiB);
  open();
  store(0, kEntries);
  cut_power(CrashPolicy::lose_all);
  const std::vector<std::byte> image = device->medium().content();
  std::vector<std::uint64_t> pieces;  // the numbers of their reads
  device->at_each_request([&](const FaultyDisk::Event& event) {
    const bool piece = event.op == FaultyDisk::Op::read && event.size == 1_MiB;
    if (piece) pieces.push_back(faults().count(FaultyDisk::Op::read) + 1);
  });
  open();
  device->at_each_request({});
  ASSERT_GE(pieces.size(), 4u);
  for (const std::uint64_t piece : pieces) {
    replace_device(image);
    faults().fail(FaultyDisk::Op::read, piece, EIO);
    open();
    EXPECT_EQ(faults().failures(), 1u);
    EXPECT_EQ(found(0, kEntries), kEntries);
  }
}

}  // namespace
}  // namespace rawcache::testing
