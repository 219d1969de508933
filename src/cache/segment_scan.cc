#include "cache/segment_scan.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/math.h"
#include "base/mutant.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

constexpr std::uint64_t kScanPieceBytes = std::uint64_t{1} << 20;
constexpr std::size_t kSurveyBatch = 256;

/// Reads [offset, offset + into.size()), block by block where larger reads fail. Unreadable blocks
/// stay zero. Returns how many bytes could not be read.
std::uint64_t read_what_can_be_read(Disk& disk, std::uint64_t offset, std::span<std::byte> into,
                                    std::uint32_t block_bytes) {
  IoBatch batch;
  for (std::uint64_t at = 0; at < into.size(); at += kScanPieceBytes) {
    const std::uint64_t size = std::min<std::uint64_t>(kScanPieceBytes, into.size() - at);
    batch.requests.push_back({.kind = IoRequest::Kind::read,
                              .offset = offset + at,
                              .data = into.data() + at,
                              .size = size});
  }
  if (disk.run(batch)) return 0;
  std::uint64_t unreadable = 0;
  for (const IoRequest& request : batch.requests) {
    if (request.done && request.os_error == 0) continue;
    for (std::uint64_t at = 0; at < request.size; at += block_bytes) {
      const std::span<std::byte> block(request.data + at, block_bytes);
      if (disk.read(request.offset + at, block)) continue;
      std::ranges::fill(block, std::byte{0});
      unreadable += block_bytes;
    }
  }
  return unreadable;
}

/// The generation of the valid header with the highest batch sequence.
std::optional<std::uint32_t> newest_generation(std::span<const std::byte> bytes,
                                               const Superblock& superblock, std::uint64_t offset) {
  std::optional<BatchHeader> newest;
  for (std::uint64_t at = 0; at < bytes.size(); at += superblock.block_bytes) {
    const auto header = decode_batch_header(bytes.subspan(at), {superblock.id, offset + at, 0});
    if (header && (!newest || header->sequence > newest->sequence)) newest = header;
  }
  if (!newest) return std::nullopt;
  return newest->generation;
}

ScannedPart scan_part(std::span<const std::byte> bytes, const BatchHeader& header,
                      const Superblock& superblock, std::uint64_t offset) {
  ScannedPart part{.header = header, .offset = offset, .complete = false, .entries = {}};
  EntryWalker walker(bytes, header, {superblock.id, offset, header.generation},
                     superblock.entry_alignment);
  while (const auto entry = walker.next()) {
    const std::uint64_t size = round_up(entry->bytes, superblock.entry_alignment);
    part.entries.push_back({.key_hash = entry->key_hash,
                            .sequence = entry->sequence,
                            .location = {walker.offset(), size_class(size)},
                            .bytes = static_cast<std::uint32_t>(size),
                            .kind = entry->kind});
  }
  part.complete = walker.complete();
  return part;
}

}  // namespace

std::uint64_t ScannedPart::end(std::uint32_t block_bytes) const {
  return offset + round_up(header.bytes, block_bytes);
}

std::uint64_t segment_offset(const Superblock& superblock, std::uint32_t segment) {
  return superblock.segments_offset + std::uint64_t{segment} * superblock.segment_bytes;
}

Result<SegmentScan> scan_segment(Disk& disk, const Superblock& superblock, std::uint32_t segment) {
  AlignedBuffer buffer = AlignedBuffer::allocate(superblock.segment_bytes);
  if (buffer.empty()) return std::unexpected(Error(Errc::out_of_memory, "scan of a segment"));
  const std::uint64_t offset = segment_offset(superblock, segment);
  SegmentScan scan;
  scan.unreadable_bytes =
      read_what_can_be_read(disk, offset, buffer.bytes(), superblock.block_bytes);
  scan.bytes_read = buffer.size();

  const std::span<const std::byte> bytes = buffer.bytes();
  const auto generation = newest_generation(bytes, superblock, offset);
  if (!generation) return scan;
  for (std::uint64_t at = 0; at < bytes.size();) {
    const auto header = decode_batch_header(bytes.subspan(at), {superblock.id, offset + at, 0});
    const bool ghost =
        header && header->generation != *generation && !mutated(Mutant::kOlderLifeAccepted);
    if (!header || ghost || header->bytes > bytes.size() - at) {
      if (mutated(Mutant::kScanEndsAtBadBlock)) break;
      at += superblock.block_bytes;
      continue;
    }
    scan.parts.push_back(
        scan_part(bytes.subspan(at, header->bytes), *header, superblock, offset + at));
    // Nothing can begin inside a part that is whole; a damaged one may have been cut short.
    at += scan.parts.back().complete ? round_up(header->bytes, superblock.block_bytes)
                                     : superblock.block_bytes;
  }
  return scan;
}

Survey survey_segments(Disk& disk, const Superblock& superblock) {
  Survey survey;
  survey.headers.resize(superblock.segments);
  const std::size_t unit = std::max<std::size_t>(disk.info().io_alignment, sizeof(BatchHeader));
  AlignedBuffer buffer =
      AlignedBuffer::allocate_or_throw(kSurveyBatch * std::max(unit, kIoMemoryAlignment));
  const std::size_t stride = buffer.size() / kSurveyBatch;
  for (std::uint32_t first = 0; first < superblock.segments; first += kSurveyBatch) {
    const auto count = std::min<std::uint32_t>(kSurveyBatch, superblock.segments - first);
    IoBatch batch;
    for (std::uint32_t i = 0; i < count; ++i) {
      batch.requests.push_back({.kind = IoRequest::Kind::read,
                                .offset = segment_offset(superblock, first + i),
                                .data = buffer.data() + i * stride,
                                .size = unit});
    }
    (void)disk.run(batch);  // failures show in the requests
    for (std::uint32_t i = 0; i < count; ++i) {
      const IoRequest& request = batch.requests[i];
      if (request.os_error != 0 && !disk.read(request.offset, {request.data, unit})) {
        ++survey.unreadable;
        continue;
      }
      survey.headers[first + i] = decode_batch_header(
          std::span<const std::byte>(request.data, unit), {superblock.id, request.offset, 0});
    }
  }
  return survey;
}

std::optional<FooterTrailer> read_footer_trailer(Disk& disk, const Superblock& superblock,
                                                 std::uint32_t segment) {
  const std::uint64_t offset = segment_offset(superblock, segment);
  const std::size_t size = std::max<std::size_t>(disk.info().io_alignment, sizeof(FooterTrailer));
  AlignedBuffer buffer = AlignedBuffer::allocate_or_throw(size);
  if (!disk.read(offset + superblock.segment_bytes - size, buffer.bytes())) return std::nullopt;
  return decode_footer_trailer(buffer.bytes(), {superblock.id, offset, 0});
}

std::optional<std::vector<FooterRecord>> read_footer_records(Disk& disk,
                                                             const Superblock& superblock,
                                                             std::uint32_t segment,
                                                             const FooterTrailer& trailer,
                                                             std::uint64_t& bytes_read) {
  const std::uint64_t offset = segment_offset(superblock, segment);
  const std::uint64_t size = footer_bytes(trailer.records_bytes, superblock.block_bytes);
  if (size > superblock.segment_bytes) return std::nullopt;
  AlignedBuffer buffer = AlignedBuffer::allocate_or_throw(size);
  if (!disk.read(offset + superblock.segment_bytes - size, buffer.bytes())) return std::nullopt;
  bytes_read += size;
  return decode_footer_records(buffer.bytes(), trailer,
                               {superblock.entry_alignment, superblock.segment_bytes},
                               {superblock.id, offset, trailer.generation});
}

}  // namespace rawcache
