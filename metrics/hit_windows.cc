#include "metrics/hit_windows.h"

#include <algorithm>

namespace rawcache::metrics {

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
/// Samples come when a timer gets its turn, so a window may reach this much further back.
constexpr std::uint64_t kSlack = kSecond / 2;

}  // namespace

void HitWindows::add(std::uint64_t now_ns, std::uint64_t lookups, std::uint64_t hits) {
  if (samples_.size() > 1 && now_ns - samples_[samples_.size() - 2].at_ns < kSlack) {
    samples_.pop_back();
  }
  samples_.push_back({now_ns, lookups, hits});
  const std::uint64_t kept = kSeconds.back() * kSecond + kSlack;
  while (now_ns - samples_.front().at_ns > kept) samples_.pop_front();
}

std::optional<double> HitWindows::ratio(unsigned seconds) const {
  if (samples_.empty()) return std::nullopt;
  const Sample& last = samples_.back();
  const std::uint64_t span = seconds * kSecond + kSlack;
  const auto first = std::ranges::find_if(
      samples_, [&](const Sample& sample) { return last.at_ns - sample.at_ns <= span; });
  const std::uint64_t lookups = last.lookups - first->lookups;
  if (lookups == 0) return std::nullopt;
  return static_cast<double>(last.hits - first->hits) / static_cast<double>(lookups);
}

}  // namespace rawcache::metrics
