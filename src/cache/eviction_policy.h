// EvictionPolicy: which segment is freed next, and what becomes of it. Pure decisions. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "format/checkpoint.h"
#include "rawcache/options.h"

namespace rawcache {

/// What the live entries of a segment amount to, in bytes (size classes).
struct SegmentUse {
  std::uint64_t live = 0;
  std::uint64_t hot = 0;       ///< of them with hits
  std::uint64_t last_hit = 0;  ///< bytes appended to the log by then
};

/// What a decision is made from.
struct LogView {
  std::span<const SegmentRecord> segments;
  std::span<const SegmentUse> uses;
  std::uint64_t segment_bytes = 0;
  std::uint64_t tokens = 0;     ///< bytes that may be copied
  std::uint32_t rotations = 0;  ///< of segments in this reclaim
};

struct EvictionStep {
  enum class Action : std::uint8_t {
    evict,    ///< free the segment; the policy says whether hot entries are kept
    relabel,  ///< it is good enough to be counted to the main stream as it is; hits start anew
    rotate,   ///< it is good enough for another round; each entry loses a hit
  };
  std::uint32_t segment = 0;
  Action action = Action::evict;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  /// What to do next with one of the sealed segments; nullopt if there is none.
  virtual std::optional<EvictionStep> next(const LogView& view) const = 0;
  /// Whether entries with hits are copied to the main stream, as far as there are tokens.
  virtual bool keeps_hot() const { return false; }
  /// Whether it wants to know of stores of keys that were evicted without a hit.
  virtual bool remembers() const { return false; }
  /// Checkpoints are this many times as frequent as for fifo: a segment is reused only when a
  /// checkpoint is newer than its last batch, and some are reclaimed early.
  virtual std::uint64_t checkpoint_share() const { return 1; }
  /// Segments that are appended, at least, between the storing of an entry and its eviction, of
  /// `segments` in use.
  virtual std::uint64_t distance(std::uint64_t segments) const = 0;
};

/// rc needs spare segments to copy into; a cache that has none evicts like fifo.
std::unique_ptr<EvictionPolicy> make_eviction_policy(EvictionPolicyKind kind, double wa_cap,
                                                     std::uint64_t spare_segments);

}  // namespace rawcache
