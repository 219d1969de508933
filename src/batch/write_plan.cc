#include "batch/write_plan.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "batch/merge.h"

namespace rawcache {

bool WritePlan::make(std::span<const PendingWrite> pending, std::uint32_t io_alignment,
                     std::uint32_t memory_alignment) {
  clear();
  merge(pending);
  const std::span<const Copy> pieces = pieces_;
  // Pieces whose blocks meet make one run of blocks: two writes of a shared block would undo each
  // other.
  const auto blocks_begin = [&](const Copy& p) { return round_down(p.offset, io_alignment); };
  const auto blocks_end = [&](const Copy& p) {
    return round_up(p.offset + p.bytes.size(), io_alignment);
  };
  for (std::size_t i = 0, j = 0; i < pieces.size(); i = j) {
    std::uint64_t end = blocks_end(pieces[i]);
    for (j = i + 1; j < pieces.size() && blocks_begin(pieces[j]) <= end; ++j) {
      end = blocks_end(pieces[j]);
    }
    const std::uint64_t begin = blocks_begin(pieces[i]);
    split({begin, end - begin}, pieces.subspan(i, j - i), io_alignment, memory_alignment);
  }
  if (!make_room(memory_alignment)) return false;
  for (const Part& part : parts_) {
    if (part.direct == nullptr) plan_gather(part, pieces, io_alignment);
    plan_write(part, io_alignment);
  }
  return true;
}

void WritePlan::merge(std::span<const PendingWrite> pending) {
  if (pending.size() == 1) {  // as of most durable stores
    pieces_.push_back({pending.front().offset, pending.front().bytes});
    return;
  }
  for (const MergedWrite& run : merge_writes(pending)) {
    std::uint64_t offset = run.offset;
    for (const std::span<const std::byte> bytes : run.pieces) {
      pieces_.push_back({offset, bytes});
      offset += bytes.size();
    }
  }
}

/// Cuts a run of blocks into parts that go out as they lie in memory and parts to be gathered.
void WritePlan::split(const Extent& blocks, std::span<const Copy> pieces,
                      std::uint32_t io_alignment, std::uint32_t memory_alignment) {
  std::uint64_t at = blocks.offset;
  for (const Copy& piece : pieces) {
    const std::uint64_t begin = round_up(piece.offset, io_alignment);
    const std::uint64_t end = round_down(piece.offset + piece.bytes.size(), io_alignment);
    if (begin >= end) continue;
    const bool whole = Extent{begin, end - begin} == blocks;
    if (!whole && end - begin < kDirectBytesMin) continue;
    const std::byte* const memory = piece.bytes.data() + (begin - piece.offset);
    if (!is_aligned(reinterpret_cast<std::uintptr_t>(memory), memory_alignment)) continue;
    if (at < begin) parts_.push_back({{at, begin - at}});
    parts_.push_back({{begin, end - begin}, memory});
    at = end;
  }
  if (at < blocks.end()) parts_.push_back({{at, blocks.end() - at}});
}

bool WritePlan::make_room(std::uint32_t memory_alignment) {
  std::size_t size = 0;
  for (Part& part : parts_) {
    if (part.direct != nullptr) continue;
    part.bounce_at = size;
    size += round_up(part.extent.size, memory_alignment);
  }
  if (size > bounce_.size()) bounce_ = AlignedBuffer::allocate(size);
  return size == 0 || !bounce_.empty();
}

void WritePlan::plan_gather(const Part& part, std::span<const Copy> pieces,
                            std::uint32_t io_alignment) {
  std::byte* const memory = bounce_.data() + part.bounce_at;
  const Extent& blocks = part.extent;
  const std::size_t first_read = edge_reads_.size();
  const auto read_blocks_of = [&](std::uint64_t gap_begin, std::uint64_t gap_end) {
    std::uint64_t begin = round_down(gap_begin, io_alignment);
    const std::uint64_t end = round_up(gap_end, io_alignment);
    if (edge_reads_.size() > first_read) {
      IoRequest& last = edge_reads_.back();
      if (last.offset + last.size >= begin) {
        last.size = end - last.offset;
        return;
      }
    }
    edge_reads_.push_back({.kind = IoRequest::Kind::read,
                           .offset = begin,
                           .data = memory + (begin - blocks.offset),
                           .size = end - begin});
  };

  auto piece = std::partition_point(pieces.begin(), pieces.end(), [&](const Copy& p) {
    return p.offset + p.bytes.size() <= blocks.offset;
  });
  std::uint64_t at = blocks.offset;
  for (; piece != pieces.end() && piece->offset < blocks.end(); ++piece) {
    const std::uint64_t begin = std::max(piece->offset, blocks.offset);
    const std::uint64_t end = std::min(piece->offset + piece->bytes.size(), blocks.end());
    if (at < begin) read_blocks_of(at, begin);
    copies_.emplace_back(memory + (begin - blocks.offset),
                         piece->bytes.subspan(begin - piece->offset, end - begin));
    at = end;
  }
  if (at < blocks.end()) read_blocks_of(at, blocks.end());
}

void WritePlan::plan_write(const Part& part, std::uint32_t io_alignment) {
  const std::byte* const memory =
      part.direct != nullptr ? part.direct : bounce_.data() + part.bounce_at;
  const std::uint64_t piece_bytes = std::max<std::uint64_t>(kWritePieceBytes, io_alignment);
  for (std::uint64_t done = 0; done < part.extent.size; done += piece_bytes) {
    writes_.push_back({.kind = IoRequest::Kind::write,
                       .offset = part.extent.offset + done,
                       .data = const_cast<std::byte*>(memory) + done,
                       .size = std::min(piece_bytes, part.extent.size - done)});
  }
}

void WritePlan::gather() {
  for (const auto& [to, from] : copies_) std::memcpy(to, from.data(), from.size());
}

void WritePlan::clear() {
  pieces_.clear();
  parts_.clear();
  copies_.clear();
  edge_reads_.clear();
  writes_.clear();
}

}  // namespace rawcache
