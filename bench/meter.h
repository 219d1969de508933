// Meter: what the process, the device and the machine have used up to now.
#pragma once

#include <cstdint>
#include <string>

namespace rawcache::bench {

std::uint64_t now_ns();

/// Totals since the process or the machine started; differences of two are what is of interest.
struct Usage {
  std::uint64_t time_ns = 0;
  double cpu_s = 0;          ///< of this process, user and kernel
  double machine_cpu_s = 0;  ///< of everybody
  std::uint64_t process_written_bytes = 0, process_read_bytes = 0;  ///< /proc/self/io
  std::uint64_t device_written_bytes = 0, device_read_bytes = 0;    ///< of everybody; 0: no device
  std::uint64_t memory_bytes = 0;  ///< anonymous memory of this process, now

  /// The totals now; `folder` says which device is meant.
  static Usage now(const std::string& folder);
};

/// Bytes that the files of a folder occupy.
std::uint64_t disk_bytes(const std::string& folder);

/// Bytes of the page cache that a folder's files occupy; of many files estimated from some.
std::uint64_t page_cache_bytes(const std::string& folder);

/// Empties the page cache and the caches of directories, so that whoever comes next starts cold.
/// Without the right to do so, only the pages of the folder's files are given up. Returns how:
/// "drop_caches" or "fadvise".
const char* drop_caches(const std::string& folder);

/// Waits until this process neither writes nor computes: its threads have done what was left to do.
/// Returns after `limit_ns` at the latest.
void settle(const std::string& folder, std::uint64_t limit_ns);

}  // namespace rawcache::bench
