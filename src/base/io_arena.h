// IoArena: the bounded memory that reads land in. Preallocated, huge pages, reused for ever.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

#include "base/aligned_buffer.h"
#include "base/mutex.h"
#include "base/run_map.h"

namespace rawcache {

/// A lease on memory: while a copy of `owner` lives, `bytes` stay valid and are nobody else's.
struct IoLease {
  std::shared_ptr<const void> owner;
  std::span<std::byte> bytes;
  explicit operator bool() const { return owner != nullptr; }
};

/// Hands out runs of 4 KiB pages from one block of memory, and copies on the heap beside it, both
/// bounded. The lowest free run is handed out first, which makes reads into it faster by a tenth.
/// Leases keep the arena alive, so values outlive the cache. Threads: any.
class IoArena : public std::enable_shared_from_this<IoArena> {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  /// null if memory is short. `bytes` is rounded up to whole pages.
  static std::shared_ptr<IoArena> create(std::size_t bytes);

  /// A lease on at least `size` bytes, kIoMemoryAlignment-aligned; empty if no run of pages is
  /// free. Never waits.
  IoLease lease(std::size_t size);
  /// Memory from the heap (aligned the same if `aligned`), within a bound as large as the arena;
  /// empty if the bound is reached or memory is short.
  IoLease heap_lease(std::size_t size, bool aligned);

  std::span<std::byte> memory() { return memory_.bytes(); }
  std::size_t leased_bytes() const { return leased_bytes_.load(std::memory_order_relaxed); }
  std::size_t heap_bytes() const { return heap_bytes_.load(std::memory_order_relaxed); }
  /// Less than a quarter is free: values had better be copied out.
  bool nearly_empty() const { return leased_bytes() > memory_.size() / 4 * 3; }

 private:
  struct HeapBytes;

  explicit IoArena(AlignedBuffer memory);
  void release(std::size_t first_page, std::size_t pages);

  AlignedBuffer memory_;
  std::atomic<std::size_t> leased_bytes_{0};
  std::atomic<std::size_t> heap_bytes_{0};
  Mutex mutex_;
  RunMap taken_ GUARDED_BY(mutex_);  ///< pages
};

}  // namespace rawcache
