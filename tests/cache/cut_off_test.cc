// What a power cut leaves of batches that do not count: headers, later batches, footers. None of it
// may be believed by a later life, however often the log has gone on since.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class CutOff : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  std::vector<std::byte> durable_image() { return device->medium().durable_content(); }
  void fill_up_after_a_batch_was_cut_off(bool rebuild);
};

// The power cut loses the first block of a new segment and keeps the second batch in it.
TEST_F(CutOff, BatchesBehindALostFirstBlockAreNotContinuedByTheNextLife) {
  options.max_operations = 1;  // every call a batch, under way and not synced
  reopen();
  const Extent first_block{superblock().segments_offset, superblock().block_bytes};
  const auto power_cut = [&](bool first_block_lost) {
    replace_device(device->medium().content());
    if (first_block_lost) device->wipe(first_block);
    open();
  };
  ASSERT_TRUE(cache->store_buffered("a", "one"));
  ASSERT_TRUE(cache->store_buffered("b", "lost"));
  power_cut(true);
  EXPECT_EQ(get("b"), "error not_found");
  ASSERT_TRUE(cache->store_buffered("a", "two"));
  power_cut(false);
  EXPECT_EQ(get("a"), "two");
  EXPECT_EQ(get("b"), "error not_found");
}

// Of two batches under way the first is lost, so that the second, a remove, does not count.
TEST_F(CutOff, ABatchThatWasCutOffDoesNotCountWhenItsSegmentHasBeenSealedEither) {
  options.max_operations = 1;  // every call a batch, under way and not synced
  options.eviction = EvictionPolicyKind::fifo;
  reopen();
  ASSERT_TRUE(cache->store("key", "stays"));
  const std::vector<std::byte> before = durable_image();
  ASSERT_TRUE(cache->store_buffered("a", "lost"));
  const std::vector<std::byte> between = device->medium().content();
  ASSERT_TRUE(cache->remove_buffered("key"));
  std::vector<std::byte> image = device->medium().content();
  for (std::size_t i = 0; i < image.size(); ++i) {
    if (between[i] != before[i]) image[i] = before[i];
  }
  replace_device(std::move(image));
  open();
  ASSERT_EQ(get_all({"a", "key"}), (std::vector<std::string>{"error not_found", "stays"}));
  ASSERT_TRUE(cache->store("b", "where the lost one was"));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "stays");
  for (std::uint64_t i = 0; i < 20; ++i) {  // the segment is sealed, and the next one begun
    ASSERT_TRUE(cache->store(key(i), value_of(key(i), 1, 3800)));
  }
  crash(CrashPolicy::lose_all);
  EXPECT_GE(cache->stats().recovery_segments_by_footer, 1u);
  EXPECT_EQ(get("key"), "stays");
}

// A batch fills a segment, footer included, and its second part is lost. The segment goes on; when
// it is full again the power cut loses its new footer and keeps what came after.
void CutOff::fill_up_after_a_batch_was_cut_off(bool rebuild) {
  options.eviction = EvictionPolicyKind::fifo;
  reopen();
  const std::uint64_t begin = superblock().segments_offset;
  const std::uint64_t end = begin + superblock().segment_bytes;
  const auto restore = [](std::vector<std::byte>& image, const std::vector<std::byte>& from,
                          std::uint64_t at, std::uint64_t until) {
    std::copy(from.data() + at, from.data() + until, image.data() + at);
  };
  ASSERT_TRUE(cache->store("key", "stays"));
  std::vector<std::byte> image = durable_image();
  ASSERT_TRUE(cache->store_buffered("key", "lost"));
  for (std::uint64_t i = 0; i < 25; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(i), value_of(key(i), 1, 3800)));
  }
  ASSERT_TRUE(cache->flush_writes());
  restore(image, durable_image(), begin, end);
  replace_device(std::move(image));
  if (rebuild) {
    options.rebuild_if_checkpoint_lost = true;
    const Superblock s = superblock();
    for (const std::uint64_t area : s.checkpoint_offset) device->wipe({area, s.block_bytes});
  }
  open();
  ASSERT_EQ(get_all({"key", key(0)}), (std::vector<std::string>{"stays", "error not_found"}));

  const std::vector<std::byte> before = device->medium().content();
  for (std::uint64_t i = 100; i < 120; ++i) {
    ASSERT_TRUE(cache->store(key(i), value_of(key(i), 1, 3800)));
  }
  image = durable_image();
  restore(image, before, end - superblock().block_bytes, end);
  replace_device(std::move(image));
  open();
  EXPECT_EQ(get_all({"key", key(0)}), (std::vector<std::string>{"stays", "error not_found"}));
  EXPECT_EQ(get(key(119)), value_of(key(119), 1, 3800));
}

TEST_F(CutOff, TheFooterThatWasWrittenWithABatchThatWasCutOffDoesNotCount) {
  fill_up_after_a_batch_was_cut_off(false);
}

TEST_F(CutOff, ItsFooterDoesNotCountAfterARebuildEither) {
  fill_up_after_a_batch_was_cut_off(true);
}

}  // namespace
}  // namespace rawcache::testing
