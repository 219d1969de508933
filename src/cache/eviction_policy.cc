#include "cache/eviction_policy.h"

namespace rawcache {
namespace {

class FifoPolicy final : public EvictionPolicy {
 public:
  std::optional<std::uint32_t> victim(std::span<const SegmentRecord> segments) const override {
    std::optional<std::uint32_t> oldest;
    for (std::uint32_t i = 0; i < segments.size(); ++i) {
      if (segments[i].state != static_cast<std::uint8_t>(SegmentState::sealed)) continue;
      if (!oldest || segments[i].generation < segments[*oldest].generation) oldest = i;
    }
    return oldest;
  }
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_fifo_policy() { return std::make_unique<FifoPolicy>(); }

}  // namespace rawcache
