// Checkpoints and footers whose checksums are right and whose content is not: nothing that wrote
// them was this library. They are not believed where that would lead out of the disk, the index or
// memory; what they say otherwise is a clear error or a miss, never a wrong value (C9).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "base/math.h"
#include "cache/checkpoint_io.h"
#include "cache/segment_scan.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class Hostile : public SmallCacheTest {
 protected:
  static constexpr std::uint64_t kKeys = 100;
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  static std::string value(std::uint64_t i) { return value_of(key(i), 1, 1500); }

  /// Segments with and without footers since the checkpoint in area 0 or 1; the other one is wiped.
  void SetUp() override {
    options.eviction = EvictionPolicyKind::fifo;
    close();
    make_device(16_MiB);  // so large that checkpoints are rare
    open();
    for (std::uint64_t i = 0; i < kKeys; ++i) ASSERT_TRUE(cache->store_buffered(key(i), value(i)));
    close();
    s_ = superblock();
    std::uint64_t generations[2] = {};
    for (int area = 0; area < 2; ++area) {
      if (const auto reader = CheckpointReader::open(device->medium(), s_, area)) {
        generations[area] = reader->header().generation;
      }
    }
    area_ = generations[1] > generations[0] ? 1 : 0;
    device->wipe({s_.checkpoint_offset[1 - area_], s_.block_bytes});
  }

  Place header_place() const { return {s_.id, s_.checkpoint_offset[area_], 0}; }
  Place chunk_place() const { return {s_.id, s_.checkpoint_offset[area_] + s_.block_bytes, 0}; }
  std::vector<std::byte> read(std::uint64_t offset, std::uint64_t size) {
    std::vector<std::byte> bytes(size);
    EXPECT_TRUE(device->medium().read(offset, bytes));
    return bytes;
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    device->medium().overwrite(offset, bytes);
  }
  void edit_header(const std::function<void(CheckpointHeader&)>& edit) {
    std::vector<std::byte> block = read(header_place().offset, s_.block_bytes);
    auto header = decode_checkpoint_header(block, header_place());
    ASSERT_TRUE(header);
    edit(*header);
    encode_checkpoint_header(block, *header, header_place());
    write(header_place().offset, block);
  }
  /// Changes the payload of the only chunk, or how much of it there is, and seals both again.
  void edit_chunk(const std::function<void(std::span<std::byte>, std::uint64_t&)>& edit) {
    const auto header =
        decode_checkpoint_header(read(header_place().offset, s_.block_bytes), header_place());
    ASSERT_TRUE(header);
    std::uint64_t payload = header->stream_bytes;
    std::vector<std::byte> chunk =
        read(chunk_place().offset, round_up(sizeof(ChunkHeader) + payload, s_.block_bytes));
    edit(std::span(chunk).subspan(sizeof(ChunkHeader)), payload);
    const std::uint64_t checksum =
        encode_chunk(chunk, 0, header->generation, payload, chunk_place());
    write(chunk_place().offset, chunk);
    edit_header(
        [&](CheckpointHeader& h) { h.stream_digest = digest_next(kDigestStart, checksum); });
  }
  void edit_record(std::uint32_t segment, const std::function<void(SegmentRecord&)>& edit) {
    edit_chunk([&](std::span<std::byte> payload, std::uint64_t&) {
      const auto at = payload.subspan(segment * sizeof(SegmentRecord));
      SegmentRecord record;
      std::memcpy(&record, at.data(), sizeof record);
      edit(record);
      std::memcpy(at.data(), &record, sizeof record);
    });
  }
  void expect_lost() { EXPECT_EQ(outcome(try_open()), "checkpoint_lost"); }
  void expect_no_wrong_value() {
    for (std::uint64_t i = 0; i < kKeys; ++i) {
      const std::string found = get(key(i));
      EXPECT_TRUE(found == value(i) || found == "error not_found") << found;
    }
  }

  Superblock s_{};
  int area_ = 0;
};

TEST_F(Hostile, ACheckpointOfAnotherShapeIsNone) {
  const std::vector<std::byte> image = device->medium().content();
  const std::function<void(CheckpointHeader&)> edits[] = {
      [](auto& h) { --h.segments; },
      [&](auto& h) { h.stream_bytes = s_.checkpoint_bytes + 1; },
      [&](auto& h) { h.stream_bytes = s_.checkpoint_bytes; },
      [](auto& h) { h.stream_digest ^= 1; },
      [](auto& h) { ++h.stream_bytes; },
      [](auto& h) { h.open_segment[0] = h.segments; },
      [](auto& h) { h.open_segment[1] = h.segments - 1; },  // which is free
  };
  for (std::size_t i = 0; i < std::size(edits); ++i) {
    SCOPED_TRACE(i);
    replace_device(image);
    edit_header(edits[i]);
    expect_lost();
  }
}

// What the log holds is found without it: fewer entries, and none that is wrong.
TEST_F(Hostile, ACheckpointThatDoesNotAddUpIsLikeALostOneForARebuild) {
  edit_header([](CheckpointHeader& h) { h.stream_digest ^= 1; });
  options.rebuild_if_checkpoint_lost = true;
  open();
  EXPECT_GT(cache->stats().entries, kKeys / 2);
  expect_no_wrong_value();
  EXPECT_EQ(cache->stats().corruptions, 0u);
}

TEST_F(Hostile, AChunkThatHoldsNothingOrTooMuchIsNone) {
  const std::vector<std::byte> image = device->medium().content();
  edit_chunk([](std::span<std::byte>, std::uint64_t& payload) { payload = 0; });
  expect_lost();
  replace_device(image);
  edit_header([](CheckpointHeader& h) { h.stream_bytes -= 8; });
  expect_lost();
}

TEST_F(Hostile, ASegmentInNoStateOrStreamIsNone) {
  const std::vector<std::byte> image = device->medium().content();
  const std::function<void(SegmentRecord&)> edits[] = {
      [](auto& r) { r.state = 3; }, [](auto& r) { r.stream = 2; }, [](auto& r) { r.label = 255; }};
  for (const auto& edit : edits) {
    replace_device(image);
    edit_record(1, edit);
    expect_lost();
  }
}

TEST_F(Hostile, APageOfMoreSlotsThanThereAreIsNone) {
  const std::vector<std::byte> image = device->medium().content();
  const std::uint64_t first_page = s_.segments * sizeof(SegmentRecord);
  for (const std::uint16_t count : {std::uint16_t{1000}, std::uint16_t{65535}}) {
    replace_device(image);
    edit_chunk([&](std::span<std::byte> payload, std::uint64_t&) {
      std::memcpy(payload.data() + first_page, &count, sizeof count);
    });
    expect_lost();
  }
  replace_device(image);
  edit_chunk([&](std::span<std::byte>, std::uint64_t& payload) { payload = first_page + 1; });
  expect_lost();
}

TEST_F(Hostile, SlotsThatPointOutOfTheLogAreDropped) {
  const std::uint64_t first_page = s_.segments * sizeof(SegmentRecord);
  edit_chunk([&](std::span<std::byte> payload, std::uint64_t&) {
    std::uint64_t at = first_page;
    for (bool high = false; at + sizeof(std::uint16_t) < payload.size();) {
      std::uint16_t count = 0;
      std::memcpy(&count, payload.data() + at, sizeof count);
      at += sizeof count;
      if (at + count * 8 > payload.size()) break;
      // The location is in the low bits: nowhere, and behind the end.
      const unsigned bits = SlotLayout::of(s_).location_bits;
      for (std::uint16_t i = 0; i < count; ++i, at += 8) {
        std::uint64_t slot = 0;
        std::memcpy(&slot, payload.data() + at, sizeof slot);
        slot = slot >> bits << bits | (high ? (std::uint64_t{1} << bits) - 1 : 1);
        high = !high;
        std::memcpy(payload.data() + at, &slot, sizeof slot);
      }
    }
  });
  open();
  EXPECT_EQ(cache->stats().entries, 0u);
  expect_no_wrong_value();
  EXPECT_EQ(cache->stats().corruptions, 0u);
}

TEST_F(Hostile, CountersOfZeroAreNoReasonToStop) {
  edit_header([](CheckpointHeader& h) { h.next_batch = h.next_sequence = h.replay_from = 0; });
  open();
  expect_no_wrong_value();
}

/// After the checkpoint, so that the footers are replayed.
class HostileFooter : public Hostile {
 protected:
  void SetUp() override {
    Hostile::SetUp();
    open();
    for (std::uint64_t i = 0; i < 2 * kKeys; ++i) {
      ASSERT_TRUE(cache->store_buffered(key(i % kKeys), value(i % kKeys)));
    }
    ASSERT_TRUE(cache->flush_writes());
    cut_power(CrashPolicy::lose_all);
  }
  /// Gives every segment that has a footer this one, sealed as its own.
  void write_footers(const std::function<std::vector<std::byte>(std::uint32_t)>& records_of) {
    int footers = 0;
    for (std::uint32_t segment = 0; segment < s_.segments; ++segment) {
      const auto trailer = read_footer_trailer(device->medium(), s_, segment);
      if (!trailer) continue;
      ++footers;
      const std::vector<std::byte> records = records_of(segment);
      std::vector<std::byte> footer(footer_bytes(records.size(), s_.block_bytes));
      const std::uint64_t start = segment_offset(s_, segment);
      encode_footer(footer, records, *trailer, {s_.id, start, trailer->generation});
      // Its last blocks, so that the entries before it stay as they are.
      const std::uint64_t size = std::min<std::uint64_t>(footer.size(), kWrittenBytesMax);
      write(start + s_.segment_bytes - size, std::span(footer).last(size));
    }
    ASSERT_GT(footers, 2);
  }
  /// For every key one: its offset and size, from the segment's start.
  std::vector<std::byte> records(const std::function<Extent(std::uint32_t)>& place_of) {
    FooterRecords records(s_.entry_alignment);
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      const Extent place = place_of(i);
      records.make_room_for_one();
      records.add({.key_hash = hash_key(key(i), s_.id),
                   .sequence = (std::uint64_t{1} << 40) + i,
                   .offset = static_cast<std::uint32_t>(place.offset),
                   .bytes = static_cast<std::uint32_t>(place.size)});
    }
    return {records.bytes().begin(), records.bytes().end()};
  }

 private:
  static constexpr std::uint64_t kWrittenBytesMax = 4096;
};

TEST_F(HostileFooter, ThatWouldBeLargerThanItsSegmentIsReplacedByAScan) {
  write_footers([&](std::uint32_t) { return std::vector<std::byte>(s_.segment_bytes); });
  open();
  EXPECT_GT(cache->stats().recovery_segments_scanned, 2u);
  for (std::uint64_t i = 0; i < kKeys; ++i) EXPECT_EQ(get(key(i)), value(i));
}

TEST_F(HostileFooter, WithRecordsBehindTheEndOfItsSegmentIsReplacedByAScan) {
  write_footers([&](std::uint32_t) {
    return records([&](std::uint32_t i) { return Extent{s_.segment_bytes + i * 64, 64}; });
  });
  open();
  EXPECT_GT(cache->stats().recovery_segments_scanned, 2u);
  for (std::uint64_t i = 0; i < kKeys; ++i) EXPECT_EQ(get(key(i)), value(i));
}

TEST_F(HostileFooter, RecordsOfOtherPlacesAndKeysAreMisses) {
  write_footers([&](std::uint32_t segment) {
    return records([&](std::uint32_t i) { return Extent{(i * 7 + segment) * 4, 28}; });
  });
  open();
  EXPECT_GT(cache->stats().recovery_segments_by_footer, 2u);
  expect_no_wrong_value();
}

TEST_F(HostileFooter, ABatchThatSaysItIsLongerThanItsSegmentIsSteppedOver) {
  for (std::uint32_t segment = 0; segment < s_.segments; ++segment) {
    const std::uint64_t start = segment_offset(s_, segment);
    for (std::uint64_t at = 0; at < s_.segment_bytes; at += s_.block_bytes) {
      std::vector<std::byte> block = read(start + at, s_.block_bytes);
      auto header = decode_batch_header(block, {s_.id, start + at, 0});
      if (!header) continue;
      header->bytes = std::numeric_limits<std::uint32_t>::max();
      encode_batch_header(block, *header, {s_.id, start + at, header->generation});
      write(start + at, block);
    }
  }
  open();
  expect_no_wrong_value();
}

}  // namespace
}  // namespace rawcache::testing
