// Admission and the budget in the whole cache: what is not written is told or counted, and a value
// that an unwritten or refused one has replaced never comes back (C6), not by a crash either.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <thread>

#include "support/cache_fixture.h"

namespace rawcache::testing {
namespace {

constexpr std::size_t kSize = 1000;

class AdmissionTest : public CacheTest {
 protected:
  static std::string key(std::uint64_t i) { return "key " + std::to_string(i); }
  static std::string value(std::uint64_t i, std::uint64_t version = 1) {
    return value_of(key(i), version, kSize);
  }

  void SetUp() override {
    format.segment_bytes = 64_KiB;
    format.block_bytes = 512;
    format.expected_entries = 16384;
    options.max_operations = 16;
    options.monotonic_now = [this] { return time_ns; };
    make_device(4_MiB);
    be_selective();
    open();
  }
  virtual void be_selective() {
    options.admission = Admission::wanted_again;
    options.admission_memory_bytes = 64_KiB;
  }
  StoredIn store_buffered(std::uint64_t i, std::uint64_t version = 1) {
    StoredIn where = StoredIn::log;
    const auto stored = cache->store_buffered(key(i), value(i, version), {.stored_in = &where});
    EXPECT_TRUE(stored) << stored.error().message();
    return where;
  }
  /// Stores so many keys that nobody asks for, which push out what waits.
  void push_out(std::uint64_t count = 100) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::string name = "other " + std::to_string(others++);
      ASSERT_TRUE(cache->store_buffered(name, value_of(name, 1, kSize)));
    }
  }

  /// Calls of every kind, restarts and power cuts; fails if anything older than the last call of a
  /// key is found.
  void call_at_random(std::uint64_t seed);

  std::uint64_t time_ns = 1;
  std::uint64_t waiting_hits = 0;
  std::uint64_t others = 0;
};

TEST_F(AdmissionTest, AValueThatNobodyAsksForIsReadableForAWhileAndNeverWritten) {
  const std::uint64_t before = cache->stats().device_written_bytes;
  EXPECT_EQ(store_buffered(1), StoredIn::memory);
  EXPECT_EQ(all_keys(), std::set<std::string>{key(1)});
  push_out(1000);
  ASSERT_TRUE(cache->flush_writes());
  EXPECT_EQ(get(key(1)), "error not_found");
  const Stats stats = cache->stats();
  EXPECT_EQ(stats.device_written_bytes, before);
  EXPECT_EQ(stats.waiting_dropped + stats.waiting_entries, 1001u) << "every one is counted";
  EXPECT_LE(stats.waiting_bytes, 64_KiB);
  EXPECT_EQ(stats.waiting_admitted, 0u);
}

TEST_F(AdmissionTest, WhatIsAskedForIsWrittenInTimeAndKeepsAllThatBelongsToIt) {
  StoredIn where = StoredIn::log;
  ASSERT_TRUE(cache->store_buffered(
      key(1), value(1), {.ttl = std::chrono::seconds(1000), .flags = 7, .stored_in = &where}));
  EXPECT_EQ(where, StoredIn::memory);
  const auto before = cache->lookup(key(1));
  ASSERT_TRUE(before);
  push_out();
  EXPECT_EQ(cache->stats().waiting_admitted, 1u);
  EXPECT_EQ(cache->stats().waiting_hits, 1u);
  const auto after = cache->lookup(key(1));
  ASSERT_TRUE(after);
  EXPECT_EQ(after->str(), value(1));
  EXPECT_EQ(after->sequence(), before->sequence());
  EXPECT_EQ(after->expires_at(), before->expires_at());
  EXPECT_EQ(after->flags(), 7u);
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(key(1)), value(1));
}

TEST_F(AdmissionTest, AKeyThatIsStoredAgainSoonIsWrittenAtOnce) {
  EXPECT_EQ(store_buffered(1), StoredIn::memory);
  push_out();
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(store_buffered(1, 2), StoredIn::log);
  EXPECT_EQ(get(key(1)), value(1, 2));
}

TEST_F(AdmissionTest, AStoreIsDurableAsEver) {
  EXPECT_EQ(store_buffered(1), StoredIn::memory);
  ASSERT_TRUE(cache->store(key(1), value(1, 2)));
  EXPECT_EQ(cache->stats().waiting_entries, 0u);
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(key(1)), value(1, 2));
}

TEST_F(AdmissionTest, TheValueBeforeOneThatWaitsIsGoneAtOnceAndDurablyWithTheNextFlush) {
  ASSERT_TRUE(cache->store(key(1), value(1)));
  EXPECT_EQ(store_buffered(1, 2), StoredIn::memory);
  EXPECT_EQ(get(key(1)), value(1, 2));
  EXPECT_EQ(get_all({key(1), key(2)}), (std::vector<std::string>{value(1, 2), "error not_found"}));
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(key(1)), "error not_found");
}

TEST_F(AdmissionTest, ARemoveReachesWhatWaits) {
  store_buffered(1);
  ASSERT_TRUE(cache->remove(key(1)));
  EXPECT_EQ(get(key(1)), "error not_found");
  store_buffered(1);
  ASSERT_TRUE(cache->remove_buffered(key(1)));
  EXPECT_EQ(get(key(1)), "error not_found");
  store_buffered(2);
  ASSERT_TRUE(cache->clear());
  EXPECT_EQ(get(key(2)), "error not_found");
  EXPECT_TRUE(all_keys().empty());
}

TEST_F(AdmissionTest, WhatWaitsExpires) {
  ASSERT_TRUE(cache->store_buffered(key(1), value(1), {.ttl = std::chrono::seconds(10)}));
  EXPECT_EQ(get(key(1)), value(1));
  clock += 11;
  EXPECT_TRUE(all_keys().empty());
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(cache->stats().expired, 1u);
  ASSERT_TRUE(cache->store_buffered(key(2), value(2), {.ttl = std::chrono::seconds(10)}));
  EXPECT_EQ(get(key(2)), value(2));
  clock += 11;
  push_out();
  EXPECT_EQ(cache->stats().waiting_admitted, 0u) << "asked for, but expired";
  EXPECT_EQ(cache->stats().expired, 2u);
}

TEST_F(AdmissionTest, ClosingWritesWhatWasAskedForAndDropsTheRest) {
  store_buffered(1);
  store_buffered(2);
  EXPECT_EQ(get(key(2)), value(2));
  reopen();
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(get(key(2)), value(2));
}

TEST_F(AdmissionTest, AValueTooLargeToWaitIsRefusedAndTakenTheSecondTime) {
  ASSERT_TRUE(cache->store("large", "before"));
  const std::string large = value_of("large", 1, 20'000);
  EXPECT_EQ(outcome(cache->store_buffered("large", large)), "not_admitted");
  EXPECT_EQ(get("large"), "error not_found") << "refused, and yet the old value is final";
  EXPECT_EQ(cache->stats().not_admitted, 1u);
  EXPECT_EQ(outcome(cache->store_buffered("large", large)), "ok");
  EXPECT_EQ(get("large"), large);
}

// The first value is evicted, and its segment not reused: recovery would find it again.
TEST_F(AdmissionTest, AnEvictedValueDoesNotComeBackBehindOneThatOnlyWaited) {
  options.admission = Admission::all;
  reopen();
  std::uint64_t i = 0;
  while (cache->stats().evicted < 100) {
    ASSERT_TRUE(cache->store_buffered(key(i), value(i)));
    ++i;
  }
  close();
  be_selective();
  open();
  std::vector<std::uint64_t> gone;
  // Ones that are here and are evicted now.
  std::set<std::string> here = all_keys();
  for (std::uint64_t n = 0; gone.size() < 50 && n < 100'000; ++n) {
    const std::string name = "new " + std::to_string(n);
    ASSERT_TRUE(cache->store(name, value_of(name, 1, 8 * kSize)));
    gone.clear();
    for (std::uint64_t k = 0; k < i; ++k) {
      if (here.contains(key(k)) && get(key(k)) == "error not_found") gone.push_back(k);
    }
  }
  ASSERT_GE(gone.size(), 50u);
  std::uint64_t waited = 0;
  for (const std::uint64_t k : gone) waited += store_buffered(k, 2) == StoredIn::memory;
  EXPECT_GT(waited, 0u);
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::lose_all);
  for (const std::uint64_t k : gone) {
    const std::string found = get(key(k));
    EXPECT_TRUE(found == "error not_found" || found == value(k, 2)) << key(k);
  }
}

// A durable remove is under way and fails when the key has a new value that waits.
TEST_F(AdmissionTest, AStoreThatFailedDoesNotComeBackBehindAValueThatOnlyWaited) {
  using enum FaultyDisk::Op;
  faults().fail(write, 1, EIO, FaultyDisk::Repeat::for_ever, FaultyDisk::Reach::all);
  EXPECT_EQ(outcome(cache->store(key(1), value(1))), "io_error");
  EXPECT_EQ(outcome(cache->store(key(2), value(2))), "io_error") << "now it is given up there";
  EXPECT_EQ(store_buffered(2, 2), StoredIn::memory);
  faults().heal();
  (void)cache->flush_writes();  // may still tell of what was under way
  ASSERT_TRUE(cache->flush_writes());
  crash(CrashPolicy::keep_all);
  EXPECT_EQ(get(key(2)), "error not_found");
}

TEST_F(AdmissionTest, ARemoveThatFailsPutsNothingBehindAValueThatWaits) {
  ASSERT_TRUE(cache->store(key(1), value(1)));
  bool stored = false;
  device->at_each_request([&](const FaultyDisk::Event& event) {
    if (event.op != FaultyDisk::Op::write || std::exchange(stored, true)) return;
    std::thread([&] { EXPECT_EQ(store_buffered(1, 2), StoredIn::memory); }).join();
  });
  faults().fail(FaultyDisk::Op::write, 1, EIO);
  EXPECT_FALSE(cache->remove(key(1)));
  ASSERT_TRUE(stored);
  EXPECT_EQ(get(key(1)), value(1, 2));
  push_out();
  EXPECT_EQ(cache->stats().waiting_admitted, 1u);
  EXPECT_EQ(get(key(1)), value(1, 2));
}

/// The same without admission: reclaim by rc, with two streams, is enough to go wrong.
class AllAdmittedTest : public AdmissionTest {
  void be_selective() override {}
};

TEST_F(AdmissionTest, NothingOlderThanTheLastCallIsEverFound) {
  call_at_random(11);
  EXPECT_GT(waiting_hits, 100u);
}

TEST_F(AllAdmittedTest, NothingOlderThanTheLastCallIsEverFound) { call_at_random(11); }

void AdmissionTest::call_at_random(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::map<std::uint64_t, std::uint64_t> newest;  // 0: removed
  const auto check = [&](std::uint64_t k) {
    const auto found = cache->lookup(key(k));
    const auto wanted = newest.find(k);
    if (found) {
      ASSERT_TRUE(wanted != newest.end() && wanted->second != 0) << key(k) << " came back";
      ASSERT_TRUE(found->str() == value(k, wanted->second)) << key(k) << ": an old value";
    } else {
      ASSERT_EQ(found.error(), Errc::not_found);
    }
  };
  for (std::uint64_t i = 1; i <= 30'000; ++i) {
    const std::uint64_t k = std::min({random() % 3000, random() % 3000, random() % 3000});
    const std::uint64_t dice = random() % 100;
    if (dice < 50) {
      check(k);
    } else if (dice < 90) {
      ASSERT_TRUE(cache->store_buffered(key(k), value(k, i)));
      newest[k] = i;
    } else if (dice < 94) {
      ASSERT_TRUE(cache->store(key(k), value(k, i)));
      newest[k] = i;
    } else {
      ASSERT_TRUE(dice < 97 ? cache->remove(key(k)) : cache->remove_buffered(key(k)));
      newest[k] = 0;
    }
    if (i % 3000 != 0) continue;
    waiting_hits += cache->stats().waiting_hits;
    if (i % 6000 == 0) {
      ASSERT_TRUE(cache->flush_writes());  // from here on even a crash brings nothing back
      crash(CrashPolicy::any_torn, i);
    } else {
      reopen();
    }
    for (std::uint64_t each = 0; each < 3000; ++each) check(each);
    if (HasFatalFailure()) return;
  }
}

class BudgetTest : public AdmissionTest {
 protected:
  static constexpr std::uint64_t kHour = 3'600'000'000'000;
  void be_selective() override { options.device_bytes_per_day = 24 * 256_KiB; }
  /// Stores until the budget is used up. Returns how many stores were refused.
  std::uint64_t use_up() {
    std::uint64_t refused = 0;
    for (std::uint64_t i = 0; cache->stats().write_budget_left > 0 && i < 10'000; ++i) {
      const auto stored = cache->store("filler " + std::to_string(others++), value(0));
      refused += !stored && stored.error() == Errc::not_admitted;
    }
    return refused;
  }
};

TEST_F(BudgetTest, FewerNewValuesAreTakenTheLessIsLeft) {
  std::array<std::uint64_t, 4> taken{};
  for (std::size_t quarter = 0; quarter < taken.size(); ++quarter) {
    for (int i = 0; i < 50; ++i) {
      const std::string name = "q " + std::to_string(others++);
      const auto stored = cache->store_buffered(name, value(1));
      ASSERT_TRUE(stored || stored.error() == Errc::not_admitted);
      taken[quarter] += stored.has_value();
      EXPECT_EQ(cache->lookup(name).has_value(), stored.has_value());
    }
    ASSERT_TRUE(cache->flush_writes());
  }
  EXPECT_GT(taken[0], taken[2]);
  EXPECT_GT(taken[1], taken[3]);
  EXPECT_EQ(cache->stats().not_admitted, 200 - taken[0] - taken[1] - taken[2] - taken[3]);
}

TEST_F(BudgetTest, TheDeviceIsWrittenNoMoreThanTheBudgetHoweverMuchIsStored) {
  const std::uint64_t before = cache->stats().device_written_bytes;
  for (int minute = 0; minute < 10 * 60; ++minute) {
    for (int i = 0; i < 20; ++i) {
      const std::string name = "m " + std::to_string(others++);
      const auto stored = cache->store_buffered(name, value(1));
      ASSERT_TRUE(stored || stored.error() == Errc::not_admitted) << stored.error().message();
    }
    time_ns += kHour / 60;
  }
  ASSERT_TRUE(cache->flush_writes());
  const Stats stats = cache->stats();
  EXPECT_LE(stats.device_written_bytes - before, 11 * 256_KiB);
  EXPECT_GE(stats.device_written_bytes - before, 8 * 256_KiB) << "it is used";
}

TEST_F(BudgetTest, ARefusedStoreSaysSoAndLeavesTheOldValueUnreadableDurably) {
  ASSERT_TRUE(cache->store(key(1), value(1)));
  ASSERT_TRUE(cache->store(key(2), value(2)));
  use_up();
  EXPECT_EQ(outcome(cache->store(key(1), value(1, 2))), "not_admitted");
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(get(key(2)), value(2));
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(get(key(2)), value(2));
}

TEST_F(BudgetTest, ARefusedStoreThatCannotRemoveTheOldValueFailsAndLeavesIt) {
  ASSERT_TRUE(cache->store(key(1), value(1)));
  use_up();
  faults().fail(FaultyDisk::Op::write, 1, EIO);
  EXPECT_EQ(outcome(cache->store(key(1), value(1, 2))), "io_error");
  EXPECT_EQ(get(key(1)), value(1));
}

TEST_F(BudgetTest, ARefusedStoreIsToldThatAndNotHowTheFlushAfterItWent) {
  options.max_operations = 2;
  reopen();
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(cache->store(key(i), value(i)));
  use_up();
  faults().fail(FaultyDisk::Op::write, 1, EIO, FaultyDisk::Repeat::for_ever);
  for (std::uint64_t i = 0; i < 40; ++i) {
    const std::string told = outcome(cache->store_buffered(key(i), value(i, 2)));
    EXPECT_TRUE(told == "not_admitted" || told == "buffer_full") << told;
    EXPECT_EQ(get(key(i)), told == "buffer_full" ? value(i) : "error not_found");
  }
}

TEST_F(BudgetTest, RemovesAreWrittenWithoutABudgetAndTimeBringsItBack) {
  ASSERT_TRUE(cache->store(key(1), value(1)));
  use_up();
  EXPECT_TRUE(cache->remove(key(1)));
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(outcome(cache->store(key(3), value(3))), "not_admitted");
  time_ns += 2 * kHour;
  EXPECT_EQ(outcome(cache->store(key(3), value(3))), "ok");
  crash(CrashPolicy::lose_all);
  EXPECT_EQ(get(key(1)), "error not_found");
  EXPECT_EQ(get(key(3)), value(3));
}

TEST_F(BudgetTest, ALoadThatIsRefusedIsHandedOutAllTheSame) {
  use_up();
  const auto loaded = cache->lookup_or_load(key(5), [](std::string_view) -> Result<Loaded> {
    return Loaded(std::string("from elsewhere"));
  });
  EXPECT_EQ(text(loaded), "from elsewhere");
  EXPECT_EQ(cache->stats().loads_not_stored, 1u);
  EXPECT_EQ(get(key(5)), "error not_found");
}

TEST_F(AdmissionTest, OptionsThatMakeNoSenseAreRefused) {
  close();
  options.admission_memory_bytes = 100;
  EXPECT_EQ(outcome(try_open()), "invalid_options");
  options.admission_memory_bytes = 4_KiB;
  open();
}

}  // namespace
}  // namespace rawcache::testing
