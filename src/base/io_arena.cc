#include "base/io_arena.h"

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "base/math.h"

namespace rawcache {

namespace {

/// Allocates so many more bytes behind what std::allocate_shared asks for and says where they are,
/// so that a value, its reference count and what counts it are one piece of memory.
template <typename T>
struct WithTail {
  using value_type = T;
  WithTail(std::size_t bytes, std::byte** where) : tail_bytes(bytes), tail(where) {}
  template <typename U>
  explicit(false) WithTail(const WithTail<U>& other)
      : tail_bytes(other.tail_bytes), tail(other.tail) {}
  T* allocate(std::size_t n) {
    auto* const memory = static_cast<std::byte*>(::operator new(n * sizeof(T) + tail_bytes));
    *tail = memory + n * sizeof(T);
    return reinterpret_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) { ::operator delete(memory); }
  friend bool operator==(const WithTail& a, const WithTail& b) = default;

  std::size_t tail_bytes;
  std::byte** tail;  ///< looked at by allocate() only
};

}  // namespace

/// Bytes of the heap in callers' hands.
struct IoArena::HeapBytes {
  HeapBytes(std::shared_ptr<IoArena> counted_by, std::size_t counted)
      : arena(std::move(counted_by)), bytes(counted) {}
  HeapBytes(HeapBytes&& other) noexcept = default;
  ~HeapBytes() {
    if (arena) arena->heap_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  std::shared_ptr<IoArena> arena;  ///< null: counted elsewhere
  std::size_t bytes;
};

std::shared_ptr<IoArena> IoArena::create(std::size_t bytes) try {
  if (bytes > SIZE_MAX / 2) return nullptr;
  AlignedBuffer memory =
      AlignedBuffer::allocate(round_up(std::max<std::size_t>(bytes, 1), kPageBytes));
  if (memory.empty()) return nullptr;
  return std::shared_ptr<IoArena>(new IoArena(std::move(memory)));
} catch (const std::bad_alloc&) {
  return nullptr;
}

IoArena::IoArena(AlignedBuffer memory)
    : memory_(std::move(memory)), taken_(memory_.size() / kPageBytes) {}

IoLease IoArena::lease(std::size_t size) {
  if (size > memory_.size()) return {};
  const std::size_t pages = divide_up(std::max<std::size_t>(size, 1), kPageBytes);
  std::size_t first = 0;
  {
    MutexLock lock(mutex_);
    const auto found = taken_.take(pages);
    if (!found) return {};
    first = *found;
  }
  leased_bytes_.fetch_add(pages * kPageBytes, std::memory_order_relaxed);
  std::byte* const data = memory_.data() + first * kPageBytes;
  std::shared_ptr<const void> owner(data, [arena = shared_from_this(), first, pages](const void*) {
    arena->release(first, pages);
  });
  return {std::move(owner), {data, pages * kPageBytes}};
}

void IoArena::release(std::size_t first_page, std::size_t pages) {
  {
    MutexLock lock(mutex_);
    taken_.give_back(first_page, pages);
  }
  leased_bytes_.fetch_sub(pages * kPageBytes, std::memory_order_relaxed);
}

IoLease IoArena::heap_lease(std::size_t size, bool aligned) try {
  const std::size_t bound = memory_.size();
  if (size > bound) return {};
  if (heap_bytes_.fetch_add(size, std::memory_order_relaxed) > bound - size) {
    heap_bytes_.fetch_sub(size, std::memory_order_relaxed);
    return {};
  }
  HeapBytes counted{shared_from_this(), size};  // gives them back wherever it ends
  const std::size_t lead = aligned ? kIoMemoryAlignment - 1 : 0;
  std::byte* memory = nullptr;
  auto owner = std::allocate_shared<HeapBytes>(WithTail<HeapBytes>{lead + size, &memory},
                                               std::move(counted));
  memory += -reinterpret_cast<std::uintptr_t>(memory) & lead;
  return {std::move(owner), {memory, size}};
} catch (const std::bad_alloc&) {
  return {};
}

}  // namespace rawcache
