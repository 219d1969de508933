// Every call from many threads at once, on a cache so small that it evicts all the time. Values
// tell their key and version and are full of bytes that follow from both, so a wrong, mixed or
// overwritten value shows. Each key has one writer, which knows its newest version; readers know a
// version below which nothing may be found. Run under the thread sanitizer too.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>
#include <tuple>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

// A read that overlaps a write of a reused segment is a race of the device's memory, and meant to
// be: what was read does not verify. The sanitizer gets a device with a lock instead.
#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#else
constexpr bool kThreadSanitizer = false;
#endif

constexpr int kThreads = 8;
constexpr int kKeysPerThread = 12;
constexpr int kKeys = kThreads * kKeysPerThread;

/// Length depends on the version, so that a value of the wrong one rarely has the right size.
std::size_t size_of(std::uint64_t version) {
  return version % 37 == 0 ? 20'000 + version % 100 : 40 + version * 131 % 1800;
}

/// What stands before the device.
enum class Front : std::uint8_t { nothing, memory_tier, waiting_room };

class Concurrency : public CacheTest,
                    public ::testing::WithParamInterface<std::tuple<bool, Front>> {
 protected:
  Concurrency() {
    format.segment_bytes = 64_KiB;
    options.maintenance_thread = std::get<0>(GetParam());
    if (std::get<1>(GetParam()) != Front::nothing) options.memory_bytes = 128_KiB;
    if (std::get<1>(GetParam()) == Front::waiting_room) {
      options.admission = Admission::wanted_again;
      options.admission_memory_bytes = 16_KiB;
    }
    options.max_operations = 16;
    options.max_buffer_bytes = 64_KiB;
    options.read_gap_bytes = 4096;
    kThreadSanitizer ? make_device(2_MiB) : make_memory_device(2_MiB);
    open();
  }

  static std::string key(int k) { return "key-" + std::to_string(k); }
  static std::string value(int k, std::uint64_t version) {
    return value_of(key(k), version, size_of(version));
  }

  /// The version of a value that was found for the key; fails if it is not what was stored.
  static std::uint64_t version_in(int k, std::string_view found) {
    const std::string prefix = key(k) + "#";
    EXPECT_TRUE(found.starts_with(prefix))
        << "wanted " << prefix << ", found " << found.substr(0, 40);
    if (!found.starts_with(prefix)) return 0;
    const std::uint64_t version = std::stoull(std::string(found.substr(prefix.size(), 20)));
    EXPECT_TRUE(found == value(k, version)) << "a mixed value of " << prefix << version;
    return version;
  }
  /// Stored, or too large to wait.
  static bool is_told(const Result<void>& stored) {
    return stored ||
           (std::get<1>(GetParam()) == Front::waiting_room && stored.error() == Errc::not_admitted);
  }
  /// A miss is always right here: everything may be evicted.
  void check(int k, std::uint64_t at_least, const Result<Value>& found) {
    if (found) {
      EXPECT_GE(version_in(k, found->view()), at_least) << key(k);
    } else {
      const Errc code = found.error().code();
      EXPECT_TRUE(code == Errc::not_found || code == Errc::out_of_memory) << errc_name(code);
    }
  }

  void write_one(int thread, std::mt19937_64& random) {
    const int k = thread * kKeysPerThread + static_cast<int>(random() % kKeysPerThread);
    State& state = states_[static_cast<std::size_t>(k)];
    const std::uint64_t version = ++state.used;
    const std::string name = key(k);
    Result<void> done;
    bool removed = false;
    switch (random() % 8) {
      case 0:
        done = cache->store(name, value(k, version));
        break;
      case 1:
        removed = true;
        done = cache->remove(name);
        break;
      case 2:
        removed = true;
        done = cache->remove_buffered(name);
        break;
      default:
        done = cache->store_buffered(name, value(k, version));
    }
    EXPECT_TRUE(is_told(done)) << done.error().message();
    state.at_least = version;
    const auto found = cache->lookup(name);
    EXPECT_FALSE(removed && found) << name;
    check(k, version, found);
  }

  void read_some(std::mt19937_64& random) {
    if (random() % 3 == 0) {
      const int k = static_cast<int>(random() % kKeys);
      const std::uint64_t at_least = states_[static_cast<std::size_t>(k)].at_least;
      check(k, at_least, cache->lookup(key(k)));
      return;
    }
    std::vector<std::string> keys;
    std::vector<std::pair<int, std::uint64_t>> wanted;
    for (int i = 0; i < 20; ++i) {
      const int k = static_cast<int>(random() % kKeys);
      wanted.emplace_back(k, states_[static_cast<std::size_t>(k)].at_least);
      keys.push_back(key(k));
    }
    const auto found = cache->lookup_batch(std::span<const std::string>(keys));
    for (std::size_t i = 0; i < found.size(); ++i)
      check(wanted[i].first, wanted[i].second, found[i]);
  }

  void do_something_rare(std::mt19937_64& random) {
    switch (random() % 8) {
      case 0:
        EXPECT_TRUE(cache->clear());
        break;
      case 1:
        EXPECT_TRUE(cache->for_each_key([&](const KeyInfo& info) {
          EXPECT_TRUE(info.key.starts_with("key-")) << info.key;
          return random() % 50 != 0;
        }));
        break;
      case 2:
        EXPECT_TRUE(cache->maintain());
        break;
      case 3:
      case 4: {
        const Stats stats = cache->stats();
        EXPECT_LE(stats.entries, std::uint64_t{kKeys});
        EXPECT_LE(stats.read_buffer_leased_bytes, stats.read_buffer_bytes);
        EXPECT_LE(stats.memory_bytes, options.memory_bytes);
        EXPECT_LE(stats.waiting_bytes, stats.waiting_bytes_max);
        break;
      }
      default:
        EXPECT_TRUE(cache->flush_writes());
    }
  }

  struct State {
    std::uint64_t used = 0;                  ///< by its writer only
    std::atomic<std::uint64_t> at_least{0};  ///< nothing older may be found from now on
  };
  std::array<State, kKeys> states_;
};
std::string name_of(const ::testing::TestParamInfo<std::tuple<bool, Front>>& tested) {
  const char* const fronts[] = {"", "WithAMemoryTier", "AndAWaitingRoom"};
  return std::string(std::get<0>(tested.param) ? "ByAThread" : "ByTheCallers") +
         fronts[static_cast<int>(std::get<1>(tested.param))];
}
INSTANTIATE_TEST_SUITE_P(Maintenance, Concurrency,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Front::nothing, Front::memory_tier,
                                                              Front::waiting_room)),
                         name_of);

TEST_P(Concurrency, NoThreadEverSeesAWrongValue) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t) * 7919 + 1);
      for (int i = 0; i < 1200 && !HasFailure(); ++i) {
        const std::uint64_t dice = random() % 100;
        if (dice < 60) {
          write_one(t, random);
        } else if (dice < 98) {
          read_some(random);
        } else {
          do_something_rare(random);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Stats stats = cache->stats();
  EXPECT_GT(stats.hits, 1000u);
  EXPECT_GE(stats.memory_hits, options.memory_bytes != 0 ? 100u : 0u);
  EXPECT_EQ(stats.corruptions, 0u);
  EXPECT_EQ(stats.withdrawn, 0u);
  if (stats.waiting_bytes_max == 0) {
    EXPECT_GT(stats.device_written_bytes, 2 * stats.capacity_bytes) << "nothing was ever evicted";
  } else {
    EXPECT_GT(stats.waiting_hits, 100u);
    EXPECT_GT(stats.waiting_admitted, 10u);
  }
  reopen();
  for (int k = 0; k < kKeys; ++k) {
    check(k, states_[static_cast<std::size_t>(k)].at_least, cache->lookup(key(k)));
  }
}

TEST_P(Concurrency, ValuesStayWhatTheyWereWhileTheirSegmentsAreReused) {
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937_64 random(5);
    for (std::uint64_t version = 1; !stop; ++version) {
      const int k = static_cast<int>(random() % kKeys);
      EXPECT_TRUE(is_told(cache->store_buffered(key(k), value(k, version))));
    }
  });
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t) + 17);
      std::vector<std::pair<int, Value>> held;
      for (int i = 0; i < 600; ++i) {
        const int k = static_cast<int>(random() % kKeys);
        if (auto found = cache->lookup(key(k))) held.emplace_back(k, std::move(*found));
        if (held.size() < 20) continue;
        for (const auto& [name, kept] : held) (void)version_in(name, kept.view());
        held.erase(held.begin(), held.begin() + 10);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  stop = true;
  writer.join();
}

TEST_P(Concurrency, DirectStoresFromManyThreadsAllEnd) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (std::uint64_t i = 1; i <= 150; ++i) {
        const int k = t * kKeysPerThread + static_cast<int>(i % kKeysPerThread);
        ASSERT_TRUE(cache->store(key(k), value(k, i)));
        check(k, i, cache->lookup(key(k)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache->stats().stores, std::uint64_t{kThreads} * 150);
  EXPECT_EQ(cache->stats().store_latency.count, std::uint64_t{kThreads} * 150);
}

// Who waits for a batch sleeps while another one flushes for all. Nobody may be forgotten when that
// fails, nor who joins the failed batch before its flusher has told of it.
TEST_P(Concurrency, DirectStoresFromManyThreadsAllEndWhileEveryFewthSyncFails) {
  std::atomic<int> running{kThreads};
  std::array<std::atomic<int>, 2> ended{};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 1; i <= 300; ++i) {
        const int k = t * kKeysPerThread + static_cast<int>(i % kKeysPerThread);
        const bool stored = cache->store(key(k), value(k, i)).has_value();
        ++ended[stored ? 1 : 0];
        if (stored) check(k, i, cache->lookup(key(k)));
      }
      --running;
    });
  }
  for (std::uint64_t round = 0; running > 0; ++round) {
    faults().fail(FaultyDisk::Op::sync, 1 + round % 5, EIO);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended[0] + ended[1], kThreads * 300);
  EXPECT_GT(ended[0], 0) << "no store has met a failure";
  EXPECT_GT(ended[1], 0) << "no store has met anything else";
}

}  // namespace
}  // namespace rawcache::testing
