// What BatchIOManager keeps about each of its write buffers.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/math.h"
#include "base/published.h"
#include "batch/batch_io_manager.h"
#include "batch/write_buffer.h"
#include "batch/write_plan.h"
#include "rawcache/disk.h"

namespace rawcache {

/// The error of a request that has failed.
Error failure_of(const IoRequest& request);

// `has_edges` is guarded by buffer_mutex_, and so is the plan once it has some. The buffer is too
// while it fills; once sealed it is constant until it is durable. The rest belongs to the flusher.
struct BatchIOManager::Slot {
  explicit Slot(const BatchLimits& limits, std::uint64_t more_bytes = 0)
      : buffer(limits, more_bytes) {}

  bool under_way() const { return state.get() != State::waiting; }

  /// Blocks that are written only in part are undefined on the device until that write has
  /// succeeded. Until then the bytes beside the buffered ones are found here.
  bool edges_overlap(const Extent& extent) const {
    return has_edges && std::ranges::any_of(plan.edge_reads(), [&](const IoRequest& edge) {
             return edge.offset < extent.end() && extent.offset < edge.offset + edge.size;
           });
  }
  void read_edges(const Extent& extent, std::span<std::byte> into,
                  std::vector<Extent>& covered) const {
    if (!has_edges) return;
    for (const IoRequest& edge : plan.edge_reads()) {
      const std::uint64_t begin = std::max(edge.offset, extent.offset);
      const std::uint64_t end = std::min(edge.offset + edge.size, extent.end());
      if (begin >= end) continue;
      std::memcpy(into.data() + (begin - extent.offset), edge.data + (begin - edge.offset),
                  end - begin);
      covered.push_back({begin, end - begin});
    }
  }

  /// Some block is written by both.
  bool touches(const Slot& other, std::uint32_t io_alignment) const {
    const Extent mine = blocks_of(buffer.bounds(), io_alignment);
    const Extent others = blocks_of(other.buffer.bounds(), io_alignment);
    if (mine.end() <= others.offset || others.end() <= mine.offset) return false;
    return std::ranges::any_of(buffer.writes(), [&](const PendingWrite& write) {
      return other.buffer.overlaps(blocks_of({write.offset, write.bytes.size()}, io_alignment));
    });
  }
  static Extent blocks_of(const Extent& extent, std::uint32_t io_alignment) {
    const std::uint64_t begin = round_down(extent.offset, io_alignment);
    return {begin, round_up(extent.end(), io_alignment) - begin};
  }

  enum class State : std::uint8_t { waiting, starting, in_flight };
  WriteBuffer buffer;
  Published<State> state;
  std::chrono::steady_clock::time_point begun;  ///< when the writes were, last
  Published<std::uint64_t> plan_bytes;
  WritePlan plan;
  bool planned = false;    ///< the plan is made and its blocks have been read
  bool has_edges = false;  ///< ... and it had some to read
  IoBatch io;
};

/// A list that needs no memory: what a flush has begun it must be able to end.
struct BatchIOManager::SealedSlots {
  std::array<Slot*, kSealedBuffersMax> slots{};
  std::size_t count = 0;
  std::span<Slot* const> all() const { return std::span(slots).first(count); }
};

/// A part of a request that the device has to serve.
struct BatchIOManager::Piece {
  Extent extent;
  std::uint32_t answer = 0;
  std::byte* copy_to = nullptr;  ///< null: the answer is a view of what was read
};

}  // namespace rawcache
