#include "allocation/failing_allocator.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <utility>

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

std::atomic<std::uint64_t> allocations{0};
std::atomic<std::uint64_t> fail_at{kNever};
std::atomic<bool> fails_for_ever{false};
std::atomic<std::uint64_t> failures{0};
std::atomic<std::int64_t> live_allocations{0};
thread_local bool counts = false;

bool fails_now() {
  if (!counts) return false;
  const std::uint64_t number = ++allocations;
  const std::uint64_t at = fail_at.load();
  if (number != at && (number < at || !fails_for_ever.load())) return false;
  ++failures;
  return true;
}

}  // namespace

void FailingAllocator::fail(std::uint64_t k, Repeat repeat) {
  allocations = 0;
  failures = 0;
  fails_for_ever = repeat == Repeat::for_ever;
  fail_at = k;
}

std::uint64_t FailingAllocator::heal() {
  fail_at = kNever;
  return failures.exchange(0);
}

std::int64_t FailingAllocator::live() { return live_allocations.load(); }

FailingAllocator::Scope::Scope() { counts = true; }
FailingAllocator::Scope::~Scope() { counts = false; }
FailingAllocator::Exempt::Exempt() : before_(std::exchange(counts, false)) {}
FailingAllocator::Exempt::~Exempt() { counts = before_; }

}  // namespace rawcache::testing

// --- In place of the real ones ---

extern "C" {

void* __real_malloc(std::size_t size);
int __real_posix_memalign(void** memory, std::size_t alignment, std::size_t size);

void* __wrap_malloc(std::size_t size) {
  return rawcache::testing::fails_now() ? nullptr : __real_malloc(size);
}

int __wrap_posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  if (rawcache::testing::fails_now()) return ENOMEM;
  return __real_posix_memalign(memory, alignment, size);
}

#if defined(RAWCACHE_HAVE_ZSTD)

void* __real_ZSTD_createCCtx();
void* __wrap_ZSTD_createCCtx() {
  return rawcache::testing::fails_now() ? nullptr : __real_ZSTD_createCCtx();
}

void* __real_ZSTD_createDCtx();
void* __wrap_ZSTD_createDCtx() {
  return rawcache::testing::fails_now() ? nullptr : __real_ZSTD_createDCtx();
}

#endif

}  // extern "C"

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  if (rawcache::testing::fails_now()) return nullptr;
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    memory = __real_malloc(size == 0 ? 1 : size);
  } else if (__real_posix_memalign(&memory, alignment, size) != 0) {
    memory = nullptr;
  }
  if (memory != nullptr) ++rawcache::testing::live_allocations;
  return memory;
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void give_back(void* memory) {
  if (memory == nullptr) return;
  --rawcache::testing::live_allocations;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete[](void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { give_back(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { give_back(memory); }
