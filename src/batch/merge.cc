#include "batch/merge.h"

#include <algorithm>
#include <numeric>
#include <queue>

#include "base/math.h"
#include "base/mutant.h"

namespace rawcache {

std::vector<MergedRead> merge_reads(std::span<const Extent> extents, std::uint64_t gap_bytes,
                                    std::uint32_t alignment) {
  std::vector<std::uint32_t> order(extents.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return extents[a].offset != extents[b].offset ? extents[a].offset < extents[b].offset : a < b;
  });

  std::vector<MergedRead> merged;
  for (const std::uint32_t index : order) {
    const std::uint64_t begin = round_down(extents[index].offset, alignment);
    const std::uint64_t end = round_up(extents[index].end(), alignment);
    if (!merged.empty()) {
      Extent& last = merged.back().extent;
      const std::uint64_t grown = std::max(last.end(), end) - last.offset;
      const std::uint64_t gap_max = gap_bytes + (mutated(Mutant::kGapOffByOne) ? 1 : 0);
      const bool near = begin <= last.end() || begin - last.end() <= gap_max;
      if (near && (grown == last.size || grown <= kMergedReadBytesMax)) {
        last.size = grown;
        merged.back().requests.push_back(index);
        continue;
      }
    }
    merged.push_back({{begin, end - begin}, {index}});
  }
  return merged;
}

namespace {

/// Appends bytes at `offset`, which is not below the end of the last run.
void append(std::vector<MergedWrite>& runs, std::uint64_t offset,
            std::span<const std::byte> bytes) {
  if (runs.empty() || runs.back().end() != offset) {
    runs.push_back({offset, bytes.size(), {bytes}});
    return;
  }
  MergedWrite& run = runs.back();
  run.size += bytes.size();
  std::span<const std::byte>& last = run.pieces.back();
  if (last.data() + last.size() == bytes.data()) {
    last = {last.data(), last.size() + bytes.size()};
  } else {
    run.pieces.push_back(bytes);
  }
}

}  // namespace

std::vector<MergedWrite> merge_writes(std::span<const PendingWrite> writes) {
  std::vector<std::uint32_t> order(writes.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return writes[a].offset != writes[b].offset ? writes[a].offset < writes[b].offset : a < b;
  });

  // A sweep over the disk. `covering` holds the writes that have begun, the latest on top; those
  // that have ended are dropped when they come up.
  std::vector<MergedWrite> runs;
  std::priority_queue<std::uint32_t> covering;
  std::uint64_t at = 0;
  for (std::size_t next = 0; next < order.size() || !covering.empty();) {
    if (covering.empty()) at = writes[order[next]].offset;
    while (next < order.size() && writes[order[next]].offset <= at) covering.push(order[next++]);
    const PendingWrite& top = writes[covering.top()];
    if (top.end() <= at) {
      covering.pop();
      continue;
    }
    std::uint64_t until = top.end();
    if (next < order.size() && !mutated(Mutant::kEarlierWriteWins)) {
      until = std::min(until, writes[order[next]].offset);
    }
    append(runs, at, top.bytes.subspan(at - top.offset, until - at));
    at = until;
  }
  return runs;
}

std::vector<Extent> uncovered(const Extent& extent, std::span<Extent> covered) {
  std::sort(covered.begin(), covered.end(),
            [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::vector<Extent> holes;
  std::uint64_t at = extent.offset;
  for (const Extent& part : covered) {
    if (part.offset >= extent.end()) break;
    if (part.offset > at) holes.push_back({at, part.offset - at});
    at = std::max(at, part.end());
  }
  if (at < extent.end()) holes.push_back({at, extent.end() - at});
  return holes;
}

}  // namespace rawcache
