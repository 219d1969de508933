// Copies of a few bytes to a few kilobytes, on paths where a call of memcpy costs more than they
// do.
#pragma once

#include <cstddef>
#include <cstring>

namespace rawcache {

/// Larger copies are left to memcpy, bytes.
inline constexpr std::size_t kShortCopyBytesMax = 2048;

/// memcpy of `size` bytes (0 allowed), in steps of 16. The C library's own takes the widest
/// registers that a processor has, and what comes after it waits for them: with AVX-512 copies of
/// 100 bytes a buffered store takes half as long again.
inline void copy_bytes(std::byte* to, const std::byte* from, std::size_t size) {
  constexpr std::size_t kStep = 16;
  if (size > kShortCopyBytesMax) {
    std::memcpy(to, from, size);
    return;
  }
  if (size < kStep) {
    constexpr std::size_t kHalf = kStep / 2, kQuarter = kStep / 4;
    if (size >= kHalf) {
      std::memcpy(to, from, kHalf);
      std::memcpy(to + size - kHalf, from + size - kHalf, kHalf);
    } else if (size >= kQuarter) {
      std::memcpy(to, from, kQuarter);
      std::memcpy(to + size - kQuarter, from + size - kQuarter, kQuarter);
    } else {
      for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
    }
    return;
  }
  for (std::size_t at = 0; at + kStep < size; at += kStep) {
    std::memcpy(to + at, from + at, kStep);
    __asm__ volatile("" : : : "memory");  // or the compiler makes it one memcpy again
  }
  std::memcpy(to + size - kStep, from + size - kStep, kStep);
}

}  // namespace rawcache
