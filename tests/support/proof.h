// Proof: the seeds that a random test goes through, and the figures that `./x prove` sums up.
//
// Every program of such tests takes these arguments (support/proof_main.cc):
//   --seconds S      each test goes on with new seeds for so long, instead of a fixed number of
//   them
//   --first-seed N   ... from this one
//   --seeds N        ... and stops after so many
//   --json           prints one line of JSON per test and kind of figure:
//                    {"kind":"crash_states","count":39526,"violations":0,"seeds":"1..1000"}
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace rawcache::testing {

/// What the command line asks for. Set before tests run.
struct ProofArguments {
  double seconds = 0;            ///< 0: not limited by time
  std::uint64_t first_seed = 0;  ///< 0: the test's own
  std::uint64_t seeds = 0;       ///< 0: the test's own, or no limit if limited by time
  bool json = false;
};
ProofArguments& proof_arguments();

/// Takes the arguments above out of argv. False, with a word on stderr, if one is wrong.
bool parse_proof_arguments(int& argc, char** argv);

/// One test's way through its seeds, and what it counted. Says so when it ends.
///
///   for (Proof proof(1, 1000); proof.next();) {
///     ASSERT_EQ(wrong(proof.seed()), "") << proof.replay_command();
///     proof.add("crash_states", n);
///   }
class Proof {
 public:
  /// A test that draws no seeds: it goes round once.
  Proof() : Proof(0, 1) {}
  /// Unless told otherwise: `count` seeds from `first`; fewer in builds with sanitizers.
  Proof(std::uint64_t first, std::uint64_t count);
  Proof(const Proof&) = delete;
  Proof& operator=(const Proof&) = delete;
  /// Prints the figures. The violations are the failures of the current test.
  ~Proof();

  /// On to the next seed, if there is one.
  bool next();
  std::uint64_t seed() const { return next_ - 1; }
  void add(const std::string& kind, std::uint64_t count) { figures_[kind] += count; }
  /// The command that goes through the current seed alone.
  std::string replay_command() const;

 private:
  std::uint64_t first_;
  std::uint64_t next_;
  std::uint64_t end_;
  std::chrono::steady_clock::time_point deadline_;
  std::map<std::string, std::uint64_t> figures_;
};

}  // namespace rawcache::testing
