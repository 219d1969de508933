// Guards: read your writes (C10), the later call wins (C11), every eviction as late as promised
// and counted (C4), and the content across an orderly close. Thousands of short random runs over
// caches of a few KiB, each call compared with an oracle; no fault, no crash.
#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "crash/workload.h"
#include "support/faulty_disk.h"
#include "support/proof.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kRuns = 400;
constexpr std::uint64_t kStepsMax = 400;
constexpr std::uint64_t kForEver = std::uint64_t{1} << 60;

class ModelRun {
 public:
  explicit ModelRun(std::uint64_t seed)
      : random_(seed),
        scene_(tiny_scene(random_)),
        disk_(std::make_unique<SimDisk>(scene_.device_bytes)),
        oracle_(scene_.keys, 0) {}

  std::string words() const { return scene_.words(); }
  std::uint64_t calls() const { return oracle_.last_version(); }

  /// What is wrong, or "".
  std::string go();

 private:
  std::string open();
  std::string close();
  void look_at_evictions();
  std::string read_something();
  std::string read_one(std::uint32_t key);
  std::string read_batch();
  std::string read_all();
  std::string walk();
  /// Segments that the log may be ahead of the disk.
  std::uint64_t ahead() const {
    return 2 + 2 * scene_.options.max_buffer_bytes / scene_.format.segment_bytes;
  }

  std::mt19937_64 random_;
  Scene scene_;
  FaultyDisk disk_;
  Oracle oracle_;
  CacheInfo info_;
  std::unique_ptr<RawDiskCache> cache_;
  std::uint64_t evicted_before_ = 0;  ///< by the lives before this one
  bool index_was_full_ = false;
};

std::string ModelRun::go() {
  auto formatted = format_drawn(random_, disk_, scene_.format);
  if (!formatted) return "format: " + formatted.error().message();
  info_ = *formatted;
  disk_.set_hook([this](const FaultyDisk::Event& event) {
    if (event.op != FaultyDisk::Op::write) return;
    for (auto n = segments_opened_by(info_, event.offset, event.size); n > 0; --n) {
      oracle_.tell({.type = Oracle::Event::Type::segment_opened});
    }
  });
  if (auto said = open(); !said.empty()) return said;
  Workload workload(scene_, random_, 1, true,
                    [this](const Oracle::Event& event) { oracle_.tell(event); });
  const std::uint64_t steps = 1 + random_() % kStepsMax;
  for (std::uint64_t i = 0; i < steps; ++i) {
    if (random_() % 50 == 0) {
      if (auto said = close(); !said.empty()) return said;
      if (auto said = open(); !said.empty()) return said;
      if (auto said = read_all(); !said.empty()) return "reopened: " + said;
      continue;
    }
    if (auto done = workload.step(*cache_); !done)
      return "a call failed: " + done.error().message();
    look_at_evictions();
    if (auto said = read_something(); !said.empty()) return said;
  }
  if (auto said = read_all(); !said.empty()) return said;
  return close();
}

std::string ModelRun::open() {
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk_), scene_.options);
  if (!cache) return "open: " + cache.error().message();
  cache_ = std::make_unique<RawDiskCache>(std::move(*cache));
  look_at_evictions();
  return {};
}

void ModelRun::look_at_evictions() {
  const Stats stats = cache_->stats();
  index_was_full_ = index_was_full_ || stats.evicted_index_full > 0;
  if (index_was_full_) {
    oracle_.set_segments_kept(0);
  } else if (evicted_before_ + stats.evicted == 0) {
    oracle_.set_segments_kept(kForEver);
  } else {
    oracle_.set_segments_kept(segments_kept(info_, stats));
  }
}

std::string ModelRun::close() {
  auto closed = cache_->close();
  look_at_evictions();
  evicted_before_ += cache_->stats().evicted;
  cache_.reset();
  if (!closed) return "close: " + closed.error().message();
  return {};
}

std::string ModelRun::read_something() {
  switch (random_() % 16) {
    case 0:
      return read_all();
    case 1:
      return walk();
    case 2:
    case 3:
      return read_batch();
    default:
      return read_one(static_cast<std::uint32_t>(random_() % scene_.keys));
  }
}

std::string ModelRun::read_one(std::uint32_t key) {
  const bool only_asked = random_() % 4 == 0;
  std::uint64_t version = 0;
  if (only_asked) {
    const auto there = cache_->contains(key_name(key));
    if (!there) return "contains: " + there.error().message();
    const auto value = cache_->lookup(key_name(key));
    if (value.has_value() != *there) return "contains and lookup disagree";
  }
  const auto value = cache_->lookup(key_name(key));
  if (value) {
    const auto found = version_of(key, value->view());
    if (!found) return "a value that was never stored under key " + std::to_string(key);
    version = *found;
  } else if (value.error() != Errc::not_found) {
    return "lookup: " + value.error().message();
  }
  return oracle_.check_running(key, version, ahead());
}

std::string ModelRun::read_batch() {
  std::vector<std::uint32_t> keys;
  std::vector<std::string> names;
  for (std::uint64_t n = random_() % 40; n > 0; --n) {
    keys.push_back(static_cast<std::uint32_t>(random_() % scene_.keys));
    names.push_back(key_name(keys.back()));
  }
  const auto values = cache_->lookup_batch(names);
  if (values.size() != keys.size()) return "lookup_batch: another number of results than of keys";
  for (std::size_t i = 0; i < keys.size(); ++i) {
    std::uint64_t version = 0;
    if (values[i]) {
      const auto found = version_of(keys[i], values[i]->view());
      if (!found) return "lookup_batch: result " + std::to_string(i) + " is not of its key";
      version = *found;
    } else if (values[i].error() != Errc::not_found) {
      return "lookup_batch: " + values[i].error().message();
    }
    if (auto said = oracle_.check_running(keys[i], version, ahead()); !said.empty()) return said;
  }
  return {};
}

std::string ModelRun::read_all() {
  std::string wrong;
  const Content content = content_of(*cache_, scene_.keys, wrong);
  if (!wrong.empty()) return wrong;
  return oracle_.check_running(content, ahead());
}

/// for_each_key against lookup.
std::string ModelRun::walk() {
  std::string wrong;
  const Content content = content_of(*cache_, scene_.keys, wrong);
  if (!wrong.empty()) return wrong;
  std::multiset<std::string> expected;
  for (std::uint32_t key = 0; key < scene_.keys; ++key) {
    if (content[key] != 0) expected.insert(key_name(key));
  }
  std::multiset<std::string> seen;
  auto walked = cache_->for_each_key([&](const KeyInfo& info) {
    seen.emplace(info.key);
    return true;
  });
  if (!walked) return "for_each_key: " + walked.error().message();
  if (seen != expected) return "for_each_key sees other keys than lookup";
  return {};
}

TEST(Model, EveryAnswerIsTheOneThatTheCallsBeforeItAllow) {
  for (Proof proof(1, kRuns); proof.next();) {
    ModelRun run(proof.seed());
    const std::string wrong = run.go();
    ASSERT_EQ(wrong, "") << run.words() << "\n" << proof.replay_command();
    proof.add("model_runs", 1);
    proof.add("model_calls", run.calls());
  }
}

}  // namespace
}  // namespace rawcache::testing
