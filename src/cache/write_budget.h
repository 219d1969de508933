// WriteBudget: how much may be written to the device now, of so much per day. Internal.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rawcache {

/// Fills evenly, up to an hour's share, and is drained by every byte that the device was given;
/// what had to be written without asking makes it negative, and is saved afterwards. Not
/// synchronised: the log's lock guards it.
class WriteBudget {
 public:
  /// bytes_per_day 0: no bound.
  WriteBudget(std::uint64_t bytes_per_day, std::uint64_t now_ns)
      : bytes_per_ns_(double(bytes_per_day) / kNsPerDay),
        full_(double(bytes_per_day) / kHoursPerDay),
        level_(full_ / 2),
        filled_ns_(now_ns) {}

  bool bounded() const { return full_ > 0; }
  /// The share of what may be saved up that is left: 1 full, 0 empty or in debt. `written`: bytes
  /// that the device was given since the cache was opened.
  double left(std::uint64_t now_ns, std::uint64_t written) {
    if (!bounded()) return 1;
    if (now_ns > filled_ns_) level_ += double(now_ns - filled_ns_) * bytes_per_ns_;
    filled_ns_ = std::max(filled_ns_, now_ns);
    level_ = std::min(level_ - double(written - written_), full_);
    written_ = written;
    return std::clamp(level_ / full_, 0.0, 1.0);
  }

 private:
  static constexpr double kHoursPerDay = 24;
  static constexpr double kNsPerDay = kHoursPerDay * 3600e9;

  const double bytes_per_ns_;
  const double full_;
  double level_;
  std::uint64_t filled_ns_;
  std::uint64_t written_ = 0;
};

}  // namespace rawcache
