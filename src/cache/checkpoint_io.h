// Writing and reading the stream of a checkpoint area, and the hints behind it, chunk by chunk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/aligned_buffer.h"
#include "format/batch.h"
#include "format/checkpoint.h"
#include "format/superblock.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

/// Writes one checkpoint into an area. Until commit the area holds no valid checkpoint.
class CheckpointWriter {
 public:
  /// Error: out_of_memory.
  static Result<CheckpointWriter> create(Disk& disk, const Superblock& superblock, int area,
                                         std::uint64_t generation);

  /// Appends to the stream. Errors: io_error, no_space (also: the area is full).
  Result<void> append(std::span<const std::byte> bytes);
  /// Ends the stream: what is appended from here on are hints.
  Result<void> begin_hints();
  /// Whether so much more can be appended.
  bool takes(std::uint64_t bytes) const;
  /// Writes what is left.
  Result<void> finish();
  /// Makes it valid, once it is durable, if the stream is durable already: writes the header, with
  /// the stream's figures filled in.
  Result<void> commit(CheckpointHeader header);

 private:
  CheckpointWriter(Disk& disk, const Superblock& superblock, int area, std::uint64_t generation,
                   AlignedBuffer chunk);
  Result<void> write_chunk();

  Disk* disk_;
  const Superblock* superblock_;
  std::uint64_t area_offset_;
  std::uint64_t generation_;
  AlignedBuffer chunk_;
  std::uint64_t fill_ = sizeof(ChunkHeader);
  std::uint64_t next_offset_;
  std::uint32_t number_ = 0;
  struct Stream {
    std::uint64_t bytes = 0;
    std::uint64_t digest = kDigestStart;
  };
  std::array<Stream, 2> streams_;  ///< the stream, the hints
  std::size_t at_ = 0;             ///< that is being written
};

/// Reads one. Every byte handed out has been verified.
class CheckpointReader {
 public:
  /// nullopt if the area's header does not verify or cannot belong to this cache.
  static std::optional<CheckpointReader> open(Disk& disk, const Superblock& superblock, int area);
  /// Reads its hints instead of its stream. nullopt also if there are none.
  static std::optional<CheckpointReader> open_hints(Disk& disk, const Superblock& superblock,
                                                    int area);

  const CheckpointHeader& header() const { return header_; }
  int area() const { return area_; }
  /// The next bytes of the stream; false if they are damaged, unreadable or past the end.
  bool read(std::span<std::byte> into);
  /// All of it has been read and is what the header means.
  bool complete() const;
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  CheckpointReader() = default;
  bool next_chunk();

  Disk* disk_ = nullptr;
  const Superblock* superblock_ = nullptr;
  int area_ = 0;
  CheckpointHeader header_{};
  AlignedBuffer chunk_;
  std::span<const std::byte> rest_;  ///< of the current chunk's payload
  std::uint64_t next_offset_ = 0;
  std::uint32_t number_ = 0;
  std::uint64_t bytes_wanted_ = 0;
  std::uint64_t digest_wanted_ = 0;
  std::uint64_t stream_read_ = 0;
  std::uint64_t digest_ = kDigestStart;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace rawcache
