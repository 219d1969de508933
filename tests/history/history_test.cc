// Guards C6, C10 and C11 among threads: what clients that call at the same time have seen of each
// key can be explained by an order of their calls in which nothing is stale and nothing comes back.
// First that the judge is right, then the cache.
#include "history/history.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "history/history_run.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Calls = std::vector<HistoryCall>;

HistoryCall stored(std::uint64_t value, std::uint64_t begin, std::uint64_t end) {
  return {HistoryCall::Kind::store, value, begin, end};
}
HistoryCall found(std::uint64_t value, std::uint64_t begin, std::uint64_t end) {
  return {HistoryCall::Kind::read, value, begin, end};
}
HistoryCall missed(std::uint64_t begin, std::uint64_t end) { return found(0, begin, end); }
HistoryCall erased(std::uint64_t begin, std::uint64_t end) {
  return {HistoryCall::Kind::erase, 0, begin, end};
}

// --- The judge ---

TEST(HistoryChecker, AcceptsWhatAnOrderExplains) {
  const Calls sound[] = {
      {},
      {missed(1, 2)},
      {stored(1, 1, 2), found(1, 3, 4), found(1, 5, 6)},
      {stored(1, 1, 2), missed(3, 4), missed(5, 6)},                          // forgotten
      {stored(1, 1, 2), stored(2, 3, 4), found(2, 5, 6)},                     // overwritten
      {stored(1, 1, 2), erased(3, 4), missed(5, 6), stored(2, 7, 8)},         // removed
      {stored(1, 1, 2), stored(2, 3, 8), found(1, 4, 5), found(2, 6, 7)},     // while it is written
      {stored(1, 1, 2), stored(2, 3, 10), found(2, 4, 5), found(2, 11, 12)},  // early seen
      {stored(1, 1, 2), erased(3, 8), found(1, 4, 5), missed(6, 7)},          // while it is removed
      {stored(1, 1, 6), stored(2, 2, 5), found(1, 7, 8)},                     // either may be last
      {stored(1, 1, 6), stored(2, 2, 5), found(2, 7, 8)},                     // ... or the other
      {stored(1, 1, 10), found(1, 2, 3), missed(4, 5), erased(6, 11)},        // forgotten at once
      {stored(1, 1, 2), found(1, 3, 8), erased(4, 5), missed(6, 7)},          // a slow reader
      {found(1, 1, 4), stored(1, 2, 3)},                                      // a slow reader, too
  };
  for (const Calls& calls : sound) EXPECT_EQ(check_history(calls), "");
}

TEST(HistoryChecker, RejectsWhatNoOrderExplains) {
  const Calls bad[] = {
      {found(1, 1, 2)},                                                    // never stored
      {found(1, 1, 2), stored(1, 3, 4)},                                   // before it was stored
      {stored(1, 1, 2), stored(1, 3, 4)},                                  // values must differ
      {stored(1, 1, 2), stored(2, 3, 4), found(1, 5, 6)},                  // stale
      {stored(1, 1, 2), erased(3, 4), found(1, 5, 6)},                     // comes back
      {stored(1, 1, 2), missed(3, 4), found(1, 5, 6)},                     // comes back, forgotten
      {stored(1, 1, 2), stored(2, 3, 8), found(2, 4, 5), found(1, 6, 7)},  // new, then old
      {stored(1, 1, 2), erased(3, 8), missed(4, 5), found(1, 6, 7)},       // gone, then there
      {stored(1, 1, 4), stored(2, 2, 3), found(1, 5, 6), found(2, 7, 8)},  // both are last
      {stored(1, 1, 20), found(1, 2, 3), missed(4, 5), found(1, 6, 7)},    // flickers while written
      {stored(1, 1, 2), stored(2, 3, 12), found(1, 4, 9), found(2, 5, 6), found(1, 10, 11)},
  };
  for (const Calls& calls : bad) {
    EXPECT_NE(check_history(calls), "") << "history " << &calls - bad;
  }
}

/// All orders, one call after the other: slow, and plainly right.
bool explained(const Calls& calls, std::uint32_t done, std::uint64_t value) {
  if (done + 1 == 1U << calls.size()) return true;
  for (std::size_t next = 0; next < calls.size(); ++next) {
    if ((done >> next & 1) != 0) continue;
    bool may_be_next = true;
    for (std::size_t other = 0; other < calls.size(); ++other) {
      may_be_next =
          may_be_next && ((done >> other & 1) != 0 || calls[other].end >= calls[next].begin);
    }
    const HistoryCall& call = calls[next];
    const bool fits =
        call.kind != HistoryCall::Kind::read || call.value == 0 || call.value == value;
    if (!may_be_next || !fits) continue;
    if (explained(calls, done | 1U << next, call.value)) return true;
  }
  return false;
}

TEST(HistoryChecker, AgreesWithTryingAllOrders) {
  std::mt19937_64 random(1);
  std::uint64_t sound = 0;
  constexpr std::uint64_t kHistories = 20'000;
  for (std::uint64_t n = 0; n < kHistories; ++n) {
    const std::size_t size = 2 + random() % 6;
    std::vector<std::uint64_t> moments(2 * size);
    for (std::size_t i = 0; i < moments.size(); ++i) moments[i] = i + 1;
    std::shuffle(moments.begin(), moments.end(), random);
    Calls calls;
    std::uint64_t values = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t begin = std::min(moments[2 * i], moments[2 * i + 1]);
      std::uint64_t end = std::max(moments[2 * i], moments[2 * i + 1]);
      if (random() % 4 != 0) end = begin;  // mostly short calls, so that order counts
      const std::uint64_t dice = random() % 10;
      calls.push_back(dice < 4   ? stored(++values, begin, end)
                      : dice < 5 ? erased(begin, end)
                      : dice < 6 ? missed(begin, end)
                                 : found(1 + random() % 3, begin, end));
    }
    const bool wanted = explained(calls, 0, 0);
    sound += wanted;
    ASSERT_EQ(check_history(calls).empty(), wanted) << "history " << n;
  }
  EXPECT_GT(sound, kHistories / 10);
  EXPECT_LT(sound, kHistories / 2);
}

// --- The cache ---

/// Returns how many entries were evicted by all runs.
std::uint64_t judge(Proof& proof, const Clients& clients) {
  std::uint64_t evicted = 0;
  while (proof.next()) {
    HistoryRun run(proof.seed(), clients);
    const std::string wrong = run.go();
    EXPECT_EQ(wrong, "") << run.words() << "\n" << proof.replay_command();
    if (!wrong.empty()) break;
    proof.add("history_calls", run.calls());
    evicted += run.evicted();
  }
  return evicted;
}

TEST(History, OfAllKindsOfCallsIsExplained) {
  Proof proof(1, 20);
  judge(proof, {});
}

TEST(History, OfEvictionAgainstLookupBatchIsExplained) {
  Proof proof(1, 10);
  const CallMix mix{.remove = 0, .remove_buffered = 1, .lookup_batch = 30};
  EXPECT_GT(judge(proof, {.keys = 64, .value_bytes = 2000, .mix = mix}), 0u);
}

TEST(History, OfRemovesAgainstFlushesIsExplained) {
  Proof proof(1, 10);
  judge(proof,
        {.keys = 6, .mix = {.remove = 10, .remove_buffered = 30, .lookup = 40, .flush = 20}});
}

TEST(History, OfDirectAgainstBufferedStoresOfOneKeyIsExplained) {
  Proof proof(1, 10);
  judge(proof, {.keys = 1, .mix = {.store = 30, .store_buffered = 30, .lookup = 40}});
}

}  // namespace
}  // namespace rawcache::testing
