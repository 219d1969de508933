// Guards C1-C3, C5, C6 and C11 in real processes on a device that forgets what was not synced: a
// file of a FUSE file system with a volatile write cache, and a loop device over it. The process is
// killed and the power cut at a chosen write or sync or at any moment; unsynced writes are lost,
// kept and torn in any subset (crash/lives.h).
#include <gtest/gtest.h>

#include <unistd.h>

#include <optional>
#include <ostream>

#include "crash/lives.h"
#include "crash/volatile_file.h"
#include "disk/scratch.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kSeries = 6;  ///< devices, per kind
constexpr int kCutsPerSeries = 20;

struct Kind {
  const char* name;
  IoEngine engine;
  bool loop;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
constexpr Kind kKinds[] = {{"file_io_uring", IoEngine::io_uring, false},
                           {"file_posix", IoEngine::posix, false},
                           {"loop_io_uring", IoEngine::io_uring, true}};

class Device final : public PowerSwitch {
 public:
  Device(VolatileFile& file, bool loop) : file_(file), loop_(loop) { plug_in(); }
  std::string path() const {
    return !loop_ ? file_.path() : device_ ? device_->path() : std::string();
  }
  void child_starts() override { file_.set_victim(::getpid()); }
  void cut_at(std::uint64_t k) override { file_.cut_at(k); }
  std::string restart(std::uint64_t seed) override {
    device_.reset();
    if (!file_.restart(seed)) return {};
    plug_in();
    return path();
  }

 private:
  void plug_in() {
    if (loop_) device_.emplace(file_.path(), "");
  }

  VolatileFile& file_;
  const bool loop_;
  std::optional<LoopDevice> device_;
};

class PowerCut : public ::testing::TestWithParam<Kind> {
 protected:
  /// Skips the test where it cannot be had.
  std::unique_ptr<VolatileFile> make_file(std::uint64_t bytes) {
    std::string why_not;
    auto file = VolatileFile::mount(scratch_.path(), bytes, why_not);
    skip_ = why_not;
    return file;
  }

  std::string one_series(std::uint64_t seed) {
    Lives lives(seed, GetParam().engine);
    const auto file = make_file(lives.device_bytes());
    if (!file) return {};
    Device device(*file, GetParam().loop);
    if (device.path().empty()) {
      skip_ = "no loop device over FUSE";
      return {};
    }
    if (auto said = lives.format(device.path()); !said.empty()) return said;
    for (int life = 0; life < kCutsPerSeries; ++life) {
      if (auto said = lives.one_life(&device); !said.empty()) {
        return "life " + std::to_string(life) + ": " + said;
      }
    }
    calls_ += lives.calls();
    in_recovery_ += lives.ends_in_recovery();
    return lives.end();
  }

  ScratchDirectory scratch_;
  std::string skip_;
  std::uint64_t calls_ = 0;
  std::uint64_t in_recovery_ = 0;
};

TEST_P(PowerCut, NothingAcknowledgedIsLostNoValueIsWrongNoBatchIsHalfThere) {
  for (Proof proof(1, kSeries); proof.next();) {
    const std::string wrong = one_series(proof.seed());
    if (!skip_.empty()) GTEST_SKIP() << skip_;
    ASSERT_EQ(wrong, "") << proof.replay_command();
    proof.add("power_cuts", kCutsPerSeries);
  }
  std::printf("%llu of the cuts during recovery, %llu calls\n",
              static_cast<unsigned long long>(in_recovery_),
              static_cast<unsigned long long>(calls_));
}

INSTANTIATE_TEST_SUITE_P(Kinds, PowerCut, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace rawcache::testing
