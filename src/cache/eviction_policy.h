// EvictionPolicy: which segment is freed next. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "format/checkpoint.h"

namespace rawcache {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  /// The segment to free next among the sealed ones; nullopt if there is none.
  virtual std::optional<std::uint32_t> victim(std::span<const SegmentRecord> segments) const = 0;
};

/// The segment that was opened first goes first.
std::unique_ptr<EvictionPolicy> make_fifo_policy();

}  // namespace rawcache
