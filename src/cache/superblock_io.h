// Reading and writing the two copies of the superblock.
#pragma once

#include "format/superblock.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

/// The newer valid copy.
struct LoadedSuperblock {
  Superblock superblock{};
  int copy = 0;
};

/// Errors: not_a_cache, unsupported_version, superblock_damaged, out_of_memory.
Result<LoadedSuperblock> load_superblock(Disk& disk);

/// Writes `superblock` over the copy that does not count, under the next write generation, and
/// syncs. On error `current` still counts. Errors: io_error, sync_failed, out_of_memory.
Result<LoadedSuperblock> replace_superblock(Disk& disk, const LoadedSuperblock& current,
                                            Superblock superblock);

}  // namespace rawcache
