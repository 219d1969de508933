#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/math.h"

namespace rawcache {

namespace {
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kBytesMax = std::size_t{1} << 47;  // no process has a larger address space
}  // namespace

AlignedBuffer AlignedBuffer::allocate(std::size_t size) {
  AlignedBuffer buffer;
  if (size > kBytesMax) return buffer;
  const std::size_t alignment = size >= kHugePageBytes ? kHugePageBytes : kIoMemoryAlignment;
  void* memory = nullptr;
  const std::size_t allocated = round_up(std::max<std::size_t>(size, 1), kIoMemoryAlignment);
  if (posix_memalign(&memory, alignment, allocated) != 0) return buffer;
  if (size >= kHugePageBytes) {
    // Only whole huge pages, so that the tail does not cost more memory than it holds. Only advice.
    static_cast<void>(madvise(memory, round_down(size, kHugePageBytes), MADV_HUGEPAGE));
  }
  std::memset(memory, 0, allocated);
  buffer.data_ = static_cast<std::byte*>(memory);
  buffer.size_ = size;
  return buffer;
}

AlignedBuffer AlignedBuffer::allocate_or_throw(std::size_t size) {
  AlignedBuffer buffer = allocate(size);
  if (buffer.empty()) throw std::bad_alloc();
  return buffer;
}

}  // namespace rawcache
