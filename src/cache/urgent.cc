// Priority::urgent: durable stores that must not wait for many bytes of others.
//
// The log has one order, so an urgent entry cannot become durable before what was appended before
// it. What can be bounded is how much that is: batches are closed early while urgent stores come.
// And whoever is urgent has the next turn to flush.
#include <algorithm>

#include "base/mutant.h"
#include "cache/cache_impl.h"

namespace rawcache {
namespace {

/// Up to kSealedBuffersMax + 1 batches are ahead of an urgent store. They may be as large as the
/// first, and up to the second where syncs cost so much that it makes little difference.
constexpr std::uint64_t kBatchBytesMin = std::uint64_t{1} << 20;
constexpr std::uint64_t kBatchBytesMax = std::uint64_t{7} << 19;
/// How long after an urgent store the next one is expected.
constexpr std::uint64_t kExpectedNs = 2'000'000'000;

}  // namespace

void RawDiskCache::Impl::note_urgent(DirectWrite* direct) {
  if (direct != nullptr) direct->urgent = !mutated(Mutant::kUrgentHasNoTurn);
  if (mutated(Mutant::kBatchesStayLarge)) return;
  urgent_until_ns_.store(monotonic() + kExpectedNs, std::memory_order_relaxed);
  const std::uint64_t brief = brief_batch_bytes_.load(std::memory_order_relaxed);
  if (io_->target_bytes() > brief) io_->set_target(brief);
}

void RawDiskCache::Impl::set_batch_target(std::uint64_t bytes) {
  const std::uint64_t brief = brief_batch_bytes(
      flush_costs_, {.min_bytes = kBatchBytesMin, .max_bytes = kBatchBytesMax, .interval_ns = 0});
  brief_batch_bytes_.store(brief, std::memory_order_relaxed);
  const std::uint64_t until = urgent_until_ns_.load(std::memory_order_relaxed);
  const bool expected = until != 0 && (monotonic() < until || mutated(Mutant::kBatchesStaySmall));
  io_->set_target(expected ? std::min(bytes, brief) : bytes);
}

}  // namespace rawcache
