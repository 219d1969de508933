// What a device holds already, so that nothing valuable is formatted by accident.
#pragma once

#include <string>

#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

/// The name of what was recognised ("an ext2/3/4 file system"), empty if nothing was. Errors:
/// io_error.
Result<std::string> find_signature(Disk& disk);

}  // namespace rawcache
