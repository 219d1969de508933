// Guards C1-C3, C5-C7, C11 and expiry across power cuts, exhaustively in a small scope: every
// sequence of up to two (with --seconds: three) calls on two keys, on a fresh cache and on one
// whose log has wrapped; a power cut before every write and sync, and every subset of up to ten
// unsynced sectors. Longer sequences are drawn at random; one that fails is shrunk.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "crash/power_cut.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;

constexpr std::uint32_t kKeys = 2;
constexpr std::chrono::seconds kTtl{10};
constexpr std::int64_t kClockStart = 1'800'000'000;
/// All subsets of ten sectors.
constexpr std::uint64_t kStatesMax = 1024;
constexpr std::uint64_t kStatesDrawn = 16;

enum class Call : std::uint8_t {
  store_0,
  store_1,
  store_for_a_while,
  buffer_0,
  buffer_1,
  buffer_for_a_while,
  remove_0,
  remove_buffered_0,
  remove_buffered_1,
  flush,
  clear,
  reopen,
  die,
  time_passes,
};
constexpr std::uint64_t kCalls = 14;
constexpr const char* kCallNames[kCalls] = {"store 0",
                                            "store 1",
                                            "store 0 for a while",
                                            "buffer 0",
                                            "buffer 1",
                                            "buffer 0 for a while",
                                            "remove 0",
                                            "remove_buffered 0",
                                            "remove_buffered 1",
                                            "flush",
                                            "clear",
                                            "reopen",
                                            "die and reopen",
                                            "time passes"};
using Sequence = std::vector<Call>;

std::string words(const Sequence& sequence) {
  std::string text;
  for (const Call call : sequence) {
    text += std::string(text.empty() ? "" : ", ") + kCallNames[static_cast<std::size_t>(call)];
  }
  return text;
}

/// What every sequence begins with.
struct Start {
  const char* name;
  std::uint64_t stores;  ///< before it, buffered; enough of them and the log has wrapped
};
constexpr Start kStarts[] = {{"fresh", 0}, {"wrapped", 37}};

/// One sequence of calls, with a look at every power cut from call `look_from` on.
class CutRun {
 public:
  CutRun(const Start& start, std::uint64_t seed);
  /// What is wrong, or "".
  std::string go(const Sequence& sequence, std::size_t look_from);
  std::uint64_t states() const { return states_; }

 private:
  struct Finding {
    Content content;
    std::set<std::uint64_t> expired;  ///< versions, at that time
    Oracle::Moment moment;
  };

  std::string prepare(std::uint64_t stores);
  std::string open();
  Result<void> make(Call call);
  std::string die();
  void watch(const FaultyDisk::Event& event);
  void look();
  void look_at(Image image);
  std::string judge();
  std::string judge_content(Content found, const std::set<std::uint64_t>& expired,
                            const Oracle::Moment& moment) const;
  std::set<std::uint64_t> expired() const;
  void note();

  std::mt19937_64 random_;
  Scene scene_;
  std::shared_ptr<std::int64_t> clock_ = std::make_shared<std::int64_t>(kClockStart);
  std::unique_ptr<CutDisk> disk_;
  Oracle oracle_{kKeys, 0};
  CacheInfo info_;
  std::optional<RawDiskCache> cache_;
  std::optional<Workload> calls_;
  std::vector<std::pair<std::uint64_t, std::int64_t>> lives_;  ///< version, its end
  bool looking_ = false;
  std::vector<Finding> findings_;
  std::string wrong_;
  std::uint64_t states_ = 0;
};

CutRun::CutRun(const Start& start, std::uint64_t seed) : random_(seed) {
  scene_.format.block_bytes = 512;
  scene_.format.segment_bytes = 4096;
  scene_.format.expected_entries = 32;
  scene_.device_bytes = 131072 + 2 * 8192 + 5 * 4096;
  scene_.keys = kKeys;
  scene_.value_bytes = 600;
  scene_.options.max_operations = 8;
  scene_.options.max_buffer_bytes = 4096;
  scene_.options.read_buffer_bytes = 1 << 20;
  scene_.options.maintenance_thread = false;
  scene_.options.now = [clock = clock_] { return *clock; };
  disk_ = std::make_unique<CutDisk>(scene_.device_bytes);
  wrong_ = prepare(start.stores);
}

std::string CutRun::prepare(std::uint64_t stores) {
  auto formatted = format_drawn(random_, disk_->disk(), scene_.format);
  if (!formatted) return "format: " + formatted.error().message();
  info_ = *formatted;
  if (auto said = open(); !said.empty()) return said;
  for (std::uint64_t i = 0; i < stores; ++i) {
    if (!calls_->store(*cache_, i % kKeys, i % 5 == 0)) return "a call failed";
  }
  return {};
}

std::string CutRun::open() {
  disk_->disk().set_hook([this](const FaultyDisk::Event& event) { watch(event); });
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk_->disk()), scene_.options);
  if (!cache) return "open: " + cache.error().message();
  cache_.emplace(std::move(*cache));
  calls_.emplace(scene_, random_, oracle_.last_version() + 1, true,
                 [this](const Oracle::Event& event) { oracle_.tell(event); });
  note();
  return {};
}

void CutRun::note() { oracle_.set_segments_kept(segments_kept(info_, cache_->stats())); }

std::string CutRun::go(const Sequence& sequence, std::size_t look_from) {
  if (!wrong_.empty()) return wrong_;
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    looking_ = i >= look_from;
    std::string said;
    if (sequence[i] == Call::die) {
      said = die();
    } else if (sequence[i] == Call::reopen) {
      if (!calls_->close(*cache_)) return "close failed";
      said = open();
    } else if (auto made = make(sequence[i]); !made) {
      said = "a call failed: " + made.error().message();
    }
    if (!said.empty()) return said;
    note();
    if (looking_) look();
    if (said = judge(); !said.empty()) {
      return "at call " + std::to_string(i + 1) + ": " + said;
    }
  }
  looking_ = false;
  std::string wrong;
  const Content content = content_of(*cache_, kKeys, wrong);
  if (!wrong.empty()) return wrong;
  // Nothing has been lost while the cache lives but what has expired or may have been evicted.
  const auto gone = expired();
  for (std::uint32_t key = 0; key < kKeys; ++key) {
    if (content[key] != 0 && gone.contains(content[key])) return "an expired entry is found";
    std::string said = oracle_.check_running(key, content[key]);
    for (const std::uint64_t version : gone) {
      if (content[key] == 0 && !said.empty()) said = oracle_.check_running(key, version);
    }
    if (!said.empty()) return "running: " + said;
  }
  disk_->medium().cut();
  return {};
}

Result<void> CutRun::make(Call call) {
  switch (call) {
    case Call::store_0:
      return calls_->store(*cache_, 0, true);
    case Call::store_1:
      return calls_->store(*cache_, 1, true);
    case Call::buffer_0:
      return calls_->store(*cache_, 0, false);
    case Call::buffer_1:
      return calls_->store(*cache_, 1, false);
    case Call::store_for_a_while:
    case Call::buffer_for_a_while:
      lives_.emplace_back(oracle_.last_version() + 1, *clock_ + kTtl.count());
      return calls_->store(*cache_, 0, call == Call::store_for_a_while, kTtl);
    case Call::remove_0:
      return calls_->remove(*cache_, 0, true);
    case Call::remove_buffered_0:
      return calls_->remove(*cache_, 0, false);
    case Call::remove_buffered_1:
      return calls_->remove(*cache_, 1, false);
    case Call::flush:
      return calls_->flush(*cache_);
    case Call::clear:
      return calls_->clear(*cache_);
    case Call::time_passes:
      *clock_ += kTtl.count();
      return {};
    default:
      return {};
  }
}

// The process goes, and the power with it.
std::string CutRun::die() {
  Image image = disk_->medium().crash(random_, any_policy(random_));
  const Oracle::Moment moment = oracle_.now();
  disk_->medium().cut();
  disk_->disk().set_hook({});
  cache_.reset();
  disk_ = std::make_unique<CutDisk>(std::move(image));
  if (auto said = open(); !said.empty()) return said;
  if (auto said = judge(); !said.empty()) return said;
  const Content content = content_of(*cache_, kKeys, wrong_);
  if (!wrong_.empty()) return wrong_;
  const auto gone = expired();
  if (auto said = judge_content(content, gone, moment); !said.empty()) return "died: " + said;
  oracle_.restart(content);
  calls_.emplace(scene_, random_, oracle_.last_version() + 1, true,
                 [this](const Oracle::Event& event) { oracle_.tell(event); });
  return {};
}

// --- Looking ---

void CutRun::watch(const FaultyDisk::Event& event) {
  if (event.op == Op::read) return;
  if (looking_) look();
  if (event.op != Op::write) return;
  for (auto n = segments_opened_by(info_, event.offset, event.size); n > 0; --n) {
    oracle_.tell({.type = Oracle::Event::Type::segment_opened});
  }
}

/// Every power cut at this moment: all choices of one content per sector, or some if they are too
/// many.
void CutRun::look() {
  const auto open = disk_->medium().open_sectors();
  std::uint64_t choices = 1;
  for (const OpenSector& sector : open) {
    choices = std::min(choices * sector.contents.size(), kStatesMax + 1);
  }
  Image image = disk_->medium().durable_content();
  const auto set = [&](const OpenSector& sector, std::size_t choice) {
    std::copy_n(sector.contents[choice], SimDisk::kSectorBytes,
                image.begin() + static_cast<std::ptrdiff_t>(sector.offset));
  };
  if (choices <= kStatesMax) {
    for (std::uint64_t state = 0; state < choices; ++state) {
      std::uint64_t rest = state;
      for (const OpenSector& sector : open) {
        set(sector, rest % sector.contents.size());
        rest /= sector.contents.size();
      }
      look_at(image);
    }
    return;
  }
  // None, all, each alone, all but each, and some at random.
  const auto look_with = [&](auto&& choose) {
    for (std::size_t i = 0; i < open.size(); ++i) set(open[i], choose(i, open[i].contents.size()));
    look_at(image);
  };
  look_with([](std::size_t, std::size_t) { return std::size_t{0}; });
  look_with([](std::size_t, std::size_t n) { return n - 1; });
  for (std::size_t it = 0; it < open.size(); ++it) {
    look_with([&](std::size_t i, std::size_t n) { return i == it ? n - 1 : 0; });
    look_with([&](std::size_t i, std::size_t n) { return i == it ? 0 : n - 1; });
  }
  for (std::uint64_t drawn = 0; drawn < kStatesDrawn; ++drawn) {
    look_with([&](std::size_t, std::size_t n) { return random_() % n; });
  }
}

void CutRun::look_at(Image image) {
  ++states_;
  if (!wrong_.empty()) return;
  SimDisk medium(std::move(image));
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(medium), scene_.options);
  if (!cache) {
    wrong_ = "recovery fails: " + cache.error().message();
    return;
  }
  Content content = content_of(*cache, kKeys, wrong_);
  medium.cut();  // what closing writes is not looked at
  findings_.push_back({std::move(content), expired(), oracle_.now()});
}

std::set<std::uint64_t> CutRun::expired() const {
  std::set<std::uint64_t> versions;
  for (const auto& [version, end] : lives_) {
    if (end <= *clock_) versions.insert(version);
  }
  return versions;
}

std::string CutRun::judge() {
  if (!wrong_.empty()) return wrong_;
  for (const Finding& finding : findings_) {
    if (auto said = judge_content(finding.content, finding.expired, finding.moment);
        !said.empty()) {
      return said;
    }
  }
  findings_.clear();
  return {};
}

/// The oracle knows of no time: of a key without an entry, one that has expired may be there.
std::string CutRun::judge_content(Content found, const std::set<std::uint64_t>& expired,
                                  const Oracle::Moment& moment) const {
  for (const std::uint64_t version : found) {
    if (expired.contains(version)) return "an expired entry is found";
  }
  std::string said = oracle_.check_after_crash(found, moment);
  if (said.empty() || found[0] != 0) return said;
  for (const std::uint64_t version : expired) {  // only key 0 has such entries
    found[0] = version;
    if (oracle_.check_after_crash(found, moment).empty()) return {};
  }
  return said;
}

// --- Tests ---

/// The n-th sequence, the shorter ones first.
Sequence sequence_of(std::uint64_t n) {
  std::uint64_t count = kCalls;
  std::size_t length = 1;
  for (; n >= count; ++length) {
    n -= count;
    count *= kCalls;
  }
  Sequence sequence(length);
  for (Call& call : sequence) {
    call = static_cast<Call>(n % kCalls);
    n /= kCalls;
  }
  return sequence;
}

constexpr std::uint64_t kUpToTwo = kCalls + kCalls * kCalls;
constexpr std::uint64_t kUpToThree = kUpToTwo + kCalls * kCalls * kCalls;

TEST(Exhaustive, EveryPowerCutInEverySequenceOfAFewCallsLeavesALegalContent) {
  std::uint64_t length_max = 0;
  Proof proof(1, kUpToTwo);
  while (proof.seed() < kUpToThree && proof.next()) {
    const Sequence sequence = sequence_of(proof.seed() - 1);
    length_max = std::max<std::uint64_t>(length_max, sequence.size());
    for (const Start& start : kStarts) {
      CutRun run(start, 1);
      // Power cuts in all but the last call are those of the shorter sequences.
      const std::string wrong = run.go(sequence, sequence.size() - 1);
      ASSERT_EQ(wrong, "") << start.name << ": " << words(sequence) << "\n"
                           << proof.replay_command();
      proof.add("exhaustive_crash_states", run.states());
      proof.add("exhaustive_sequences", 1);
    }
  }
}

/// Leaves out calls as long as it still fails.
Sequence shrunk(Sequence sequence, const Start& start, std::uint64_t seed) {
  for (std::size_t i = 0; i < sequence.size();) {
    Sequence shorter = sequence;
    shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
    if (CutRun(start, seed).go(shorter, 0).empty()) {
      ++i;
    } else {
      sequence = std::move(shorter);
      i = 0;
    }
  }
  return sequence;
}

TEST(Exhaustive, EveryPowerCutInLongerSequencesLeavesALegalContent) {
  for (Proof proof(1, 150); proof.next();) {
    std::mt19937_64 random(proof.seed());
    Sequence sequence(3 + random() % 30);
    for (Call& call : sequence) call = static_cast<Call>(random() % kCalls);
    const Start& start = kStarts[random() % std::size(kStarts)];
    CutRun run(start, proof.seed());
    const std::string wrong = run.go(sequence, 0);
    proof.add("crash_states", run.states());
    if (wrong.empty()) continue;
    const Sequence least = shrunk(sequence, start, proof.seed());
    FAIL() << start.name << ": " << words(least) << ": " << CutRun(start, proof.seed()).go(least, 0)
           << "\n"
           << proof.replay_command();
  }
}

}  // namespace
}  // namespace rawcache::testing
