// Recovery: newest valid checkpoint + replay of the log since. Reads only.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cache/index.h"
#include "format/batch.h"
#include "format/checkpoint.h"
#include "format/segment.h"
#include "format/superblock.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

struct RecoveryCounts {
  std::uint64_t read_bytes = 0;
  std::uint64_t payload_bytes = 0;  ///< of them in segments scanned block by block
  std::uint64_t batches = 0;
  std::uint64_t entries = 0;
  std::uint64_t segments_by_footer = 0;
  std::uint64_t segments_scanned = 0;
  std::uint64_t unreadable = 0;     ///< blocks or bytes that the device refused to read
  std::uint64_t damaged_parts = 0;  ///< of committed batches, with entries that do not verify
};

/// Everything a cache needs to go on, beside the index.
struct Recovered {
  std::vector<SegmentRecord> table;
  /// Where a stream goes on.
  struct Head {
    std::uint32_t open_segment = kNoSegment;
    std::uint32_t previous_segment = kNoSegment;
    std::uint64_t open_position = 0;
    std::vector<FooterRecord> open_records;
  };
  std::array<Head, kStreams> heads;
  /// Disk offsets of blocks to be erased before the log goes on, or a later recovery might believe
  /// them: the headers of parts that do not count because a crash cut their batch, or one before
  /// it, off, and the trailers of footers that were written with such parts.
  std::vector<std::uint64_t> cut_off;

  std::uint64_t next_batch = 1;
  std::uint64_t next_sequence = 1;
  std::uint32_t next_generation = 1;
  std::uint64_t durable_through = 0;
  std::uint64_t time_high = 0;

  std::uint64_t replay_from =
      0;  ///< of the checkpoint that was used; 0 if it was rebuilt without one
  std::uint64_t checkpoint_generation = 0;
  int checkpoint_area = 0;
  std::uint64_t checkpoint_entries = 0;

  /// An orderly close, and nothing after it; otherwise a new checkpoint is wanted before any write.
  bool clean = true;
  RecoveryCounts counts;
};

/// Fills the (empty) index. `rebuild`: go on without a checkpoint, keeping what provably is newest.
/// Errors: checkpoint_lost, out_of_memory.
Result<Recovered> recover(Disk& disk, const Superblock& superblock, Index& index, bool rebuild);

}  // namespace rawcache
