#include "cache/eviction_policy.h"

#include <algorithm>
#include <utility>

namespace rawcache {
namespace {

using Action = EvictionStep::Action;

/// The sealed segment for which `key` is lowest, of those that `counts`.
template <typename Counts, typename Key>
std::optional<std::uint32_t> lowest(const LogView& view, Counts counts, Key key) {
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < view.segments.size(); ++i) {
    if (view.segments[i].state != static_cast<std::uint8_t>(SegmentState::sealed)) continue;
    if (!counts(i)) continue;
    if (!best || key(i) < key(*best)) best = i;
  }
  return best;
}

constexpr auto kAny = [](std::uint32_t) { return true; };

std::optional<EvictionStep> evict(std::optional<std::uint32_t> segment) {
  if (!segment) return std::nullopt;
  return EvictionStep{*segment, Action::evict};
}

/// The segment that was opened first goes first.
class FifoPolicy final : public EvictionPolicy {
 public:
  std::optional<EvictionStep> next(const LogView& view) const override {
    return evict(lowest(view, kAny, [&](std::uint32_t i) { return view.segments[i].generation; }));
  }
  std::uint64_t distance(std::uint64_t segments) const override { return segments; }
};

/// The segment that was asked for longest ago goes first.
class LruPolicy final : public EvictionPolicy {
 public:
  std::optional<EvictionStep> next(const LogView& view) const override {
    return evict(lowest(view, kAny, [&](std::uint32_t i) {
      return std::pair(view.uses[i].last_hit, view.segments[i].generation);
    }));
  }
  std::uint64_t distance(std::uint64_t) const override { return 0; }
};

/// Shares of a segment's bytes that must be hot for it to stay as it is.
struct Thresholds {
  double relabel = 0.50;
  double rotate = 0.60;
  double without_tokens = 0.30;  ///< when there are no tokens to copy what is hot
};

constexpr double kSmallShare = 0.125;  ///< of the segments, for what has not proved its worth
/// A segment counts as filled this much at least, however much of it has died.
constexpr std::uint64_t kFilledPercentMin = 75;
constexpr std::uint64_t kMostlyDeadShare = 2;  ///< less of a segment than 1 / this is alive
constexpr std::uint64_t kCheckpointShare = 5;  ///< 1/10 of the capacity: within the small queue

/// Two queues: new entries wait in the small one; what is asked for there moves to the main one, by
/// copying or, where a segment is good enough as a whole, by relabelling it.
class RcPolicy final : public EvictionPolicy {
 public:
  explicit RcPolicy(double wa_cap) : copies_(wa_cap > 1) {
    if (!copies_) thresholds_ = {.relabel = 0.40, .rotate = 0.40, .without_tokens = 0.35};
  }

  std::optional<EvictionStep> next(const LogView& view) const override {
    const auto position = [&](std::uint32_t i) { return view.segments[i].queue_position; };
    const auto dead =
        lowest(view, [&](std::uint32_t i) { return view.uses[i].live == 0; }, position);
    if (dead) return evict(dead);

    const auto small =
        lowest(view, [&](std::uint32_t i) { return is_small(view.segments[i]); }, position);
    // What has been stored in the main stream lately stays as long as in the small one.
    std::uint32_t newest = 0;
    for (const SegmentRecord& record : view.segments) newest = std::max(newest, record.generation);
    const auto is_settled_main = [&](std::uint32_t i) {
      const SegmentRecord& record = view.segments[i];
      return !is_small(record) && newest - record.generation >= distance(view.segments.size());
    };
    auto main = lowest(view, is_settled_main, position);
    const auto smalls = std::ranges::count_if(view.segments, [](const SegmentRecord& record) {
      return record.state != static_cast<std::uint8_t>(SegmentState::free) && is_small(record);
    });
    const bool small_is_large =
        double(smalls) > kSmallShare * double(view.segments.size()) || !main;
    if (small && small_is_large) {
      return EvictionStep{
          *small, stays(view, *small, thresholds_.relabel) ? Action::relabel : Action::evict};
    }
    const auto mostly_dead = lowest(
        view,
        [&](std::uint32_t i) {
          return is_settled_main(i) && view.uses[i].live < view.segment_bytes / kMostlyDeadShare;
        },
        position);
    if (mostly_dead) return evict(mostly_dead);
    // Only where nearly nothing is in use can all of it be new.
    if (!main) main = lowest(view, kAny, position);
    if (!main) return std::nullopt;
    const bool rotates =
        view.rotations < view.segments.size() && stays(view, *main, thresholds_.rotate);
    return EvictionStep{*main, rotates ? Action::rotate : Action::evict};
  }

  bool keeps_hot() const override { return copies_; }
  bool remembers() const override { return true; }
  std::uint64_t checkpoint_share() const override { return kCheckpointShare; }

  /// New entries stay until the small queue has passed its share. What moved on stays longer.
  std::uint64_t distance(std::uint64_t segments) const override {
    return static_cast<std::uint64_t>(kSmallShare * double(segments));
  }

 private:
  static bool is_small(const SegmentRecord& record) {
    return record.label == static_cast<std::uint8_t>(Stream::small);
  }
  bool stays(const LogView& view, std::uint32_t segment, double threshold) const {
    const std::uint64_t hot = view.uses[segment].hot;
    // Headers, padding and what did not fit at the end say nothing about the entries.
    const std::uint64_t filled =
        std::max(view.uses[segment].live, view.segment_bytes / 100 * kFilledPercentMin);
    const double share = double(hot) / double(filled);
    return share >= threshold || (view.tokens < hot && share >= thresholds_.without_tokens);
  }

  const bool copies_;
  Thresholds thresholds_;
};

/// rc copies into one segment while it frees another.
constexpr std::uint64_t kSparesToCopy = 2;

}  // namespace

std::unique_ptr<EvictionPolicy> make_eviction_policy(EvictionPolicyKind kind, double wa_cap,
                                                     std::uint64_t spare_segments) {
  if (kind == EvictionPolicyKind::lru) return std::make_unique<LruPolicy>();
  if (kind == EvictionPolicyKind::rc && spare_segments >= kSparesToCopy) {
    return std::make_unique<RcPolicy>(wa_cap);
  }
  return std::make_unique<FifoPolicy>();
}

}  // namespace rawcache
