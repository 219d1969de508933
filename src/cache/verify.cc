// verify: reads and checks everything, changes nothing.
#include <algorithm>
#include <cstring>
#include <new>

#include "base/aligned_buffer.h"
#include "base/math.h"
#include "cache/checkpoint_io.h"
#include "cache/recovery.h"
#include "cache/segment_scan.h"
#include "cache/superblock_io.h"
#include "format/size_class.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache {
namespace {

class Verifier {
 public:
  Verifier(Disk& disk, const RawDiskCache::Progress& progress) : disk_(disk), progress_(progress) {}

  Result<VerifyReport> run();

 private:
  void add(std::uint64_t offset, std::uint64_t size, std::string what, std::string key = {});
  void check_superblocks();
  void check_checkpoints();
  Result<void> check_segment(std::uint32_t segment);
  void check_footer(std::uint32_t segment);
  void list_unreadable_entries();
  std::string key_at(std::uint64_t slot, std::uint32_t page, Location location);

  Disk& disk_;
  const RawDiskCache::Progress& progress_;
  Superblock superblock_{};
  std::unique_ptr<Index> index_;
  Recovered recovered_;
  VerifyReport report_;
};

void Verifier::add(std::uint64_t offset, std::uint64_t size, std::string what, std::string key) {
  if (++report_.damage_count > kVerifyDamageMax) return;
  report_.damage.push_back({offset, size, std::move(what), std::move(key)});
}

Result<VerifyReport> Verifier::run() {
  const std::uint64_t before = disk_.counters().read_bytes;
  auto loaded = load_superblock(disk_);
  if (!loaded) return std::unexpected(loaded.error());
  superblock_ = loaded->superblock;
  if (disk_.info().size_bytes < superblock_.device_bytes) {
    return std::unexpected(Error(Errc::device_shrunk, disk_.info().path));
  }
  check_superblocks();
  check_checkpoints();
  auto index = Index::create(superblock_, false);
  if (!index) return std::unexpected(index.error());
  index_ = std::move(*index);
  auto recovered = recover(disk_, superblock_, *index_, false);
  if (!recovered) return std::unexpected(recovered.error());
  recovered_ = std::move(*recovered);

  // Every live entry that is found whole leaves the index; what remains there cannot be read.
  const std::uint64_t live = index_->entries();
  for (std::uint32_t segment = 0; segment < superblock_.segments; ++segment) {
    if (auto checked = check_segment(segment); !checked) return std::unexpected(checked.error());
    if (progress_) {
      progress_((segment + 1) * superblock_.segment_bytes,
                superblock_.segments * superblock_.segment_bytes);
    }
  }
  report_.entries = live - index_->entries();
  list_unreadable_entries();
  report_.bytes_read = disk_.counters().read_bytes - before;
  return std::move(report_);
}

void Verifier::check_superblocks() {
  AlignedBuffer block = AlignedBuffer::allocate(kIoMemoryAlignment);
  for (int copy = 0; copy < 2 && !block.empty(); ++copy) {
    if (!disk_.read(kSuperblockOffsets[copy], block.bytes())) {
      add(kSuperblockOffsets[copy], block.size(), "a copy of the superblock cannot be read");
    } else if (!decode_superblock(block.bytes(), copy)) {
      add(kSuperblockOffsets[copy], sizeof(Superblock), "a copy of the superblock is damaged");
    }
  }
}

void Verifier::check_checkpoints() {
  std::vector<std::byte> piece(kCheckpointChunkBytes);
  const auto is_whole = [&](CheckpointReader& reader, std::uint64_t bytes) {
    for (std::uint64_t left = bytes; left > 0;) {
      const std::uint64_t size = std::min<std::uint64_t>(left, piece.size());
      if (!reader.read(std::span(piece).first(size))) return false;
      left -= size;
    }
    return reader.complete();
  };
  for (int area = 0; area < 2; ++area) {
    auto reader = CheckpointReader::open(disk_, superblock_, area);
    if (!reader) continue;  // never written, or cut off by a crash: the other one counts
    const CheckpointHeader& header = reader->header();
    const auto damaged = [&](const std::string& what) {
      add(superblock_.checkpoint_offset[area], superblock_.checkpoint_bytes,
          what + " " + std::to_string(header.generation) + " is damaged");
    };
    if (!is_whole(*reader, header.stream_bytes)) damaged("checkpoint");
    auto hints = CheckpointReader::open_hints(disk_, superblock_, area);
    if (header.hint_bytes != 0 && (!hints || !is_whole(*hints, header.hint_bytes))) {
      damaged("what eviction remembers by checkpoint");
    }
  }
}

Result<void> Verifier::check_segment(std::uint32_t segment) {
  const SegmentRecord& record = recovered_.table[segment];
  if (record.state == static_cast<std::uint8_t>(SegmentState::free)) return {};
  auto scan = scan_segment(disk_, superblock_, segment);
  if (!scan) return std::unexpected(scan.error());
  const std::uint64_t start = segment_offset(superblock_, segment);
  if (scan->unreadable_bytes > 0) {
    add(start, superblock_.segment_bytes,
        std::to_string(scan->unreadable_bytes) + " bytes of the segment cannot be read");
  }
  for (const ScannedPart& part : scan->parts) {
    if (part.header.generation != record.generation) continue;
    ++report_.batches;
    // Beyond that a part that is not whole was cut off by a crash, which is as it should be.
    if (!part.complete && part.header.sequence < recovered_.replay_from) {
      add(part.offset, part.header.bytes,
          "batch " + std::to_string(part.header.sequence) + " is damaged");
    }
    for (const ScannedEntry& entry : part.entries) {
      if (entry.kind == EntryKind::value) {
        index_->erase_if_at(entry.key_hash, entry.location.offset);
      }
    }
  }
  if (record.state == static_cast<std::uint8_t>(SegmentState::sealed)) check_footer(segment);
  return {};
}

void Verifier::check_footer(std::uint32_t segment) {
  const std::uint64_t end = segment_offset(superblock_, segment) + superblock_.segment_bytes;
  const auto trailer = read_footer_trailer(disk_, superblock_, segment);
  if (!trailer || trailer->generation != recovered_.table[segment].generation) {
    add(end - sizeof(FooterTrailer), sizeof(FooterTrailer),
        "the segment has no valid footer; it is scanned instead");
    return;
  }
  std::uint64_t read = 0;
  if (!read_footer_records(disk_, superblock_, segment, *trailer, read)) {
    const std::uint64_t size = footer_bytes(trailer->records_bytes, superblock_.block_bytes);
    add(end - size, size, "the segment's footer is damaged; it is scanned instead");
  }
}

void Verifier::list_unreadable_entries() {
  std::vector<std::uint64_t> slots;
  for (std::uint32_t page = 0; page < index_->pages(); ++page) {
    slots.clear();
    index_->copy_page(page, slots);
    for (const std::uint64_t slot : slots) {
      const Location location = index_->layout().location(slot);
      add(location.offset, size_class_bytes(location.size_class), "an entry cannot be read",
          key_at(slot, page, location));
    }
  }
}

// The key of a damaged entry, if enough of it is left to be sure.
std::string Verifier::key_at(std::uint64_t slot, std::uint32_t page, Location location) {
  const std::uint64_t unit = std::max<std::uint64_t>(disk_.info().io_alignment, 512);
  const std::uint64_t begin = round_down(location.offset, unit);
  const std::uint64_t end =
      std::min(round_up(location.offset + entry_bytes(kKeyBytesMax, 0, kEntryHasAll), unit),
               round_down(disk_.info().size_bytes, unit));
  AlignedBuffer buffer = AlignedBuffer::allocate(end - begin);
  if (buffer.empty() || !disk_.read(begin, buffer.bytes())) return {};
  const std::span<const std::byte> bytes = buffer.bytes().subspan(location.offset - begin);
  EntryHeader header{};
  if (bytes.size() < sizeof header) return {};
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::size_t at = entry_bytes(0, 0, header.flags & kEntryHasAll);
  if (header.key_bytes == 0 || at + header.key_bytes > bytes.size()) return {};
  const std::string_view key(reinterpret_cast<const char*>(bytes.data() + at), header.key_bytes);
  return index_->matches(hash_key(key, superblock_.id), page, slot) ? std::string(key)
                                                                    : std::string();
}

}  // namespace

Result<VerifyReport> RawDiskCache::verify(Disk& disk, const Progress& progress) try {
  return Verifier(disk, progress).run();
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<VerifyReport> RawDiskCache::verify(std::string_view path, const Progress& progress) try {
  // Exclusively, because what another process is writing right now looks like damage.
  auto disk = open_disk(path);
  if (!disk && (disk.error() == Errc::permission_denied || disk.error() == Errc::read_only)) {
    disk = open_disk(path, {.read_only = true});
  }
  if (!disk) return std::unexpected(disk.error());
  return verify(**disk, progress);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
