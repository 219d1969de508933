// The segment footer: the list of a sealed segment's entries, so that neither recovery nor reclaim
// reads payload. Records from the start of the footer, the trailer in its last 64 bytes, which are
// the last of the segment. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "format/entry.h"
#include "format/identity.h"

namespace rawcache {

inline constexpr std::uint32_t kFooterMagic = 0x544F4F46;  // "FOOT"

/// Where an entry is appended. Each stream fills a segment of its own.
enum class Stream : std::uint8_t {
  small = 0,  ///< what is stored
  main = 1,   ///< copies of entries that have proved their worth
};
inline constexpr std::size_t kStreams = 2;

/// One entry. On disk each is the difference to the one before it: 10 to 12 bytes as a rule.
struct FooterRecord {
  std::uint64_t key_hash = 0;
  std::uint64_t sequence = 0;         ///< of the entry; a copy keeps it
  std::uint32_t offset = 0;           ///< from the segment's start, bytes
  std::uint32_t bytes = 0;            ///< of the entry, rounded up to the entry alignment; not 0
  EntryKind kind = EntryKind::value;  ///< withdrawn records are skipped

  std::uint32_t end() const { return offset + bytes; }
};
/// What a record takes on disk at most.
inline constexpr std::size_t kFooterRecordBytesMax = 28;

/// The records of a segment as its footer holds them, made as entries are appended.
class FooterRecords {
 public:
  explicit FooterRecords(std::uint32_t entry_alignment);

  /// Memory for one more. Throws std::bad_alloc.
  void make_room_for_one() {
    if (capacity_ - used_ < kFooterRecordBytesMax) grow();
  }
  /// Adds a record, for which there must be room. Not before end().
  void add(const FooterRecord& record);
  /// End of the last record's entry, from the segment's start, bytes.
  std::uint32_t end() const { return end_units_ << unit_shift_; }
  /// Makes withdrawn ones of the records whose entry's offset this is true of. They become shorter
  /// and lose their key hash. Takes no memory.
  void withdraw(const std::function<bool(std::uint32_t offset)>& is_withdrawn);

  std::span<const std::byte> bytes() const { return {memory_.get(), used_}; }
  /// Forgets the records and keeps the memory.
  void clear();
  /// Takes the records out and leaves memory for as many. Throws std::bad_alloc, then nothing has
  /// changed.
  FooterRecords take();

 private:
  void grow();

  unsigned unit_shift_ = 0;
  std::uint32_t end_units_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::size_t used_ = 0;
  std::size_t capacity_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

struct FooterTrailer {
  std::uint32_t magic;
  std::uint32_t generation;
  std::uint32_t records_bytes;
  std::uint32_t next_segment;  ///< the segment that the stream goes on in, or kNoSegment
  std::uint64_t first_batch;   ///< sequences of the batches that begin or go on in this segment
  std::uint64_t last_batch;
  std::uint64_t records_checksum;
  std::uint64_t next_sequence;     ///< above every entry sequence in this segment
  std::uint32_t previous_segment;  ///< the one that the stream filled before, or kNoSegment
  std::uint32_t stream;            ///< Stream
  std::uint64_t checksum;          ///< of this trailer
};
static_assert(sizeof(FooterTrailer) == 64 &&
              std::has_unique_object_representations_v<FooterTrailer>);

/// Size of a footer on disk: records and trailer, rounded up to whole blocks.
std::uint64_t footer_bytes(std::uint64_t records_bytes, std::uint32_t block_bytes);

/// Writes a whole footer. `out` is footer_bytes(records.size()) long and ends with the segment;
/// place.offset is the offset of the segment's start. Fills in magic, records_bytes and checksums.
void encode_footer(std::span<std::byte> out, std::span<const std::byte> records,
                   FooterTrailer trailer, const Place& place);

/// The trailer in the last 64 bytes of `bytes`, which end with the segment. place.offset is the
/// segment's start; its generation is ignored, the trailer's own is checked by its checksum.
std::optional<FooterTrailer> decode_footer_trailer(std::span<const std::byte> bytes,
                                                   const Place& place);

/// What records are measured by.
struct FooterGeometry {
  std::uint32_t entry_alignment = 0;
  std::uint64_t segment_bytes = 0;
};

/// The records, in the order of their offsets; `bytes` is the whole footer. nullopt if they do not
/// verify, or one is no entry's of the segment.
std::optional<std::vector<FooterRecord>> decode_footer_records(std::span<const std::byte> bytes,
                                                               const FooterTrailer& trailer,
                                                               const FooterGeometry& geometry,
                                                               const Place& place);

}  // namespace rawcache
