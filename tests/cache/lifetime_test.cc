// Keys and values at their limits, expiry, clear and close: what the public API promises beside the
// contracts of durability.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

using std::chrono::seconds;

class Lifetime : public SmallCacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
};

// --- Keys and values ---

TEST_F(Lifetime, AnyBytesMakeAKeyAndAValue) {
  const std::string nul("a\0b\0", 4);
  const std::string crlf = "GET / HTTP/1.1\r\n\r\n";
  const std::string high = "\xFF\xFE\x80";
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  ASSERT_TRUE(cache->store(nul, all_bytes));
  ASSERT_TRUE(cache->store(crlf, ""));
  ASSERT_TRUE(cache->store_buffered(high, nul));
  ASSERT_TRUE(cache->store(std::string(kKeyBytesMax, 'k'), "the longest key"));
  ASSERT_TRUE(cache->store("a", "not the key with a NUL in it"));
  for (const bool reopened : {false, true}) {
    if (reopened) reopen();
    EXPECT_EQ(get(nul), all_bytes);
    EXPECT_EQ(get(crlf), "");
    EXPECT_EQ(get(high), nul);
    EXPECT_EQ(get(std::string(kKeyBytesMax, 'k')), "the longest key");
    EXPECT_EQ(get("a"), "not the key with a NUL in it");
    EXPECT_EQ(all_keys().size(), 5u);
  }
  const auto empty = cache->lookup(crlf);
  ASSERT_TRUE(empty) << "an empty value is not a miss";
  EXPECT_TRUE(empty->empty());
  EXPECT_TRUE(cache->contains(crlf).value());
}

TEST_F(Lifetime, EmptyAndTooLongKeysAreRefusedByEveryCall) {
  const std::string long_key(kKeyBytesMax + 1, 'k');
  for (const auto& [bad, code] :
       {std::pair{std::string(), "key_empty"}, std::pair{long_key, "key_too_long"}}) {
    EXPECT_EQ(outcome(cache->store(bad, "v")), code);
    EXPECT_EQ(outcome(cache->store_buffered(bad, "v")), code);
    EXPECT_EQ(outcome(cache->remove(bad)), code);
    EXPECT_EQ(outcome(cache->remove_buffered(bad)), code);
    EXPECT_EQ(outcome(cache->lookup(bad)), code);
    EXPECT_EQ(outcome(cache->contains(bad)), code);
  }
  ASSERT_TRUE(cache->store("good", "v"));
  EXPECT_EQ(get_all({"", "good", long_key}),
            (std::vector<std::string>{"error key_empty", "v", "error key_too_long"}));
  EXPECT_NE(cache->store(long_key, "v").error().message().find("8192"), std::string::npos);
  EXPECT_EQ(cache->stats().pending_writes, 0u);
}

TEST_F(Lifetime, AValueOfTheLargestSizeFitsAndOneByteMoreIsToldTheLimit) {
  for (const std::size_t key_bytes : {std::size_t{1}, std::size_t{100}, kKeyBytesMax}) {
    const std::string name(key_bytes, 'k');
    const std::uint64_t limit = cache->value_bytes_max(key_bytes);
    ASSERT_GT(limit, 40'000u);
    const std::string value = value_of("v", key_bytes, limit);
    const std::string too_large = value + "+";
    for (const seconds ttl : {seconds(0), seconds(100)}) {
      ASSERT_EQ(outcome(cache->store(name, value, {.ttl = ttl})), "ok") << key_bytes;
      EXPECT_EQ(get(name), value);
      ASSERT_EQ(outcome(cache->store_buffered(name, value, {.ttl = ttl})), "ok");
      EXPECT_EQ(get(name), value);
    }
    const auto refused = cache->store(name, too_large);
    EXPECT_EQ(outcome(refused), "value_too_large");
    EXPECT_NE(refused.error().message().find(std::to_string(limit)), std::string::npos)
        << refused.error().message();
    EXPECT_EQ(outcome(cache->store_buffered(name, too_large)), "value_too_large");
    EXPECT_EQ(get(name), value) << "a refused store changes nothing";
    crash(CrashPolicy::lose_all);
    EXPECT_EQ(get(name), value);
  }
}

TEST_F(Lifetime, BatchesMayBeEmptyAndRepeatKeys) {
  EXPECT_TRUE(cache->lookup_batch(std::span<const std::string>()).empty());
  ASSERT_TRUE(cache->store("a", "1"));
  ASSERT_TRUE(cache->store_buffered("b", "2"));
  const std::vector<std::string_view> keys{"b", "a", "x", "a", "b", "a"};
  std::vector<std::string> texts;
  for (const auto& value : cache->lookup_batch(keys)) texts.push_back(text(value));
  EXPECT_EQ(texts, (std::vector<std::string>{"2", "1", "error not_found", "1", "2", "1"}));
}

// --- User flags ---

TEST_F(Lifetime, FlagsStayWithTheirValueThroughBufferDiskCrashAndCheckpoint) {
  ASSERT_TRUE(cache->store("direct", "1", {.flags = 0xFFFFFFFF}));
  ASSERT_TRUE(cache->store_buffered("both", "2", {.ttl = seconds(100), .flags = 7}));
  ASSERT_TRUE(cache->store_buffered("none", "3"));
  const auto expect_flags = [&] {
    const std::vector<std::string_view> keys{"none", "direct", "both"};
    const auto values = cache->lookup_batch(keys);
    ASSERT_TRUE(values[0] && values[1] && values[2]);
    EXPECT_EQ(values[0]->flags(), 0u);
    EXPECT_EQ(values[1]->flags(), 0xFFFFFFFF);
    EXPECT_EQ(values[2]->flags(), 7u);
    EXPECT_EQ(values[2]->expires_at(), static_cast<std::uint32_t>(clock + 100));
    EXPECT_EQ(cache->lookup("direct")->flags(), 0xFFFFFFFF);
    std::map<std::string, std::uint32_t> seen;
    ASSERT_TRUE(cache->for_each_key([&](const KeyInfo& info) {
      seen[std::string(info.key)] = info.flags;
      return true;
    }));
    EXPECT_EQ(seen, (std::map<std::string, std::uint32_t>{
                        {"direct", 0xFFFFFFFF}, {"both", 7}, {"none", 0}}));
  };
  expect_flags();
  ASSERT_TRUE(cache->flush_writes());
  expect_flags();
  crash(CrashPolicy::lose_all);
  expect_flags();
  reopen();
  expect_flags();
}

// --- Expiry ---

TEST_F(Lifetime, EntriesExpireAtTheirSecondAndNotBefore) {
  options.default_ttl = seconds(50);
  reopen();
  ASSERT_TRUE(cache->store("own", "v", {.ttl = seconds(10)}));
  ASSERT_TRUE(cache->store_buffered("default", "v"));
  ASSERT_TRUE(cache->store("never", "v", {.ttl = seconds(-1)}));
  const std::int64_t start = clock;
  EXPECT_EQ(cache->lookup("own")->expires_at(), static_cast<std::uint32_t>(start + 10));
  EXPECT_EQ(cache->lookup("default")->expires_at(), static_cast<std::uint32_t>(start + 50));
  EXPECT_EQ(cache->lookup("never")->expires_at(), 0u);
  const std::vector<std::string> keys{"own", "default", "never"};
  const std::string gone = "error not_found";
  const auto expect = [&](std::int64_t at, const std::vector<std::string>& texts) {
    clock = start + at;
    EXPECT_EQ(get_all(keys), texts) << at;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(get(keys[i]), texts[i]) << at;
      EXPECT_EQ(cache->contains(keys[i]).value(), texts[i] == "v") << at;
      EXPECT_EQ(all_keys().contains(keys[i]), texts[i] == "v") << at;
    }
  };
  expect(9, {"v", "v", "v"});
  expect(10, {gone, "v", "v"});
  reopen();
  expect(49, {gone, "v", "v"});
  expect(50, {gone, gone, "v"});
  crash(CrashPolicy::lose_all);
  expect(1'000'000, {gone, gone, "v"});
}

TEST_F(Lifetime, AnOverwriteSetsTheLifeAnew) {
  ASSERT_TRUE(cache->store("key", "short", {.ttl = seconds(10)}));
  ASSERT_TRUE(cache->store("key", "long"));
  clock += 100;
  EXPECT_EQ(get("key"), "long");
  ASSERT_TRUE(cache->store("key", "short", {.ttl = seconds(10)}));
  clock += 10;
  EXPECT_EQ(get("key"), "error not_found") << "and not the longer-lived value before";
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get("key"), "error not_found");
}

TEST_F(Lifetime, AClockSetBackRevivesNothing) {
  ASSERT_TRUE(cache->store("key", "v", {.ttl = seconds(10)}));
  clock += 20;
  EXPECT_EQ(get("key"), "error not_found");
  clock -= 20;
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->store("key", "v", {.ttl = seconds(10)}));
  clock += 40;
  reopen();  // the time goes with the checkpoint
  clock -= 1000;
  reopen();
  EXPECT_EQ(get("key"), "error not_found");
  ASSERT_TRUE(cache->store("other", "v", {.ttl = seconds(10)}));
  EXPECT_EQ(get("other"), "v") << "its life counts from the time that the cache knows";
}

TEST_F(Lifetime, ALifeBeyondTheCalendarIsForEver) {
  ASSERT_TRUE(cache->store("key", "v", {.ttl = seconds(std::int64_t{1} << 40)}));
  ASSERT_TRUE(cache->store("max", "v", {.ttl = seconds::max()}));
  clock += 200 * 365 * 86400LL;
  EXPECT_EQ(get("key"), "v");
  EXPECT_EQ(get("max"), "v");
}

// --- Clear ---

TEST_F(Lifetime, ClearIsDurableAndWhatFollowsItStays) {
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "before"));
  ASSERT_TRUE(cache->flush_writes());
  for (std::uint64_t i = 50; i < 60; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "buffered"));
  ASSERT_TRUE(cache->clear());
  EXPECT_TRUE(all_keys().empty());
  EXPECT_EQ(cache->stats().entries, 0u);
  EXPECT_EQ(cache->stats().pending_writes, 0u);
  EXPECT_EQ(cache->stats().blocks_used, 0u);
  crash(CrashPolicy::lose_all);
  EXPECT_TRUE(all_keys().empty());
  ASSERT_TRUE(cache->store_buffered(key(1), "after"));
  ASSERT_TRUE(cache->clear());
  ASSERT_TRUE(cache->store(key(2), "after"));
  ASSERT_TRUE(cache->store_buffered(key(3), "after"));
  ASSERT_TRUE(cache->flush_writes());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(all_keys(), (std::set<std::string>{key(2), key(3)})) << i;
    EXPECT_EQ(get(key(2)), "after");
    i % 2 == 0 ? crash(CrashPolicy::lose_all) : reopen();
  }
}

TEST_F(Lifetime, APowerCutDuringClearLeavesAllOrNothing) {
  bool all = false;
  bool nothing = false;
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    make_device(1_MiB);
    open();
    for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "v"));
    ASSERT_TRUE(cache->flush_writes());
    std::mt19937_64 random(seed);
    std::vector<std::byte> image;
    device->at_each_request([&](const FaultyDisk::Event& event) {
      if (event.op != FaultyDisk::Op::sync || !image.empty()) return;
      image = device->medium().crash(random, CrashPolicy::any_torn);
    });
    ASSERT_TRUE(cache->clear());
    replace_device(std::move(image));
    open();
    const std::size_t found = all_keys().size();
    ASSERT_TRUE(found == 0 || found == 30) << found;
    (found == 0 ? nothing : all) = true;
    reopen();
    ASSERT_EQ(all_keys().size(), found);
    cache.reset();
  }
  EXPECT_TRUE(all && nothing);
}

TEST_F(Lifetime, AFailedClearRemovesNothingAndWhatFollowsItIsDurable) {
  for (const auto op : {FaultyDisk::Op::write, FaultyDisk::Op::sync}) {
    ASSERT_TRUE(cache->store("durable", "v"));
    ASSERT_TRUE(cache->store_buffered("buffered", "v"));
    faults().fail(op, 1, EIO);
    EXPECT_FALSE(cache->clear());
    EXPECT_EQ(get_all({"durable", "buffered"}), (std::vector<std::string>{"v", "v"}));
    ASSERT_TRUE(cache->store("after", "acknowledged"));
    // The superblock that could not be synced may be on the medium all the same. Then everything
    // before the clear is gone, but nothing after it.
    crash(CrashPolicy::keep_all);
    EXPECT_EQ(get("after"), "acknowledged") << (op == FaultyDisk::Op::sync ? "sync" : "write");
    ASSERT_TRUE(cache->store("last", "acknowledged"));
    reopen();
    EXPECT_EQ(get("last"), "acknowledged");
    EXPECT_EQ(get("after"), "acknowledged");
  }
}

TEST_F(Lifetime, AClearOutlivesTheLossOfEitherSuperblock) {
  ASSERT_TRUE(cache->store("key", "v"));
  ASSERT_TRUE(cache->clear());
  const std::vector<std::byte> cut = device->medium().durable_content();
  close();  // the checkpoint knows, too
  const std::vector<std::byte> closed = device->medium().content();
  for (const std::vector<std::byte>& image : {cut, closed}) {
    for (const std::uint64_t copy : kSuperblockOffsets) {
      replace_device(image);
      device->wipe({copy, 512});
      open();
      EXPECT_EQ(get("key"), "error not_found");
      EXPECT_TRUE(all_keys().empty());
      close();
    }
  }
}

TEST_F(Lifetime, WhatOneSuperblockHasMissedIsMadeGoodByTheNextMaintenance) {
  const auto check = [&](const std::function<Result<void>()>& call, bool due) {
    make_device(2_MiB);
    open();
    ASSERT_TRUE(cache->store("key", "v"));
    faults().fail(FaultyDisk::Op::write, 2, EIO);
    ASSERT_TRUE(call());
    ASSERT_EQ(faults().failures(), 1u);
    ASSERT_TRUE(cache->maintain());
    const std::vector<std::byte> image = device->medium().durable_content();
    for (const std::uint64_t copy : kSuperblockOffsets) {
      replace_device(image);
      device->wipe({copy, 512});
      open();
      EXPECT_EQ(get("key"), due ? "error not_found" : "v");
      clock += 100;
      EXPECT_EQ(get("key"), "error not_found");
      clock -= 100;
    }
  };
  check([&] { return cache->clear(); }, true);
  check([&] { return cache->clear_at(clock + 50); }, false);
}

// --- Close ---

TEST_F(Lifetime, AfterCloseEveryCallSaysSo) {
  ASSERT_TRUE(cache->store("key", "value"));
  ASSERT_TRUE(cache->store_buffered("buffered", "value"));
  ASSERT_TRUE(cache->close());
  EXPECT_EQ(outcome(cache->store("key", "v")), "closed");
  EXPECT_EQ(outcome(cache->store_buffered("key", "v")), "closed");
  EXPECT_EQ(outcome(cache->remove("key")), "closed");
  EXPECT_EQ(outcome(cache->remove_buffered("key")), "closed");
  EXPECT_EQ(outcome(cache->flush_writes()), "closed");
  EXPECT_EQ(outcome(cache->lookup("key")), "closed");
  EXPECT_EQ(get_all({"key", "buffered"}),
            (std::vector<std::string>{"error closed", "error closed"}));
  EXPECT_EQ(outcome(cache->contains("key")), "closed");
  EXPECT_EQ(outcome(cache->clear()), "closed");
  EXPECT_EQ(outcome(cache->for_each_key([](const KeyInfo&) { return true; })), "closed");
  EXPECT_EQ(outcome(cache->maintain()), "closed");
  EXPECT_EQ(outcome(cache->close()), "ok") << "closing twice is harmless";
  EXPECT_EQ(cache->stats().stores, 1u) << "the statistics stay";
  EXPECT_GT(cache->value_bytes_max(), 0u);
  cache.reset();
  open();
  EXPECT_EQ(get("buffered"), "value") << "close flushes";
}

TEST_F(Lifetime, TheDestructorCloses) {
  ASSERT_TRUE(cache->store_buffered("key", "value"));
  cache.reset();
  open();
  EXPECT_EQ(get("key"), "value");
  EXPECT_EQ(cache->stats().recovery_entries_replayed, 0u) << "it was an orderly close";
}

TEST_F(Lifetime, ForEachKeyStopsWhenToldAndMayCallTheCache) {
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "v"));
  int calls = 0;
  ASSERT_TRUE(cache->for_each_key([&](const KeyInfo&) { return ++calls < 10; }));
  EXPECT_EQ(calls, 10);
  ASSERT_TRUE(cache->for_each_key([&](const KeyInfo& info) {
    EXPECT_TRUE(cache->remove_buffered(info.key));
    return true;
  }));
  EXPECT_TRUE(all_keys().empty());
}

TEST(LifetimeOfAFile, IsOpenedByOneAtATime) {
  const auto path =
      std::filesystem::temp_directory_path() / ("rawcache-lifetime-" + std::to_string(::getpid()));
  std::filesystem::remove(path);
  Options options;
  options.create_if_missing = true;
  options.format.capacity = 4_MiB;
  options.read_buffer_bytes = 1_MiB;
  {
    auto first = RawDiskCache::open(path.string(), options);
    ASSERT_TRUE(first) << first.error().message();
    const auto second = RawDiskCache::open(path.string(), options);
    ASSERT_FALSE(second);
    EXPECT_EQ(outcome(second), "already_open");
    ASSERT_TRUE(first->store("key", "value"));
    ASSERT_TRUE(first->close());
  }
  auto again = RawDiskCache::open(path.string(), options);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(text(again->lookup("key")), "value");
  ASSERT_TRUE(again->close());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace rawcache::testing
