// AlignedBuffer: owned, zeroed memory for direct I/O.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <span>
#include <utility>

namespace rawcache {

/// Alignment of all I/O memory, bytes: satisfies every device.
inline constexpr std::size_t kIoMemoryAlignment = 4096;

/// Memory of a fixed size, aligned to kIoMemoryAlignment (2 MiB with huge pages advised from 2 MiB
/// up).
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// empty() if memory is short. Zeroed and faulted in.
  static AlignedBuffer allocate(std::size_t size);
  /// The same for where a lack of memory must not be taken for anything else: throws
  /// std::bad_alloc.
  static AlignedBuffer allocate_or_throw(std::size_t size);

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer() { std::free(data_); }

  bool empty() const { return data_ == nullptr; }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rawcache
