// RawDiskCache::format and inspect.
#include "cache/format_cache.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <new>
#include <vector>

#include "base/aligned_buffer.h"
#include "cache/checkpoint_io.h"
#include "cache/device_signature.h"
#include "cache/superblock_io.h"
#include "format/batch.h"
#include "format/entry.h"

namespace rawcache {
namespace {

CacheInfo info_of(const Superblock& superblock, const DiskInfo& disk) {
  CacheInfo info;
  info.id = to_string(superblock.id);
  info.format_version = superblock.version;
  info.device_bytes = superblock.device_bytes;
  info.capacity_bytes =
      superblock.segments_offset + std::uint64_t{superblock.segments} * superblock.segment_bytes;
  info.block_bytes = superblock.block_bytes;
  info.segment_bytes = superblock.segment_bytes;
  info.segments = superblock.segments;
  info.entries_max = superblock.entries_max;
  info.value_bytes_max = entry_bytes_max(superblock) - entry_bytes(1, 0, kEntryHasAll);
  info.entry_alignment = superblock.entry_alignment;
  info.checkpoint_area_bytes = superblock.checkpoint_bytes;
  info.engine = disk.engine;
  info.direct = disk.direct;
  info.fallback_reason = disk.fallback_reason;
  return info;
}

/// Writes all of a new file.
Result<void> prewrite(Disk& disk) {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20, kRoundBytes = 4 * kPieceBytes;
  AlignedBuffer zeros = AlignedBuffer::allocate(kPieceBytes);
  if (zeros.empty()) return std::unexpected(Error(Errc::out_of_memory, "prewrite"));
  for (std::uint64_t at = 0; at < disk.info().size_bytes; at += kRoundBytes) {
    IoBatch batch;
    const std::uint64_t end = std::min(at + kRoundBytes, disk.info().size_bytes);
    for (std::uint64_t offset = at; offset < end; offset += kPieceBytes) {
      batch.requests.push_back({.kind = IoRequest::Kind::write,
                                .offset = offset,
                                .data = zeros.data(),
                                .size = std::min(kPieceBytes, end - offset)});
    }
    if (auto written = disk.run(batch); !written) return written;
  }
  return disk.sync();
}

Result<void> write_empty_checkpoint(Disk& disk, const Superblock& superblock, int area,
                                    std::uint64_t generation) {
  auto writer = CheckpointWriter::create(disk, superblock, area, generation);
  if (!writer) return std::unexpected(writer.error());
  const std::vector<SegmentRecord> table(superblock.segments);
  const std::vector<std::uint16_t> pages(superblock.index_pages, 0);
  auto done = writer->append(std::as_bytes(std::span(table)));
  if (done) done = writer->append(std::as_bytes(std::span(pages)));
  if (done) done = writer->finish();
  if (done) done = disk.sync();
  CheckpointHeader header{};
  header.segments = superblock.segments;
  header.replay_from = header.next_batch = 1;
  header.next_sequence = 1;
  header.time_high = superblock.time_high;
  std::ranges::fill(header.open_segment, kNoSegment);
  std::ranges::fill(header.previous_segment, kNoSegment);
  header.closed = 1;
  if (done) done = writer->commit(header);
  return done;
}

}  // namespace

Error invalid_option(std::string what) { return {Errc::invalid_options, std::move(what)}; }

bool path_exists(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 || errno != ENOENT;
}

std::int64_t system_now() { return static_cast<std::int64_t>(std::time(nullptr)); }

Result<void> check_new_file(const FormatOptions& options) {
  if (options.capacity == 0) {
    return std::unexpected(invalid_option("capacity is 0: a new file needs a size"));
  }
  // Any device takes I/O in units of 512 bytes or, with larger blocks, says so when it is
  // formatted.
  if (auto layout = lay_out(options, options.capacity, 512); !layout) {
    return std::unexpected(layout.error());
  }
  return {};
}

Result<CacheInfo> format_new_file(Disk& disk, const FormatOptions& options) {
  if (options.prewrite) {
    if (auto written = prewrite(disk); !written) return std::unexpected(written.error());
  }
  return RawDiskCache::format(disk, options);
}

Result<CacheInfo> RawDiskCache::format(Disk& disk, const FormatOptions& options) try {
  std::array<std::uint64_t, 2> random{};
  if (::getrandom(random.data(), sizeof random, 0) != sizeof random) {
    return std::unexpected(Error(Errc::io_error, "getrandom", errno));
  }
  return format_as({random[0], random[1]}, disk, options);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<CacheInfo> format_as(const CacheId& id, Disk& disk, const FormatOptions& options) {
  auto layout = lay_out(options, disk.info().size_bytes, disk.info().io_alignment);
  if (!layout) return std::unexpected(layout.error());
  Superblock superblock = *layout;
  superblock.id = id;
  superblock.created = static_cast<std::uint32_t>(system_now());
  superblock.time_high = superblock.created;
  superblock.write_generation = 1;

  AlignedBuffer block = AlignedBuffer::allocate(superblock.block_bytes);
  if (block.empty()) return std::unexpected(Error(Errc::out_of_memory, "superblock"));
  // First nothing is valid, then the empty checkpoint, then the superblocks: a crash in between
  // leaves either no cache or an empty one. What the segments held belongs to another id.
  for (const std::uint64_t offset : kSuperblockOffsets) {
    if (auto wiped = disk.write(offset, block.bytes()); !wiped)
      return std::unexpected(wiped.error());
  }
  if (auto synced = disk.sync(); !synced) return std::unexpected(synced.error());

  // In both areas, so that the newer one is known to be the newest from the start.
  auto done = write_empty_checkpoint(disk, superblock, 0, 1);
  if (done) done = write_empty_checkpoint(disk, superblock, 1, 2);
  for (int copy = 0; copy < 2 && done; ++copy) {
    encode_superblock(block.bytes(), superblock, copy);
    done = disk.write(kSuperblockOffsets[copy], block.bytes());
  }
  if (done) done = disk.sync();
  if (!done) return std::unexpected(done.error());
  return info_of(superblock, disk.info());
}

Result<CacheInfo> RawDiskCache::format(std::string_view path_view, const FormatOptions& options,
                                       bool overwrite) try {
  const std::string path(path_view);
  DiskOptions disk_options;
  if (!path_exists(path)) {
    if (auto checked = check_new_file(options); !checked) {
      return std::unexpected(checked.error());
    }
    disk_options.create_bytes = options.capacity;
  }
  auto disk = open_disk(path, disk_options);
  if (!disk) return std::unexpected(disk.error());
  if (disk_options.create_bytes != 0) return format_new_file(**disk, options);
  if (!overwrite) {
    auto found = find_signature(**disk);
    if (!found) return std::unexpected(found.error());
    if (!found->empty()) {
      return std::unexpected(Error(Errc::already_exists, path + " holds " + *found));
    }
  }
  return format(**disk, options);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<CacheInfo> RawDiskCache::inspect(Disk& disk) try {
  auto loaded = load_superblock(disk);
  if (!loaded) return std::unexpected(loaded.error());
  CacheInfo info = info_of(loaded->superblock, disk.info());
  for (int area = 0; area < 2; ++area) {
    const auto reader = CheckpointReader::open(disk, loaded->superblock, area);
    if (!reader || reader->header().generation < info.checkpoint_generation) continue;
    info.checkpoint_valid = true;
    info.checkpoint_generation = reader->header().generation;
    info.checkpoint_entries = reader->header().entries;
    info.next_sequence = reader->header().next_sequence;
  }
  return info;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<CacheInfo> RawDiskCache::inspect(std::string_view path) try {
  auto disk = open_disk(path, {.read_only = true});
  if (!disk) return std::unexpected(disk.error());
  return inspect(**disk);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
