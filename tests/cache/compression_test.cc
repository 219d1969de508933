// Compression in the whole cache: nobody but Stats sees it, by whatever way a value is read, and
// wherever it has been meanwhile. What lies about itself is rot.
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <thread>

#include "format/entry.h"
#include "format/value_codec.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

/// Compressible, and told apart by key and version.
std::string text_of(std::string_view key, std::uint64_t version, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    text += std::string(key) + " in version " + std::to_string(version) + ", line " +
            std::to_string(text.size() / 40) + "; ";
  }
  text.resize(size);
  return text;
}

std::string noise_of(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  std::string noise(size, ' ');
  for (char& c : noise) c = static_cast<char>(random());
  return noise;
}

class CompressionTest : public CacheTest {
 protected:
  void SetUp() override {
    if (!has_codec(Codec::zstd) || !has_codec(Codec::lz4)) {
      GTEST_SKIP() << "this build does not have both codecs";
    }
    cache.reset();
    format.segment_bytes = 64_KiB;
    format.block_bytes = 512;
    format.expected_entries = 16384;
    options.max_operations = 16;
    options.compression.codec = Compression::zstd;
    make_device(4_MiB);
    open();
  }
  std::string key(int i) const { return "key " + std::to_string(i); }
};

TEST_F(CompressionTest, EveryWayToReadGivesWhatWasStored) {
  const std::string text = text_of("key", 1, 4000);
  ASSERT_TRUE(cache->store("key", text, {.ttl = std::chrono::hours(1), .flags = 7}));
  ASSERT_TRUE(cache->store_buffered("buffered", text));
  EXPECT_EQ(get("key"), text);
  EXPECT_EQ(get("buffered"), text);
  EXPECT_EQ(cache->lookup("key")->flags(), 7u);
  EXPECT_NE(cache->lookup("key")->expires_at(), 0u);
  EXPECT_EQ(get_all({"key", "none", "buffered"}),
            (std::vector<std::string>{text, "error not_found", text}));
  EXPECT_TRUE(cache->contains("key").value_or(false));
  EXPECT_EQ(std::move(cache->async_lookup("key")).get()->view(), text);
  const auto loaded = cache->lookup_or_load(
      "load", [&](std::string_view) -> Result<Loaded> { return Loaded(text); });
  EXPECT_EQ(loaded->view(), text);
  EXPECT_EQ(get("load"), text);
  std::vector<std::uint64_t> sizes;
  ASSERT_TRUE(cache->for_each_key([&](const KeyInfo& info) {
    sizes.push_back(info.value_bytes);
    return true;
  }));
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>(3, text.size())));
}

TEST_F(CompressionTest, StatsTellWhatItBrings) {
  const std::string text = text_of("key", 1, 4000);
  ASSERT_TRUE(cache->store("key", text));
  ASSERT_TRUE(cache->store("noise", noise_of(1, 4000)));
  ASSERT_TRUE(cache->store("small", std::string(100, 'a')));
  const Stats stats = cache->stats();
  EXPECT_EQ(stats.compressed, 1u);
  EXPECT_EQ(stats.compressed_bytes_before, text.size());
  EXPECT_LT(stats.compressed_bytes_after, text.size() / 4);
  EXPECT_EQ(stats.compression_not_worth, 1u);
  EXPECT_EQ(stats.user_bytes_stored, 4000 + 3 + 4000 + 5 + 100 + 5u);
  EXPECT_LT(stats.device_written_bytes, 4000 + 4000u);
}

TEST_F(CompressionTest, AnEntryMayHaveAnotherCodecThanTheCache) {
  const std::string text = text_of("key", 1, 3000);
  ASSERT_TRUE(cache->store("none", text, {.compression = Compression::none}));
  EXPECT_EQ(cache->stats().compressed, 0u);
  ASSERT_TRUE(cache->store("lz4", text, {.compression = Compression::lz4}));
  EXPECT_EQ(cache->stats().compressed, 1u);
  options.compression.codec = Compression::none;
  reopen();
  ASSERT_TRUE(cache->store("plain", text));
  EXPECT_EQ(cache->stats().compressed, 0u);
  // Named for the entry: smaller than min_bytes, and its sample looks random.
  ASSERT_TRUE(cache->store("zstd", std::string(60, 'a'), {.compression = Compression::zstd}));
  const std::string noise = noise_of(1, 1000);
  ASSERT_TRUE(cache->store("twice", noise + noise, {.compression = Compression::zstd}));
  EXPECT_EQ(cache->stats().compressed, 2u);
  for (const char* const name : {"none", "lz4", "plain"}) EXPECT_EQ(get(name), text);
  EXPECT_EQ(get("zstd"), std::string(60, 'a'));
  EXPECT_EQ(get("twice"), noise + noise);
}

TEST_F(CompressionTest, SavingTooLittleIsNotWorthIt) {
  // Half of it noise: zstd saves half, 500 bytes, less than a block.
  const std::string half = noise_of(1, 500) + std::string(500, 'x');
  options.compression.min_saving = 0.6;
  options.compression.min_bytes = 0;
  reopen();
  ASSERT_TRUE(cache->store("half", half));
  EXPECT_EQ(cache->stats().compressed, 0u);
  // As large a share, but more than a block.
  const std::string more = noise_of(1, 5000) + std::string(5000, 'x');
  ASSERT_TRUE(cache->store("more", more));
  EXPECT_EQ(cache->stats().compressed, 1u);
  ASSERT_TRUE(cache->store("empty", ""));
  for (const auto& [name, value] : {std::pair("half", half), {"more", more}, {"empty", ""}}) {
    EXPECT_EQ(get(name), value);
  }
}

TEST_F(CompressionTest, OverwritesRemovesAndRecoveryLeaveTheNewest) {
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(cache->store_buffered(key(i), text_of(key(i), round, 1000)));
    }
    ASSERT_TRUE(cache->remove_buffered(key(round)));
    ASSERT_TRUE(cache->flush_writes());
    for (const CrashPolicy policy : {CrashPolicy::lose_all, CrashPolicy::keep_all}) {
      crash(policy);
      for (int i = 0; i < 50; ++i) {
        EXPECT_EQ(get(key(i)), i == round ? "error not_found" : text_of(key(i), round, 1000));
      }
    }
    reopen();
  }
  EXPECT_EQ(cache->stats().corruptions, 0u);
}

TEST_F(CompressionTest, EvictionCopiesWhatIsWritten) {
  const std::string text = text_of("hot", 1, 20000);
  ASSERT_TRUE(cache->store("hot", text));
  const std::uint64_t compressed = cache->stats().compressed;
  const std::uint64_t entry_bytes = cache->stats().appended_entry_bytes;
  for (int i = 0; cache->stats().copied == 0 && i < 20000; ++i) {
    ASSERT_TRUE(cache->store_buffered(key(i), noise_of(std::uint64_t(i), 1000)));
    if (i % 8 == 0) {
      EXPECT_EQ(get("hot"), text);
    }
  }
  EXPECT_EQ(cache->stats().copied, 1u);
  EXPECT_EQ(cache->stats().compressed, compressed);
  EXPECT_EQ(cache->stats().copied_bytes, entry_bytes);
  EXPECT_EQ(get("hot"), text);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("hot"), text);
}

TEST_F(CompressionTest, TheMemoryTierHoldsWhatWasStored) {
  options.memory_bytes = 1_MiB;
  reopen();
  const std::string text = text_of("key", 1, 4000);
  ASSERT_TRUE(cache->store("key", text));
  EXPECT_EQ(get("key"), text);
  const std::uint64_t reads = cache->stats().device_reads;
  EXPECT_EQ(get("key"), text);
  const std::string newer = text_of("key", 2, 4000);
  ASSERT_TRUE(cache->store_buffered("key", newer));
  EXPECT_EQ(get("key"), newer);
  EXPECT_EQ(cache->stats().device_reads, reads);
  EXPECT_EQ(cache->stats().memory_hits, 2u);
}

TEST_F(CompressionTest, ValuesThatDoNotFitIntoTheReadBufferSaySo) {
  options.read_buffer_bytes = 64_KiB;
  reopen();
  const std::string text = text_of("key", 1, 50000);
  ASSERT_TRUE(cache->store("one", text));
  ASSERT_TRUE(cache->store("two", text));
  ASSERT_TRUE(cache->store("three", text));
  const auto one = cache->lookup("one");
  const auto two = cache->lookup("two");
  ASSERT_TRUE(one && one->view() == text);
  EXPECT_EQ(get("three"), "error out_of_memory");
  EXPECT_EQ(cache->stats().corruptions, 0u);
}

TEST_F(CompressionTest, ManyThreadsShareTheCodecs) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string name = key(t * 1000 + i);
        ASSERT_TRUE(cache->store_buffered(name, text_of(name, 1, 500 + 10 * i)));
        ASSERT_EQ(get(name), text_of(name, 1, 500 + 10 * i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache->stats().compressed, 400u);
}

TEST_F(CompressionTest, OptionsThatNoCodecHasAreRefused) {
  close();
  const CompressionOptions good = options.compression;
  const auto refused = [&](CompressionOptions bad) {
    options.compression = bad;
    const std::string result = outcome(try_open());
    options.compression = good;
    return result == "invalid_options";
  };
  EXPECT_TRUE(refused({.codec = Compression::none, .level = 1}));
  EXPECT_TRUE(refused({.codec = Compression::lz4, .level = -1}));
  EXPECT_TRUE(refused({.codec = Compression::zstd, .level = 20}));
  EXPECT_TRUE(refused({.codec = Compression::zstd, .min_saving = -0.1}));
  EXPECT_TRUE(refused({.codec = Compression::zstd, .min_saving = 1}));
  EXPECT_EQ(outcome(try_open()), "ok");
}

/// Writes the only entry of the image anew, as `change` wants it, under a right checksum.
template <typename Change>
int rewrite_entries(std::span<std::byte> image, const CacheId& id, const Change& change) {
  int rewritten = 0;
  for (std::size_t offset = 0; offset + sizeof(EntryHeader) <= image.size(); offset += 16) {
    for (std::uint32_t generation = 1; generation < 4; ++generation) {
      const Place place{id, offset, generation};
      const auto view = decode_entry(image.subspan(offset), place);
      if (!view || view->kind != EntryKind::value) continue;
      const std::string entry_key(view->key);
      EntryFields fields = fields_of(*view);
      fields.key = entry_key;
      const std::vector<std::byte> value(view->value.begin(), view->value.end());
      fields.value = value;
      change(fields);
      fields.value_hash = hash_value(fields.value);
      encode_entry(image.subspan(offset), fields, place);
      ++rewritten;
    }
  }
  return rewritten;
}

TEST_F(CompressionTest, WhatWaitsInMemoryIsCompressedTooAndWrittenSo) {
  options.admission = Admission::wanted_again;
  options.admission_memory_bytes = 64_KiB;
  reopen();
  const std::string text = text_of("waits", 1, 4000);
  ASSERT_TRUE(cache->store_buffered("waits", text, {.flags = 7, .stale = true}));
  EXPECT_EQ(cache->stats().waiting_entries, 1u);
  EXPECT_LT(cache->stats().waiting_bytes, text.size() / 2);
  for (int life = 1; life <= 2; ++life) {
    SCOPED_TRACE(life);
    EXPECT_EQ(get("waits"), text);
    EXPECT_EQ(cache->lookup("waits")->flags(), 7u);
    EXPECT_TRUE(cache->lookup("waits")->stale());
    (void)cache->for_each_key([&](const KeyInfo& info) {
      EXPECT_EQ(info.value_bytes, text.size());
      return true;
    });
    reopen();
    EXPECT_EQ(cache->stats().waiting_entries, 0u);
    EXPECT_EQ(cache->stats().entries, 1u) << "it was asked for, and so it has been written";
  }
}

TEST_F(CompressionTest, AnEntryThatLiesAboutItselfIsAMissForEver) {
  const auto lie = [](std::uint32_t raw_bytes) {
    return [raw_bytes](EntryFields& entry) { entry.encoding.raw_bytes = raw_bytes; };
  };
  const std::vector<std::function<void(EntryFields&)>> lies = {
      lie(0),
      lie(1),
      lie(3999),
      lie(4001),
      lie(100000),  // no value of these segments
      lie(kEntryValueBytesMax),
      [](EntryFields& entry) { entry.encoding.codec = Codec::lz4; },
      [](EntryFields& entry) { entry.encoding.codec = Codec::zstd_dictionary; },
      [](EntryFields& entry) { entry.value = entry.value.first(entry.value.size() / 2); },
  };
  for (std::size_t i = 0; i < lies.size(); ++i) {
    SCOPED_TRACE(i);
    cache.reset();
    make_device(4_MiB);
    open();
    ASSERT_TRUE(cache->store("key", text_of("key", 1, 4000)));
    close();
    std::vector<std::byte> image = device->medium().content();
    ASSERT_EQ(rewrite_entries(image, superblock().id, lies[i]), 1);
    replace_device(std::move(image));
    open();
    EXPECT_EQ(get("key"), "error not_found");
    EXPECT_EQ(cache->stats().corruptions, 1u);
    EXPECT_EQ(get("key"), "error not_found");
    EXPECT_EQ(cache->stats().corruptions, 1u);
    EXPECT_LE(cache->stats().value_heap_bytes, 0u);
  }
}

}  // namespace
}  // namespace rawcache::testing
