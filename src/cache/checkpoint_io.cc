#include "cache/checkpoint_io.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/math.h"
#include "base/mutant.h"

namespace rawcache {

namespace {

/// For one chunk, or for a whole area where that is less: opening a small cache should cost little.
AlignedBuffer chunk_memory(const Superblock& superblock) {
  return AlignedBuffer::allocate(std::min(kCheckpointChunkBytes, superblock.checkpoint_bytes));
}

}  // namespace

Result<CheckpointWriter> CheckpointWriter::create(Disk& disk, const Superblock& superblock,
                                                  int area, std::uint64_t generation) {
  AlignedBuffer chunk = chunk_memory(superblock);
  if (chunk.empty()) return std::unexpected(Error(Errc::out_of_memory, "checkpoint"));
  return CheckpointWriter(disk, superblock, area, generation, std::move(chunk));
}

CheckpointWriter::CheckpointWriter(Disk& disk, const Superblock& superblock, int area,
                                   std::uint64_t generation, AlignedBuffer chunk)
    : disk_(&disk),
      superblock_(&superblock),
      area_offset_(superblock.checkpoint_offset[area]),
      generation_(generation),
      chunk_(std::move(chunk)),
      next_offset_(area_offset_ + superblock.block_bytes) {}

Result<void> CheckpointWriter::append(std::span<const std::byte> bytes) {
  streams_[at_].bytes += bytes.size();
  while (!bytes.empty()) {
    const std::size_t piece = std::min<std::size_t>(bytes.size(), chunk_.size() - fill_);
    std::memcpy(chunk_.data() + fill_, bytes.data(), piece);
    fill_ += piece;
    bytes = bytes.subspan(piece);
    if (fill_ == chunk_.size()) {
      if (auto written = write_chunk(); !written) return written;
    }
  }
  return {};
}

Result<void> CheckpointWriter::write_chunk() {
  const std::uint64_t size = round_up(fill_, superblock_->block_bytes);
  if (next_offset_ + size > area_offset_ + superblock_->checkpoint_bytes) {
    return std::unexpected(Error(Errc::no_space, "checkpoint area"));
  }
  std::memset(chunk_.data() + fill_, 0, size - fill_);
  const std::uint64_t checksum =
      encode_chunk(chunk_.bytes().first(size), number_, generation_, fill_ - sizeof(ChunkHeader),
                   {superblock_->id, next_offset_, 0});
  streams_[at_].digest = digest_next(streams_[at_].digest, checksum);
  if (auto written = disk_->write(next_offset_, chunk_.bytes().first(size)); !written)
    return written;
  next_offset_ += size;
  ++number_;
  fill_ = sizeof(ChunkHeader);
  return {};
}

Result<void> CheckpointWriter::begin_hints() {
  if (fill_ > sizeof(ChunkHeader)) {
    if (auto written = write_chunk(); !written) return written;
  }
  at_ = 1;
  return {};
}

bool CheckpointWriter::takes(std::uint64_t bytes) const {
  const std::uint64_t waiting = fill_ - sizeof(ChunkHeader);
  const std::uint64_t block = superblock_->block_bytes;
  const std::uint64_t size = checkpoint_area_bytes(waiting + bytes, superblock_->block_bytes);
  return next_offset_ + size - block <= area_offset_ + superblock_->checkpoint_bytes;
}

Result<void> CheckpointWriter::finish() {
  if (fill_ == sizeof(ChunkHeader)) return {};
  return write_chunk();
}

Result<void> CheckpointWriter::commit(CheckpointHeader header) {
  header.generation = generation_;
  header.stream_bytes = streams_[0].bytes;
  header.stream_digest = streams_[0].digest;
  header.hint_bytes = streams_[1].bytes;
  header.hint_digest = streams_[1].digest;
  const std::span<std::byte> block = chunk_.bytes().first(superblock_->block_bytes);
  encode_checkpoint_header(block, header, {superblock_->id, area_offset_, 0});
  return disk_->write(area_offset_, block);
}

std::optional<CheckpointReader> CheckpointReader::open(Disk& disk, const Superblock& superblock,
                                                       int area) {
  CheckpointReader reader;
  reader.disk_ = &disk;
  reader.superblock_ = &superblock;
  reader.area_ = area;
  reader.chunk_ = chunk_memory(superblock);
  if (reader.chunk_.empty()) throw std::bad_alloc();  // which says nothing about the checkpoint
  const std::uint64_t offset = superblock.checkpoint_offset[area];
  const std::span<std::byte> block = reader.chunk_.bytes().first(superblock.block_bytes);
  if (!disk.read(offset, block)) return std::nullopt;
  reader.bytes_read_ = block.size();
  const auto header = decode_checkpoint_header(block, {superblock.id, offset, 0});
  if (!header || header->segments != superblock.segments ||
      header->stream_bytes > superblock.checkpoint_bytes) {
    return std::nullopt;
  }
  reader.header_ = *header;
  reader.next_offset_ = offset + superblock.block_bytes;
  reader.bytes_wanted_ = header->stream_bytes;
  reader.digest_wanted_ = header->stream_digest;
  return reader;
}

std::optional<CheckpointReader> CheckpointReader::open_hints(Disk& disk,
                                                             const Superblock& superblock,
                                                             int area) {
  auto reader = open(disk, superblock, area);
  if (!reader) return std::nullopt;
  const CheckpointHeader& header = reader->header_;
  if (header.hint_bytes == 0 || header.hint_bytes > superblock.checkpoint_bytes) {
    return std::nullopt;
  }
  reader->next_offset_ = superblock.checkpoint_offset[area] +
                         checkpoint_area_bytes(header.stream_bytes, superblock.block_bytes);
  reader->number_ = static_cast<std::uint32_t>(divide_up(header.stream_bytes, kChunkPayloadBytes));
  reader->bytes_wanted_ = header.hint_bytes;
  reader->digest_wanted_ = header.hint_digest;
  return reader;
}

bool CheckpointReader::next_chunk() {
  const std::uint64_t end = superblock_->checkpoint_offset[area_] + superblock_->checkpoint_bytes;
  const std::uint64_t left = bytes_wanted_ - stream_read_;
  const std::uint64_t size = round_up(std::min(kCheckpointChunkBytes, left + sizeof(ChunkHeader)),
                                      superblock_->block_bytes);
  if (left == 0 || next_offset_ + size > end) return false;
  const std::span<std::byte> bytes = chunk_.bytes().first(size);
  if (!disk_->read(next_offset_, bytes)) return false;
  bytes_read_ += size;
  const auto header =
      decode_chunk(bytes, number_, header_.generation, {superblock_->id, next_offset_, 0});
  if (!header || header->payload_bytes == 0 || header->payload_bytes > left) return false;
  digest_ = digest_next(digest_, header->checksum);
  rest_ = bytes.subspan(sizeof(ChunkHeader), header->payload_bytes);
  stream_read_ += header->payload_bytes;
  next_offset_ += size;
  ++number_;
  return true;
}

bool CheckpointReader::read(std::span<std::byte> into) {
  while (!into.empty()) {
    if (rest_.empty() && !next_chunk()) return false;
    const std::size_t piece = std::min(into.size(), rest_.size());
    std::memcpy(into.data(), rest_.data(), piece);
    into = into.subspan(piece);
    rest_ = rest_.subspan(piece);
  }
  return true;
}

bool CheckpointReader::complete() const {
  return rest_.empty() && stream_read_ == bytes_wanted_ && digest_ == digest_wanted_;
}

}  // namespace rawcache
