// Guards C1-C3, C5-C7 and C11 across power cuts.
//
// Random runs on a simulated disk. Before many of its I/Os the disk is copied as a power cut at
// that moment could leave it (unsynced writes lost, kept, torn or garbage, any subset of them), a
// second cache recovers from the copy, also through further power cuts, and an oracle judges what
// it finds.
#include <gtest/gtest.h>

#include <memory>

#include "crash/power_cut.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;

// --- Power cuts ---

class CrashRun {
 public:
  explicit CrashRun(std::uint64_t seed)
      : random_(seed),
        scene_(tiny_scene(random_)),
        disk_(std::make_unique<CutDisk>(scene_.device_bytes)),
        oracle_(scene_.keys, 0) {}

  /// What is wrong, or "".
  std::string go();
  std::string words() const { return scene_.words(); }
  std::uint64_t states() const { return states_; }

 private:
  struct Finding {
    Content content;
    Oracle::Moment moment;
    std::uint64_t policy = 0;
  };

  std::string live();
  void watch(const FaultyDisk::Event& event);
  void look(const Image& image);
  std::string judge();
  void note(const Stats& stats);

  std::mt19937_64 random_;
  Scene scene_;
  std::unique_ptr<CutDisk> disk_;
  Oracle oracle_;
  CacheInfo info_;
  std::uint64_t look_one_in_ = 4;
  std::uint64_t cut_in_ = 0;  ///< I/Os; 0: not at all
  std::vector<Finding> findings_;
  std::string wrong_;
  bool index_was_full_ = false;
  std::uint64_t states_ = 0;
};

std::string CrashRun::go() {
  auto formatted = format_drawn(random_, disk_->disk(), scene_.format);
  if (!formatted) return "format: " + formatted.error().message();
  info_ = *formatted;
  const std::uint64_t lives = 1 + random_() % 4;
  for (std::uint64_t life = 0; life < lives; ++life) {
    if (auto said = live(); !said.empty()) return "life " + std::to_string(life) + ": " + said;
    // The next one goes on from what a power cut left.
    const Oracle::Moment moment = oracle_.now();
    auto recovered =
        recover_from(disk_->medium().crash(random_, any_policy(random_)), scene_, random_);
    states_ += 1 + recovered.cuts;
    if (!recovered.wrong.empty()) return recovered.wrong;
    if (recovered.index_was_full) oracle_.set_segments_kept(0);
    if (auto said = oracle_.check_after_crash(recovered.content, moment); !said.empty()) {
      return "life " + std::to_string(life) + ", after its end: " + said;
    }
    oracle_.restart(recovered.content);
    disk_ = std::make_unique<CutDisk>(std::move(recovered.image));
  }
  return {};
}

std::string CrashRun::live() {
  look_one_in_ = 1 + random_() % 12;
  cut_in_ = random_() % 2 == 0 ? 1 + random_() % 200 : 0;
  if (random_() % 2 == 0) disk_->medium().complete_late(random_());
  disk_->disk().set_hook([this](const FaultyDisk::Event& event) { watch(event); });
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk_->disk()), scene_.options);
  if (!cache) return disk_->is_cut() ? std::string() : "open: " + cache.error().message();
  note(cache->stats());
  Workload workload(scene_, random_, oracle_.last_version() + 1, true,
                    [this](const Oracle::Event& event) { oracle_.tell(event); });
  const std::uint64_t steps = 1 + random_() % 120;
  for (std::uint64_t i = 0; i < steps && !disk_->is_cut(); ++i) {
    const auto done = workload.step(*cache);
    if (disk_->is_cut()) break;
    if (!done) return "a call failed: " + done.error().message();
    note(cache->stats());
    if (auto said = judge(); !said.empty()) return said;
  }
  if (!disk_->is_cut() && random_() % 3 == 0) {
    if (auto closed = workload.close(*cache); !closed && !disk_->is_cut()) {
      return "close: " + closed.error().message();
    }
  }
  if (auto said = judge(); !said.empty()) return said;
  disk_->disk().set_hook({});
  if (!disk_->is_cut()) disk_->cut();  // what the destructor writes is not part of the story
  return {};
}

void CrashRun::note(const Stats& stats) {
  index_was_full_ = index_was_full_ || stats.evicted_index_full > 0;
  oracle_.set_segments_kept(index_was_full_ ? 0 : segments_kept(info_, stats));
}

void CrashRun::watch(const FaultyDisk::Event& event) {
  if (cut_in_ > 0 && --cut_in_ == 0) disk_->cut();
  if (disk_->is_cut()) return;
  if (event.op != Op::read && random_() % look_one_in_ == 0) {
    look(disk_->medium().crash(random_, any_policy(random_)));
  }
  if (event.op != Op::write) return;
  for (auto n = segments_opened_by(info_, event.offset, event.size); n > 0; --n) {
    oracle_.tell({.type = Oracle::Event::Type::segment_opened});
  }
}

void CrashRun::look(const Image& image) {
  auto recovered = recover_from(image, scene_, random_);
  states_ += 1 + recovered.cuts;
  wrong_ += recovered.wrong;
  index_was_full_ = index_was_full_ || recovered.index_was_full;
  if (recovered.wrong.empty()) findings_.push_back({recovered.content, oracle_.now()});
}

std::string CrashRun::judge() {
  if (!wrong_.empty()) return wrong_;
  if (index_was_full_) oracle_.set_segments_kept(0);
  for (const Finding& finding : findings_) {
    if (auto said = oracle_.check_after_crash(finding.content, finding.moment); !said.empty()) {
      return said;
    }
  }
  findings_.clear();
  return {};
}

TEST(Crash, AfterAPowerCutAtAnyIoTheContentIsThatOfAPrefixOfTheCalls) {
  for (Proof proof(1, 1000); proof.next();) {
    CrashRun run(proof.seed());
    const std::string wrong = run.go();
    ASSERT_EQ(wrong, "") << run.words() << "\n" << proof.replay_command();
    proof.add("crash_states", run.states());
  }
}

TEST(Crash, DuringFormatLeavesNoCacheOrAnEmptyOne) {
  for (Proof proof(1, 20); proof.next();) {
    std::mt19937_64 random(proof.seed());
    Scene scene = tiny_scene(random);
    scene.options.device_bytes_per_day = 0;
    // Over an older cache with content, whose entries must not come back.
    SimDisk before(scene.device_bytes);
    ASSERT_TRUE(format_drawn(random, before, scene.format)) << proof.replay_command();
    Oracle oracle(scene.keys, 0);
    {
      auto cache = RawDiskCache::open(std::make_unique<LentDisk>(before), scene.options);
      ASSERT_TRUE(cache) << cache.error().message();
      for (std::uint32_t key = 0; key < scene.keys; ++key) {
        ASSERT_TRUE(cache->store(key_name(key), make_value(key, 1, 20)));
      }
    }
    for (std::uint64_t k = 1;; ++k) {
      CutDisk disk(before.content());
      disk.cut_at(k);
      const auto formatted = format_drawn(random, disk.disk(), scene.format);
      auto cache = RawDiskCache::open(
          std::make_unique<SimDisk>(disk.medium().crash(random, any_policy(random))),
          scene.options);
      if (cache) {
        std::string wrong;
        const Content content = content_of(*cache, scene.keys, wrong);
        const bool untouched = content == Content(scene.keys, 1);
        EXPECT_TRUE(content == Content(scene.keys, 0) || (k <= 3 && untouched))
            << "k " << k << ", " << proof.replay_command();
        EXPECT_EQ(wrong, "") << proof.replay_command();
      } else {
        EXPECT_TRUE(cache.error() == Errc::not_a_cache || cache.error() == Errc::superblock_damaged)
            << cache.error().message() << ", k " << k << ", " << proof.replay_command();
      }
      proof.add("crash_states", 1);
      if (!disk.is_cut()) {
        EXPECT_TRUE(formatted);
        break;
      }
      EXPECT_FALSE(formatted);
    }
  }
}

// --- Rot ---

TEST(Crash, ARottenSectorIsAMissOrAClearErrorAndNeverAnOlderValue) {
  std::uint64_t opened = 0;
  std::uint64_t refused = 0;
  for (Proof proof(1, 200); proof.next();) {
    std::mt19937_64 random(proof.seed());
    const Scene scene = tiny_scene(random);
    CutDisk disk(scene.device_bytes);
    ASSERT_TRUE(format_drawn(random, disk.disk(), scene.format));
    Oracle oracle(scene.keys, 0);
    const bool clean = random() % 2 == 0;
    {
      auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene.options);
      ASSERT_TRUE(cache) << cache.error().message();
      Workload workload(scene, random, 1, true,
                        [&](const Oracle::Event& event) { oracle.tell(event); });
      for (int i = 0; i < 100; ++i) ASSERT_TRUE(workload.step(*cache)) << proof.replay_command();
      ASSERT_TRUE(clean ? workload.close(*cache) : workload.flush(*cache));
      disk.cut_at(1);
    }
    Image whole = disk.medium().content();
    if (!clean) {
      // After a recovery, which ends with a checkpoint.
      CutDisk again(std::move(whole));
      auto cache = RawDiskCache::open(std::make_unique<LentDisk>(again.disk()), scene.options);
      ASSERT_TRUE(cache) << cache.error().message();
      again.cut_at(1);
      whole = again.medium().content();
    }
    for (int round = 0; round < 10; ++round) {
      Image image = whole;
      const std::size_t sectors = image.size() / SimDisk::kSectorBytes;
      const std::size_t at = random() % sectors * SimDisk::kSectorBytes;
      if (random() % 2 == 0) {
        image[at + random() % SimDisk::kSectorBytes] ^= std::byte(1 << random() % 8);
      } else {
        for (std::size_t i = 0; i < SimDisk::kSectorBytes; ++i) image[at + i] = std::byte(random());
      }
      auto cache = RawDiskCache::open(std::make_unique<SimDisk>(std::move(image)), scene.options);
      if (!cache) {
        EXPECT_TRUE(cache.error() == Errc::superblock_damaged ||
                    cache.error() == Errc::checkpoint_lost || cache.error() == Errc::not_a_cache)
            << cache.error().message() << ", " << proof.replay_command();
        ++refused;
        proof.add("rotten_disks", 1);
        continue;
      }
      ++opened;
      proof.add("rotten_disks", 1);
      std::string wrong;
      const Content content = content_of(*cache, scene.keys, wrong);
      ASSERT_EQ(wrong, "") << proof.replay_command();
      ASSERT_EQ(oracle.check_after_rot(content), "")
          << "sector at " << at << ", " << scene.words() << "\n"
          << proof.replay_command();
    }
  }
  EXPECT_GT(opened, refused);
}

}  // namespace
}  // namespace rawcache::testing
