#include "support/proof.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>
#include <string_view>

namespace rawcache::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();

/// Per cent of the seeds that builds with sanitizers have the time for.
constexpr std::uint64_t scale() {
#if defined(__SANITIZE_THREAD__)
  return 5;
#elif defined(__SANITIZE_ADDRESS__)
  return 20;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return 5;
#elif __has_feature(address_sanitizer)
  return 20;
#endif
#endif
  return 100;
}

template <typename T>
bool parse(std::string_view text, T& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool parse_one(std::string_view name, std::string_view value) {
  ProofArguments& arguments = proof_arguments();
  if (name == "--seconds") return parse(value, arguments.seconds) && arguments.seconds > 0;
  if (name == "--first-seed") return parse(value, arguments.first_seed);
  return parse(value, arguments.seeds);
}

}  // namespace

ProofArguments& proof_arguments() {
  static ProofArguments arguments;
  return arguments;
}

bool parse_proof_arguments(int& argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const std::string_view name = word.substr(0, word.find('='));
    if (word == "--json") {
      proof_arguments().json = true;
    } else if (name == "--seconds" || name == "--first-seed" || name == "--seeds") {
      const bool inside = name.size() < word.size();
      const std::string_view value = inside         ? word.substr(name.size() + 1)
                                     : i + 1 < argc ? argv[++i]
                                                    : "";
      if (!parse_one(name, value)) {
        std::fprintf(stderr, "%s wants a number\n", std::string(name).c_str());
        return false;
      }
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  argv[argc] = nullptr;
  return true;
}

Proof::Proof(std::uint64_t first, std::uint64_t count) : first_(first), deadline_(Clock::now()) {
  const ProofArguments& arguments = proof_arguments();
  if (first != 0 && arguments.first_seed != 0) first_ = arguments.first_seed;
  next_ = first_;
  end_ = first_ + std::max<std::uint64_t>(1, count * scale() / 100);
  if (first == 0) return;
  if (arguments.seconds > 0) {
    end_ = kNoEnd;
    deadline_ += std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(arguments.seconds));
  }
  if (arguments.seeds != 0) end_ = first_ + arguments.seeds;
}

bool Proof::next() {
  if (next_ >= end_ || (end_ == kNoEnd && Clock::now() >= deadline_)) return false;
  ++next_;
  return true;
}

Proof::~Proof() {
  const bool failed = ::testing::Test::HasFailure();
  const std::string range =
      first_ == 0 ? "" : std::to_string(first_) + ".." + std::to_string(next_ - 1);
  for (const auto& [kind, count] : figures_) {
    if (proof_arguments().json) {
      std::printf(R"({"kind":"%s","count":%llu,"violations":%d,"seeds":"%s"})"
                  "\n",
                  kind.c_str(), static_cast<unsigned long long>(count), failed ? 1 : 0,
                  range.c_str());
    } else {
      std::printf("%s in %llu %s%s%s\n", failed ? "a violation" : "0 violations",
                  static_cast<unsigned long long>(count), kind.c_str(),
                  range.empty() ? "" : ", seeds ", range.c_str());
    }
  }
}

std::string Proof::replay_command() const {
  const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string name =
      info == nullptr ? "*" : std::string(info->test_suite_name()) + "." + info->name();
  return "replay: <this executable> --gtest_filter=" + name +
         " --first-seed=" + std::to_string(seed()) + " --seeds=1";
}

}  // namespace rawcache::testing
