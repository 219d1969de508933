// Who uses a block device, for messages: mounts, swap, device-mapper and other holders.
#pragma once

#include <sys/types.h>

#include <string>

namespace rawcache {

/// "mounted at /mnt", "swap", "held by dm-0" or the same of one of its partitions; empty if nothing
/// is found (the kernel knows more than it tells). Only this mount namespace is seen.
std::string device_use(dev_t device);

}  // namespace rawcache
