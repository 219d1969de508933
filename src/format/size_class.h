// Size classes: an entry's size in 8 bits, rounded up, so that one read of the device suffices.
#pragma once

#include <cstdint>

namespace rawcache {

/// Largest size that has a class: the largest segment.
inline constexpr std::uint64_t kSizeClassBytesMax = std::uint64_t{64} << 20;
/// Classes in use: 0 to kSizeClasses - 1.
inline constexpr unsigned kSizeClasses = 233;

inline constexpr std::uint64_t kFineStep = 64;
inline constexpr unsigned kFineClasses = 128;
inline constexpr std::uint64_t kFineBytesMax = kFineStep * kFineClasses;
/// The same as the functions below for what lies beyond the fine classes.
std::uint8_t coarse_size_class(std::uint64_t bytes);
std::uint64_t coarse_size_class_bytes(std::uint8_t c);

/// The smallest class c with size_class_bytes(c) >= bytes. bytes <= kSizeClassBytesMax.
/// 0..127 are exact to 64 bytes (up to 8 KiB); above, eight classes per power of two, each 512
/// bytes larger than the power's eighth, so that a value of 8 KiB, 64 KiB or 1 MiB with its header
/// stays in the class that ends just behind it. The last class is kSizeClassBytesMax.
inline std::uint8_t size_class(std::uint64_t bytes) {
  if (bytes > kFineBytesMax) return coarse_size_class(bytes);
  return static_cast<std::uint8_t>(bytes == 0 ? 0 : (bytes - 1) / kFineStep);
}
/// Total: kSizeClassBytesMax for the numbers that are no class.
inline std::uint64_t size_class_bytes(std::uint8_t c) {
  return c < kFineClasses ? (std::uint64_t{c} + 1) * kFineStep : coarse_size_class_bytes(c);
}

}  // namespace rawcache
