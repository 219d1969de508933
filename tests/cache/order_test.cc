// C10 and C11: what was written is seen at once, and of two writes of one key the later call wins,
// whatever calls they came by. Random mixtures of every call are compared with a std::map after
// each step.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

class Order : public SmallCacheTest {};

TEST_F(Order, TheLaterCallWinsInEveryMixtureOfTwo) {
  using Call = std::function<std::string(RawDiskCache&, const std::string&, int)>;
  // Each returns what is to be found afterwards.
  const std::vector<Call> calls{
      [](RawDiskCache& c, const std::string& key, int n) {
        EXPECT_TRUE(c.store(key, "direct " + std::to_string(n)));
        return "direct " + std::to_string(n);
      },
      [](RawDiskCache& c, const std::string& key, int n) {
        EXPECT_TRUE(c.store_buffered(key, "buffered " + std::to_string(n)));
        return "buffered " + std::to_string(n);
      },
      [](RawDiskCache& c, const std::string& key, int n) {
        EXPECT_TRUE(c.store(key, "urgent " + std::to_string(n), {.priority = Priority::urgent}));
        return "urgent " + std::to_string(n);
      },
      [](RawDiskCache& c, const std::string& key, int n) {
        EXPECT_TRUE(
            c.store_buffered(key, "at once " + std::to_string(n), {.priority = Priority::urgent}));
        return "at once " + std::to_string(n);
      },
      [](RawDiskCache& c, const std::string& key, int) {
        EXPECT_TRUE(c.remove(key));
        return std::string("error not_found");
      },
      [](RawDiskCache& c, const std::string& key, int) {
        EXPECT_TRUE(c.remove_buffered(key));
        return std::string("error not_found");
      }};
  cache.reset();
  make_device(8_MiB);  // each of them takes a block
  open();
  std::map<std::string, std::string> expected;
  int n = 0;
  for (const Call& first : calls) {
    for (const Call& second : calls) {
      for (const Call& third : calls) {
        const std::string key = "key " + std::to_string(++n);
        for (const Call* call : {&first, &second, &third}) {
          expected[key] = (*call)(*cache, key, ++n);
          EXPECT_EQ(get(key), expected[key]);
        }
      }
    }
  }
  ASSERT_TRUE(cache->flush_writes());
  for (const auto& [key, value] : expected) EXPECT_EQ(get(key), value) << key;
  crash(CrashPolicy::lose_all);
  for (const auto& [key, value] : expected) EXPECT_EQ(get(key), value) << key;
}

class RandomOrder : public Order, public ::testing::WithParamInterface<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Order, RandomOrder, ::testing::Range<std::uint64_t>(1, 9));

TEST_P(RandomOrder, MixturesOfAllCallsBehaveLikeAMap) {
  std::mt19937_64 random(GetParam());
  options.max_operations = GetParam() % 2 == 0 ? 5 : 32;
  make_device(8_MiB);  // larger than what is written: nothing is evicted
  open();
  std::map<std::string, std::string> model;
  const auto pick = [&] { return "key " + std::to_string(random() % 60); };
  const auto expected = [&](const std::string& key) {
    const auto found = model.find(key);
    return found == model.end() ? "error not_found" : found->second;
  };
  for (std::uint64_t step = 0; step < 1500; ++step) {
    const std::string key = pick();
    const std::string value = value_of(key, step, random() % 2000);
    switch (random() % 12) {
      case 0:
        ASSERT_TRUE(cache->store(key, value, {.priority = static_cast<Priority>(step % 2)}));
        model[key] = value;
        break;
      case 1:
      case 2:
      case 3:
      case 4:
        ASSERT_TRUE(cache->store_buffered(key, value));
        model[key] = value;
        break;
      case 5:
        ASSERT_TRUE(cache->remove(key));
        model.erase(key);
        break;
      case 6:
        ASSERT_TRUE(cache->remove_buffered(key));
        model.erase(key);
        break;
      case 7: {
        std::vector<std::string> keys;
        for (int i = 0; i < 20; ++i) keys.push_back(pick());
        const auto found = get_all(keys);
        for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(found[i], expected(keys[i]));
        break;
      }
      case 8:
        ASSERT_EQ(cache->contains(key).value(), model.contains(key));
        break;
      case 9:
        if (random() % 4 != 0) {
          ASSERT_TRUE(cache->maintain());
        } else {
          ASSERT_TRUE(cache->flush_writes());
        }
        break;
      case 10:
        if (random() % 100 == 0) {
          ASSERT_TRUE(cache->clear());
          model.clear();
        } else if (random() % 60 == 0) {
          ASSERT_NO_FATAL_FAILURE(reopen());
        }
        break;
      default:
        if (random() % 40 == 0) {
          std::set<std::string> keys;
          for (const auto& [name, unused] : model) keys.insert(name);
          ASSERT_EQ(all_keys(), keys) << step;
        }
    }
    ASSERT_EQ(get(key), expected(key)) << step;
    ASSERT_EQ(cache->stats().entries, model.size()) << step;
  }
}

TEST_F(Order, AnotherThreadSeesAWriteAtOnce) {
  for (int i = 0; i < 200; ++i) {
    const std::string value = std::to_string(i);
    ASSERT_TRUE(i % 3 == 0 ? cache->store("key", value) : cache->store_buffered("key", value));
    std::thread([&] { EXPECT_EQ(get("key"), value); }).join();
  }
}

TEST_F(Order, ConcurrentStoresShareSyncs) {
  faults().set_sync_delay(std::chrono::milliseconds(2));
  constexpr int kThreads = 8;
  constexpr int kStores = 12;
  const Stats before = cache->stats();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kStores; ++i) {
        const std::string key = std::to_string(t) + "/" + std::to_string(i);
        EXPECT_TRUE(cache->store(key, value_of(key, 1, 100)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  faults().set_sync_delay(std::chrono::nanoseconds(0));
  const Stats after = cache->stats();
  EXPECT_EQ(after.stores - before.stores, std::uint64_t(kThreads * kStores));
  EXPECT_LT(after.device_syncs - before.device_syncs, std::uint64_t(kThreads * kStores / 2));
  EXPECT_EQ(after.flushed_writes - before.flushed_writes, std::uint64_t(kThreads * kStores));
  EXPECT_EQ(after.store_latency.count - before.store_latency.count,
            std::uint64_t(kThreads * kStores));
  crash(CrashPolicy::lose_all);
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kStores; ++i) {
      const std::string key = std::to_string(t) + "/" + std::to_string(i);
      EXPECT_EQ(get(key), value_of(key, 1, 100));
    }
  }
}

}  // namespace
}  // namespace rawcache::testing
