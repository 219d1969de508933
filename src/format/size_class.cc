#include "format/size_class.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace rawcache {

namespace {
constexpr std::uint64_t kHeadroom = 512;  // room for header and key beside a value of a round size
constexpr unsigned kFineBits = std::bit_width(kFineBytesMax) - 1;
}  // namespace

std::uint8_t coarse_size_class(std::uint64_t bytes) {
  RAWCACHE_ASSERT(bytes > kFineBytesMax && bytes <= kSizeClassBytesMax);
  const std::uint64_t payload = bytes - kHeadroom;
  if (payload <= kFineBytesMax) return kFineClasses;
  // The eighth of its power of two that `payload` ends in; an exact border belongs to the eighth
  // below.
  const unsigned power = static_cast<unsigned>(std::bit_width(payload - 1)) - 1;
  const unsigned eighth = static_cast<unsigned>((payload - 1) >> (power - 3)) - 8;
  return static_cast<std::uint8_t>(kFineClasses + 1 + (power - kFineBits) * 8 + eighth);
}

std::uint64_t coarse_size_class_bytes(std::uint8_t c) {
  const unsigned coarse = c - kFineClasses;
  const std::uint64_t payload = (std::uint64_t{8} + coarse % 8) << (kFineBits - 3 + coarse / 8);
  return std::min(payload + kHeadroom, kSizeClassBytesMax);
}

}  // namespace rawcache
