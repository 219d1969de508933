// Making a cache, and looking at one.
#pragma once

#include <cstdint>
#include <string>

#include "format/identity.h"
#include "rawcache/disk.h"
#include "rawcache/options.h"
#include "rawcache/raw_disk_cache.h"
#include "rawcache/result.h"

namespace rawcache {

Error invalid_option(std::string what);
bool path_exists(const std::string& path);
/// Wall clock, seconds of Unix time.
std::int64_t system_now();

/// Whether options fit a new file of options.capacity bytes, before it is made.
Result<void> check_new_file(const FormatOptions& options);
/// RawDiskCache::format, as the cache with this id, which no cache on the disk may have had: what
/// an older one left would come back. Throws std::bad_alloc.
Result<CacheInfo> format_as(const CacheId& id, Disk& disk, const FormatOptions& options);
/// Makes an empty cache in a file that has just been created.
Result<CacheInfo> format_new_file(Disk& disk, const FormatOptions& options);

}  // namespace rawcache
