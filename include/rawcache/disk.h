// Disk: the one interface between rawcache and a device. Users may implement it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rawcache/result.h"

namespace rawcache {

/// A range of bytes on a disk.
struct Extent {
  std::uint64_t offset = 0;  ///< bytes from the start of the disk
  std::uint64_t size = 0;    ///< bytes
  std::uint64_t end() const { return offset + size; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

/// What a disk is and how it is driven.
struct DiskInfo {
  std::uint64_t size_bytes = 0;
  /// Offsets and sizes of reads and writes are multiples of this. A power of two.
  std::uint32_t io_alignment = 512;
  /// Addresses of I/O memory are multiples of this. A power of two, at most 4096.
  std::uint32_t memory_alignment = 512;
  std::string engine;   ///< "io_uring", "posix", "memory" or the implementer's own word
  std::string path;     ///< for messages; empty if there is none
  bool direct = false;  ///< the page cache is bypassed (O_DIRECT)
  bool block_device = false;
  std::string fallback_reason;   ///< why the preferred engine or mode is not in use; empty if it is
  bool background_sync = false;  ///< start_sync returns while the sync is under way
};

/// One read or write, or the sync of Disk::start_sync. The memory must stay valid until the request
/// is done.
struct IoRequest {
  enum class Kind : std::uint8_t { read, write, sync };
  Kind kind = Kind::read;
  std::uint64_t offset = 0;
  std::byte* data = nullptr;
  std::size_t size = 0;
  bool done = false;
  int os_error = 0;  ///< errno of the failure once done; 0 on success
};

/// Requests that travel together. Filled by the caller, given to submit() once, then to wait()
/// until nothing is under way. The vector must not change in between. Dropping a batch that is
/// under way waits for what has been sent and leaves the rest undone.
struct IoBatch {
  std::vector<IoRequest> requests;
  /// Writes that others' reads should not have to wait for: of so many as are sent together
  /// (io_uring: 16) each starts when the one before has ended. A disk that cannot do so without
  /// attention starts all at once.
  bool in_turn = false;

  // State of the disk that it was submitted to.
  std::size_t under_way = 0;  ///< requests submitted and not done
  std::shared_ptr<void>
      engine_state;  ///< the implementation's own; dropped when nothing is under way
};

/// Counts since the disk was made; readable from any thread.
struct DiskCounters {
  std::uint64_t reads = 0, read_bytes = 0, writes = 0, written_bytes = 0, syncs = 0, errors = 0;
};

/// A disk: a block device, a file, memory or whatever a user makes of it.
///
/// The public functions check every request (inside the disk, aligned, not empty) in one place and
/// count it; the private virtual ones carry it out. Implementations never see an invalid request.
///
/// Media assumptions: docs/disk_format.md. Completion of a write says nothing about durability, a
/// successful sync() makes every write that completed before it was called durable.
/// Threads: all functions may be called from any thread; one IoBatch belongs to one thread at a
/// time.
class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  /// Constant for the life of the disk.
  const DiskInfo& info() const { return do_info(); }

  /// Starts every request of `batch` and returns, normally without waiting for them. Errors:
  /// invalid_io (then nothing was started). Failures of single requests are found in them when they
  /// are done.
  Result<void> submit(IoBatch& batch);

  /// Waits until at least `at_least` more requests of `batch` are done, or all are. Which ones
  /// shows in IoRequest::done. The number still under way is returned.
  std::size_t wait(IoBatch& batch, std::size_t at_least);

  /// submit, then wait for all. The first failure is returned as io_error or no_space.
  Result<void> run(IoBatch& batch);

  /// Makes every completed write durable. Errors: sync_failed, after which nothing written since
  /// the last successful sync may be taken as durable until it has been written again.
  Result<void> sync();

  /// Starts a sync as the one request of `batch`, whose requests it replaces. What completed before
  /// is durable once finish_sync has succeeded; wait() tells when that no longer waits. Disks
  /// without DiskInfo::background_sync carry it out at once.
  void start_sync(IoBatch& batch);
  /// Waits for it. Errors as of sync.
  Result<void> finish_sync(IoBatch& batch);

  /// Tells the disk that I/O will mostly use this memory, so that it may be registered with the
  /// kernel. The memory must outlive the disk and its batches.
  void use_memory(std::span<std::byte> memory) { do_use_memory(memory); }

  /// Convenience: one request, run to its end. The memory need not be aligned (then it is copied,
  /// and out_of_memory is possible); offset and size must be.
  Result<void> read(std::uint64_t offset, std::span<std::byte> into);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> from);

  DiskCounters counters() const;

 private:
  /// Size, alignment and modes. Constant.
  virtual const DiskInfo& do_info() const = 0;
  /// Starts all requests of the batch; sets under_way.
  virtual void do_submit(IoBatch& batch) = 0;
  /// Waits for so many requests (0: only carries on with them); sets done, os_error, under_way.
  virtual void do_wait(IoBatch& batch, std::size_t at_least) = 0;
  /// Makes completed writes durable. Returns 0 or an errno.
  virtual int do_sync() = 0;
  /// Optional, for read() and write(), any thread: carries out one request to its end, sets its
  /// os_error (0: success) and returns true; false: nothing has been done, do_submit gets it.
  virtual bool do_one(IoRequest&) { return false; }
  /// Optional: starts a sync whose end do_wait waits for, as do_submit starts a request.
  virtual void do_start_sync(IoBatch& batch);
  /// Optional: registers I/O memory.
  virtual void do_use_memory(std::span<std::byte>) {}

  Result<void> run_one(IoRequest request);
  void finish(IoBatch& batch);
  Error sync_failure(int os_error) const;

  std::atomic<std::uint64_t> reads_{0}, read_bytes_{0}, writes_{0}, written_bytes_{0}, syncs_{0},
      errors_{0};
};

/// Which engine open_disk uses.
enum class IoEngine : std::uint8_t {
  automatic,  ///< io_uring where the kernel allows it, else posix; DiskInfo says which and why
  io_uring,   ///< io_uring or Errc::not_supported
  posix,      ///< pread and pwrite on a few threads
};

/// Whether the page cache is bypassed.
enum class DirectIo : std::uint8_t {
  automatic,  ///< O_DIRECT where it is accepted; DiskInfo says whether and why not
  required,   ///< O_DIRECT or Errc::not_supported
  off,
};

struct DiskOptions {
  IoEngine engine = IoEngine::automatic;
  DirectIo direct = DirectIo::automatic;
  /// If the path does not exist: create a file of this many bytes, mode 0600, space really
  /// allocated. 0: do not create.
  std::uint64_t create_bytes = 0;
  /// Reads only; no lock is taken and writes fail.
  bool read_only = false;
};

/// Opens a block device or regular file exclusively (flock; on block devices O_EXCL too).
/// Errors: no_such_file, is_a_directory, not_a_file_or_disk, permission_denied, read_only, mounted,
/// already_open, no_space, too_many_files, not_supported, out_of_memory, io_error.
Result<std::unique_ptr<Disk>> open_disk(std::string_view path, const DiskOptions& options = {});

/// A disk in memory, zeroed; memory is taken when it is first written. null if the address space is
/// short. For tests and for measuring everything but the device.
std::unique_ptr<Disk> make_memory_disk(std::uint64_t size_bytes, std::uint32_t io_alignment = 512);

}  // namespace rawcache
