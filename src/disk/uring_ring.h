// Ring and RingPool: io_uring instances on one file, made when needed and used again.
#pragma once

#include <liburing.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "disk/file_descriptor.h"
#include "rawcache/result.h"

namespace rawcache {

/// One io_uring. It belongs to one batch at a time and is never shared, nor used in a forked child.
class Ring {
 public:
  static constexpr unsigned kEntries = 128;
  /// Returns null and sets `error` (an errno) if the kernel refuses.
  static std::unique_ptr<Ring> create(int fd, int& error);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  io_uring* get() { return &ring_; }

  /// Registers exactly this memory. Returns 0 or an errno, after which none is registered.
  int register_memory(const std::vector<std::span<std::byte>>& memory);
  /// The registered buffer that holds all of these bytes; -1 if there is none.
  int buffer_of(const std::byte* data, std::size_t size) const;

  /// Sets the file of a prepared submission.
  void set_file(io_uring_sqe* sqe) const;

  std::uint64_t memory_version = 0;  ///< of the pool's memory: what it last tried to register

 private:
  Ring() = default;

  io_uring ring_{};
  pid_t owner_ = 0;
  int fd_ = -1;
  bool file_registered_ = false;
  std::vector<std::span<std::byte>> buffers_;
};

/// Threads: any.
class RingPool {
 public:
  static constexpr std::size_t kRingsMax = 16;

  explicit RingPool(FileDescriptor fd);

  int fd() const { return fd_.get(); }
  /// Makes a first ring. Returns 0 or the errno of the kernel's refusal.
  int probe();
  /// The file back; the pool is of no use afterwards.
  FileDescriptor release_file() { return std::move(fd_); }

  /// A ring with nothing in it. null: all are in use, the kernel gives no more, or the process is a
  /// forked child.
  std::unique_ptr<Ring> acquire();
  /// Takes back a ring with nothing in it; null for one that was given up.
  void release(std::unique_ptr<Ring> ring);

  void use_memory(std::span<std::byte> memory);
  /// Why memory is not registered with every ring; 0 if it is.
  int memory_error() const;

 private:
  FileDescriptor fd_;  // outlives the rings, which are destroyed first
  const pid_t owner_;
  mutable Mutex mutex_;
  std::vector<std::unique_ptr<Ring>> idle_ GUARDED_BY(mutex_);
  std::size_t rings_ GUARDED_BY(mutex_) = 0;
  std::vector<std::span<std::byte>> memory_ GUARDED_BY(mutex_);
  std::uint64_t memory_version_ GUARDED_BY(mutex_) = 0;
  int memory_error_ GUARDED_BY(mutex_) = 0;
};

}  // namespace rawcache
