// The shared dictionary in the whole cache: made from its own values, kept on the device, named by
// entries. Whatever becomes of it, no value is ever wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <tuple>

#include "format/dictionary.h"
#include "format/value_codec.h"
#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class DictionaryTest : public CacheTest {
 protected:
  /// Enough to learn from, too few for maintenance to do so by itself.
  static constexpr std::uint64_t kMany = 1200;

  void SetUp() override {
    if (!has_codec(Codec::zstd_dictionary)) GTEST_SKIP() << "this build does not have zstd";
    cache.reset();
    format.expected_entries = 16384;
    options.max_operations = 256;
    options.compression = {.codec = Compression::zstd, .dictionary = true};
    make_device(8_MiB);
    open();
  }
  static std::string key(std::uint64_t i) { return "user/" + std::to_string(i); }
  /// As services store it: 300 bytes, of which some 50 tell anything.
  static std::string json(std::uint64_t i, const std::string& kind = "account") {
    std::uint64_t random = (i + 1) * 0x9E3779B97F4A7C15;
    const auto number = [&](std::uint64_t below) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      return std::to_string((random >> 33) % below);
    };
    return "{\"kind\":\"" + kind + "\",\"id\":" + number(10'000'000) + ",\"name\":\"user " +
           number(100'000) + "\",\"email\":\"" + number(100'000) +
           "@example.com\",\"created_at\":\"2026-01-1" + number(10) + "T0" + number(10) +
           ":00:00Z\",\"active\":true,\"score\":" + number(10'000) +
           ",\"roles\":[\"reader\",\"writer\"],\"settings\":{\"theme\":\"dark\",\"language\":"
           "\"en\",\"notifications\":false},\"visits\":" +
           number(100'000) + "}";
  }
  void store_many(std::uint64_t first = 0, const std::string& kind = "account") {
    for (std::uint64_t i = first; i < first + kMany; ++i) {
      ASSERT_TRUE(cache->store_buffered(key(i), json(i, kind)));
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  /// How many are found; none may be wrong.
  std::uint64_t found(std::uint64_t first = 0, const std::string& kind = "account") {
    std::uint64_t hits = 0;
    for (std::uint64_t i = first; i < first + kMany; ++i) {
      const auto value = cache->lookup(key(i));
      if (!value) continue;
      EXPECT_EQ(value->view(), json(i, kind));
      ++hits;
    }
    return hits;
  }
};

TEST_F(DictionaryTest, MaintenanceMakesTheFirstAndValuesTakeLessThanHalfOfWhatTheyTook) {
  store_many();
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().dictionaries, 0u);
  const std::uint64_t before = cache->stats().compressed_bytes_after;
  store_many(kMany);
  ASSERT_TRUE(cache->maintain());
  EXPECT_EQ(cache->stats().dictionaries, 1u);
  const std::uint64_t between = cache->stats().compressed_bytes_after;
  store_many(2 * kMany);
  EXPECT_LT((cache->stats().compressed_bytes_after - between) * 2, before);
  EXPECT_EQ(found(0) + found(kMany) + found(2 * kMany), 3 * kMany);
  reopen();
  EXPECT_EQ(cache->stats().dictionaries, 1u);
  EXPECT_EQ(found(0) + found(kMany) + found(2 * kMany), 3 * kMany);
  store_many();
  EXPECT_LT(cache->stats().compressed_bytes_after * 2, before);
  store_many(3 * kMany);
  ASSERT_TRUE(cache->maintain());  // one is enough
  EXPECT_EQ(cache->stats().dictionaries, 1u);
  EXPECT_EQ(cache->stats().dictionary_misses, 0u);
}

TEST_F(DictionaryTest, IsReadWhateverTheOptionsAre) {
  store_many();
  ASSERT_TRUE(cache->train_dictionary());
  store_many();
  options.compression = {};
  reopen();
  EXPECT_EQ(found(), kMany);
  EXPECT_EQ(cache->lookup_batch(std::vector<std::string>{key(1), key(2)})[1]->view(), json(2));
  ASSERT_TRUE(cache->store("plain", json(1)));
  EXPECT_EQ(cache->stats().compressed, 0u);
}

TEST_F(DictionaryTest, OlderOnesServeUntilTheirSlotIsTaken) {
  const std::uint32_t slots = dictionary_area(format.block_bytes).slots;
  for (std::uint32_t i = 0; i <= slots; ++i) {
    SCOPED_TRACE(i);
    store_many(0, "kind " + std::to_string(i % 2));
    ASSERT_TRUE(cache->train_dictionary());
    EXPECT_EQ(cache->stats().dictionaries, std::min(i + 1, slots));
    ASSERT_TRUE(cache->store(key(100'000 + i), json(100'000 + i)));
    EXPECT_EQ(found(0, "kind " + std::to_string(i % 2)), kMany);
  }
  // Of six dictionaries the first is gone, and with it what was compressed with it.
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(get(key(100'000)), "error not_found");
    EXPECT_EQ(cache->stats().dictionary_misses, pass == 0 ? 1u : 0u);
    for (std::uint32_t i = 1; i <= slots; ++i) {
      EXPECT_EQ(get(key(100'000 + i)), json(100'000 + i));
    }
    EXPECT_EQ(cache->stats().corruptions, 0u);
    reopen();
  }
}

TEST_F(DictionaryTest, OneCopyIsEnoughAndWithoutBothThereAreMisses) {
  store_many();
  ASSERT_TRUE(cache->train_dictionary());
  store_many();
  close();
  for (int copy = 0; copy < 2; ++copy) {
    device->wipe({dictionary_offset(format.block_bytes, 0, copy) + 4096, 4096}, std::byte{0x55});
    open();
    EXPECT_EQ(cache->stats().dictionaries, copy == 0 ? 1u : 0u);
    if (copy == 0) {
      EXPECT_EQ(found(), kMany);
    }
    close();
  }
  open();
  EXPECT_EQ(found(), 0u);
  EXPECT_EQ(cache->stats().dictionary_misses, kMany);
  EXPECT_EQ(cache->stats().corruptions, 0u);
  EXPECT_EQ(cache->stats().entries, 0u);
  // A new one gets the same version, and is still no other's.
  store_many(kMany, "other");
  ASSERT_TRUE(cache->train_dictionary());
  EXPECT_EQ(found(kMany, "other"), kMany);
}

TEST_F(DictionaryTest, APowerCutWhileOneIsWrittenCostsNothing) {
  store_many();
  ASSERT_TRUE(cache->train_dictionary());
  store_many();
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    faults().fail(FaultyDisk::Op::sync, 1, EIO);
    EXPECT_EQ(outcome(cache->train_dictionary()), "sync_failed");
    crash(seed % 2 == 0 ? CrashPolicy::any_garbage : CrashPolicy::any_torn, seed);
    EXPECT_GE(cache->stats().dictionaries, 1u);
    EXPECT_EQ(found(), kMany);
  }
}

// Somebody stores while a dictionary is written. A write of it that fails does not concern them; a
// sync that fails may be that of what they have written, and is told once.
TEST_F(DictionaryTest, ThatCannotBeWrittenFailsWhoStoresOnlyIfItsSyncFailed) {
  using Op = FaultyDisk::Op;
  for (const auto& [op, training, storing] :
       {std::tuple{Op::write, "io_error", "ok"}, {Op::sync, "sync_failed", "sync_failed"}}) {
    SCOPED_TRACE(training);
    store_many();
    const std::string meanwhile = std::string("while training: ") + training;
    std::string stored;
    std::thread thread;
    device->at_each_request([&, wanted = op](const FaultyDisk::Event& event) {
      if (event.op != wanted || thread.joinable()) return;
      thread = std::thread([&] { stored = outcome(cache->store(meanwhile, "value")); });
      while (get(meanwhile) != "value") std::this_thread::yield();  // it waits to be flushed
      faults().fail(wanted, 1, EIO);
    });
    EXPECT_EQ(outcome(cache->train_dictionary()), training);
    ASSERT_TRUE(thread.joinable());
    thread.join();
    device->at_each_request({});
    EXPECT_EQ(stored, storing);
    EXPECT_EQ(cache->stats().dictionaries, 0u);
    const std::string found = stored == "ok" ? "value" : "error not_found";
    EXPECT_EQ(get(meanwhile), found);
    crash(CrashPolicy::lose_all);
    EXPECT_EQ(get(meanwhile), found);
  }
}

TEST_F(DictionaryTest, ThatOfAnotherCacheIsNotTaken) {
  store_many();
  ASSERT_TRUE(cache->train_dictionary());
  close();
  ASSERT_TRUE(RawDiskCache::format(device->medium(), format));
  open();
  EXPECT_EQ(cache->stats().dictionaries, 0u);
}

TEST_F(DictionaryTest, TooLittleToLearnFromIsSaid) {
  ASSERT_TRUE(cache->store("one", json(1)));
  EXPECT_EQ(outcome(cache->train_dictionary()), "not_supported");
  EXPECT_EQ(cache->stats().dictionaries, 0u);
  cache->close();
  EXPECT_EQ(outcome(cache->train_dictionary()), "closed");
  cache.reset();
  format.block_bytes = 65536;
  format.segment_bytes = 0;
  make_device(64_MiB);
  open();
  store_many();
  EXPECT_EQ(outcome(cache->train_dictionary()), "not_supported");
  EXPECT_EQ(found(), kMany);
}

}  // namespace
}  // namespace rawcache::testing
