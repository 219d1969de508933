// Result<T>: how every fallible call of rawcache reports, and the errors it can report.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace rawcache {

/// What went wrong. Each value is a distinct situation with a distinct remedy; message() names it.
enum class Errc : std::uint8_t {
  // Answers, not failures.
  not_found,  ///< No entry under this key: never stored, removed, evicted, expired or unreadable.
  condition_failed,  ///< StoreOptions::when does not hold; nothing was stored.

  // The caller's arguments.
  key_empty,           ///< Keys have at least one byte.
  key_too_long,        ///< Longer than kKeyBytesMax.
  value_too_large,     ///< Larger than RawDiskCache::value_bytes_max(); the message says the limit.
  invalid_options,     ///< A field of Options is out of range; the message names it.
  capacity_too_small,  ///< The capacity cannot hold the geometry asked for.
  invalid_io,          ///< An I/O outside the disk, empty or not aligned (Disk's own check).
  closed,              ///< The cache has been closed.

  // What lies at the path.
  no_such_file,         ///< Nothing at the path, and create_if_missing was not set.
  already_exists,       ///< format: something is there already and `overwrite` was not set.
  is_a_directory,       ///< The path is a directory.
  not_a_file_or_disk,   ///< A FIFO, socket or character device.
  permission_denied,    ///< The process may not read and write it.
  read_only,            ///< The file system or device is read-only.
  mounted,              ///< The block device, or a partition of it, is mounted or in use.
  already_open,         ///< Another cache, in this or another process, has it open.
  not_a_cache,          ///< No superblock of rawcache; nothing is overwritten, `format` does that.
  unsupported_version,  ///< A format version that this build does not know.
  superblock_damaged,   ///< It was a cache, but no copy of its superblock can be trusted.
  checkpoint_lost,      ///< No valid checkpoint; verify, then rebuild explicitly.
  device_shrunk,        ///< Smaller than when it was formatted.
  device_grown,         ///< Larger than when it was formatted.
  wrong_device,         ///< Another cache than the one that Options::expected_id names.
  geometry_mismatch,    ///< Options asks for another geometry than the cache was formatted with.

  // Limits of the machine.
  no_space,        ///< The file system is full.
  out_of_memory,   ///< An allocation failed or the memory given in Options is used up.
  too_many_files,  ///< The limit of open file descriptors is reached.
  not_supported,   ///< The kernel, the device or this build lacks what was explicitly asked for.

  // Input and output.
  io_error,      ///< The device failed a read or a write.
  sync_failed,   ///< The device failed a sync; the data will be written again, never only synced.
  flush_failed,  ///< Accepted and readable, but the flush that followed failed: not durable yet.
  buffer_full,   ///< Not accepted: the write buffer is full and cannot be flushed.

  // Other people's.
  load_failed,  ///< The loader of lookup_or_load threw, gave no reply or too few results.

  // What Options::admission and Options::device_bytes_per_day ask for.
  not_admitted,  ///< Not stored, to spare the device; what the key had before is gone.
};

/// An error: what happened (code), where and why (detail). Cheap to return for not_found.
class [[nodiscard]] Error {
 public:
  Error(Errc code)
      : code_(code) {}  // NOLINT: implicit, so that `return std::unexpected(code)` reads
  Error(Errc code, std::string detail, int os_error = 0)
      : code_(code), os_error_(os_error), detail_(std::move(detail)) {}

  Errc code() const { return code_; }
  /// errno of the system call behind it, 0 if there was none.
  int os_error() const { return os_error_; }
  const std::string& detail() const { return detail_; }
  /// One line for people: what happened, to what, and what to do about it.
  std::string message() const;

  friend bool operator==(const Error& e, Errc code) { return e.code_ == code; }

 private:
  Errc code_;
  int os_error_ = 0;
  std::string detail_;
};

template <typename T>
using Result = std::expected<T, Error>;

/// The name of the code as in the source, for logs and JSON: "not_found".
std::string_view errc_name(Errc code);

}  // namespace rawcache
