// The batch: what one flush makes durable. One or more parts (one per segment touched), each a
// header followed by packed entries. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "format/entry.h"
#include "format/identity.h"

namespace rawcache {

inline constexpr std::uint32_t kBatchMagic = 0x48435442;  // "BTCH"
inline constexpr std::uint32_t kNoSegment = 0xFFFFFFFF;
inline constexpr std::uint32_t kSincePreviousMax = 0xFFFFFF;

struct BatchHeader {
  std::uint32_t magic;
  std::uint16_t part;      ///< 0-based
  std::uint16_t parts;     ///< parts of this batch
  std::uint64_t sequence;  ///< of the batch; grows by one per batch
  /// Every batch up to this sequence was durable before this one was written.
  std::uint64_t durable_through;
  std::uint32_t entries;           ///< in this part
  std::uint32_t bytes;             ///< of this part, header included, padding to the block excluded
  std::uint32_t generation;        ///< of the segment
  std::uint32_t time;              ///< Unix time when the batch was closed, seconds
  std::uint32_t previous_segment;  ///< the one that the stream filled before, or kNoSegment
  /// sequence - that of the batch closed before it: batches of which an earlier one was cut off
  /// by a crash do not count.
  std::uint32_t since_previous : 24;
  std::uint32_t stream : 8;  ///< Stream
  std::uint64_t digest;      ///< of the entries' checksums, in order
  std::uint64_t checksum;    ///< of this header
};
static_assert(sizeof(BatchHeader) == 64 && std::has_unique_object_representations_v<BatchHeader>);

/// Starts and continues the digest of a part's entries.
inline constexpr std::uint64_t kDigestStart = 0x9E3779B97F4A7C15;
constexpr std::uint64_t digest_next(std::uint64_t digest, std::uint64_t entry_checksum) {
  const std::uint64_t mixed = (digest ^ entry_checksum) * 0x9FB21C651E98DF25;
  return mixed ^ (mixed >> 32);
}

/// Fills in magic and checksum and writes the header to the start of `out`.
void encode_batch_header(std::span<std::byte> out, BatchHeader header, const Place& place);

/// The header at the start of `bytes`, if it was written for this id and offset. The generation is
/// taken from the header itself (place.generation is ignored), since the scan does not know it in
/// advance.
std::optional<BatchHeader> decode_batch_header(std::span<const std::byte> bytes,
                                               const Place& place);

/// Walks the entries of one part.
class EntryWalker {
 public:
  /// `part` starts with the header and holds header.bytes bytes. `place` is the header's; its
  /// generation must be the header's. Entries start at multiples of `entry_alignment` from the
  /// disk's start.
  EntryWalker(std::span<const std::byte> part, const BatchHeader& header, const Place& place,
              std::uint32_t entry_alignment);

  /// The next entry that verifies; damaged ones are stepped over as far as that is possible in time
  /// linear in the part's size. nullopt at the end.
  std::optional<EntryView> next();
  /// Disk offset of the entry that next() returned last.
  std::uint64_t offset() const { return offset_; }
  /// After the end: all entries were found, in place, and their digest is the header's.
  bool complete() const;

 private:
  std::span<const std::byte> part_;
  BatchHeader header_;
  Place place_;
  std::uint32_t entry_alignment_;
  std::size_t position_;
  std::uint64_t offset_ = 0;
  std::uint64_t digest_ = kDigestStart;
  std::uint32_t found_ = 0;
  bool damaged_ = false;
  std::size_t searched_bytes_ = 0;
};

}  // namespace rawcache
