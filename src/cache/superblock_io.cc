#include "cache/superblock_io.h"

#include <new>
#include <optional>
#include <string>

#include "base/aligned_buffer.h"
#include "base/mutant.h"

namespace rawcache {

Result<LoadedSuperblock> load_superblock(Disk& disk) {
  const std::string& path = disk.info().path;
  std::optional<LoadedSuperblock> newest;
  bool damaged = false;
  bool other_version = false;
  for (int copy = 0; copy < 2; ++copy) {
    AlignedBuffer block = AlignedBuffer::allocate(kIoMemoryAlignment);
    if (block.empty()) return std::unexpected(Error(Errc::out_of_memory, "superblock"));
    if (kSuperblockOffsets[copy] + block.size() > disk.info().size_bytes) continue;
    // A read that fails is tried again before the other copy is trusted: this one may be the only
    // one that knows of the last clear.
    auto read = disk.read(kSuperblockOffsets[copy], block.bytes());
    if (!read) read = disk.read(kSuperblockOffsets[copy], block.bytes());
    if (!read) {
      damaged = true;
      continue;
    }
    auto superblock = decode_superblock(block.bytes(), copy);
    if (superblock) {
      const bool newer =
          newest && superblock->write_generation > newest->superblock.write_generation;
      if (!newest || newer != mutated(Mutant::kOlderSuperblockChosen)) {
        newest = LoadedSuperblock{*superblock, copy};
      }
    } else {
      damaged = damaged || superblock.error() == SuperblockError::damaged;
      other_version = other_version || superblock.error() == SuperblockError::version;
    }
  }
  if (newest) return *newest;
  if (other_version) return std::unexpected(Error(Errc::unsupported_version, path));
  if (damaged) return std::unexpected(Error(Errc::superblock_damaged, path));
  return std::unexpected(Error(Errc::not_a_cache, path));
}

Result<LoadedSuperblock> replace_superblock(Disk& disk, const LoadedSuperblock& current,
                                            Superblock superblock) try {
  AlignedBuffer block = AlignedBuffer::allocate(superblock.block_bytes);
  if (block.empty()) return std::unexpected(Error(Errc::out_of_memory, "superblock"));
  superblock.write_generation = current.superblock.write_generation + 1;
  const int copy = mutated(Mutant::kSuperblockInPlace) ? current.copy : 1 - current.copy;
  encode_superblock(block.bytes(), superblock, copy);
  if (auto written = disk.write(kSuperblockOffsets[copy], block.bytes()); !written) {
    return std::unexpected(written.error());
  }
  if (mutated(Mutant::kSuperblockNotSynced)) return LoadedSuperblock{superblock, copy};
  if (auto synced = disk.sync(); !synced) return std::unexpected(synced.error());
  return LoadedSuperblock{superblock, copy};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
