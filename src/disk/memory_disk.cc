// make_memory_disk: a disk of anonymous memory. Requests are done when submit returns.
#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <limits>

#include "base/assert.h"
#include "base/math.h"
#include "rawcache/disk.h"

namespace rawcache {

namespace {

class MemoryDisk final : public Disk {
 public:
  MemoryDisk(std::byte* memory, const DiskInfo& info) : memory_(memory), info_(info) {}
  ~MemoryDisk() override {
    if (info_.size_bytes != 0) ::munmap(memory_, info_.size_bytes);
  }

 private:
  const DiskInfo& do_info() const override { return info_; }

  // No lock: I/O that overlaps has no order on a real disk either.
  void do_submit(IoBatch& batch) override {
    for (IoRequest& request : batch.requests) {
      request.done = do_one(request);
    }
  }
  bool do_one(IoRequest& request) override {
    std::byte* place = memory_ + request.offset;
    if (request.kind == IoRequest::Kind::read) {
      std::memcpy(request.data, place, request.size);
    } else {
      std::memcpy(place, request.data, request.size);
    }
    return true;
  }
  void do_wait(IoBatch&, std::size_t) override {}
  int do_sync() override { return 0; }

  std::byte* const memory_;
  const DiskInfo info_;
};

}  // namespace

std::unique_ptr<Disk> make_memory_disk(std::uint64_t size_bytes, std::uint32_t io_alignment) {
  RAWCACHE_ASSERT(std::has_single_bit(io_alignment));
  DiskInfo info;
  info.size_bytes = round_down(size_bytes, io_alignment);
  info.io_alignment = io_alignment;
  info.engine = "memory";
  if (info.size_bytes > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
  void* memory = nullptr;
  if (info.size_bytes != 0) {
    memory = ::mmap(nullptr, info.size_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
  }
  return std::make_unique<MemoryDisk>(static_cast<std::byte*>(memory), info);
}

}  // namespace rawcache
