// Guards C1-C3, C5, C6 and C11 in real processes on real files, killed with SIGKILL at a chosen
// write or sync or at any moment (crash/lives.h).
#include <gtest/gtest.h>

#include <unistd.h>

#include "crash/lives.h"
#include "disk/scratch.h"
#include "support/proof.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kSeries = 20;  ///< files, per engine
constexpr int kKillsPerSeries = 10;

class Kill : public ::testing::TestWithParam<IoEngine> {
 protected:
  std::string one_series(std::uint64_t seed);

  ScratchDirectory scratch_;
  std::uint64_t calls_ = 0;
  std::uint64_t in_recovery_ = 0;
};

std::string Kill::one_series(std::uint64_t seed) {
  Lives lives(seed, GetParam());
  const std::string path = scratch_ / ("cache-" + std::to_string(seed));
  if (auto said = lives.format(path); !said.empty()) return said;
  for (int life = 0; life < kKillsPerSeries; ++life) {
    if (auto said = lives.one_life(nullptr); !said.empty()) {
      return "life " + std::to_string(life) + ": " + said;
    }
  }
  calls_ += lives.calls();
  in_recovery_ += lives.ends_in_recovery();
  const std::string wrong = lives.end();
  ::unlink(path.c_str());
  return wrong;
}

TEST_P(Kill, NothingAcknowledgedIsLostNoValueIsWrongNoBatchIsHalfThere) {
  {
    auto disk = open_disk(scratch_ / "probe", {.engine = GetParam(), .create_bytes = 65536});
    if (!disk && disk.error() == Errc::not_supported) GTEST_SKIP() << disk.error().message();
  }
  for (Proof proof(1, kSeries); proof.next();) {
    const std::string wrong = one_series(proof.seed());
    ASSERT_EQ(wrong, "") << proof.replay_command();
    proof.add("kills", kKillsPerSeries);
  }
  std::printf("%llu of the kills during recovery, %llu calls\n",
              static_cast<unsigned long long>(in_recovery_),
              static_cast<unsigned long long>(calls_));
}

INSTANTIATE_TEST_SUITE_P(Engines, Kill, ::testing::Values(IoEngine::io_uring, IoEngine::posix),
                         [](const auto& engine) {
                           return std::string(engine.param == IoEngine::io_uring ? "io_uring"
                                                                                 : "posix");
                         });

}  // namespace
}  // namespace rawcache::testing
