// Structures to and from bytes, and the checksum that ends most of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/assert.h"
#include "base/checksum.h"

namespace rawcache {

/// The T at the start of `bytes`, which must be long enough.
template <typename T>
T load(std::span<const std::byte> bytes) {
  static_assert(std::has_unique_object_representations_v<T>);
  RAWCACHE_ASSERT(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <typename T>
void save(std::span<std::byte> out, const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  RAWCACHE_ASSERT(out.size() >= sizeof(T));
  std::memcpy(out.data(), &value, sizeof(T));
}

/// Hash of a whole structure.
template <typename T>
std::uint64_t hash_struct(const T& value, std::uint64_t seed) {
  static_assert(std::has_unique_object_representations_v<T>);
  return hash64(std::as_bytes(std::span(&value, 1)), seed);
}

/// Hash of a structure without its last member, the checksum.
template <typename T>
std::uint64_t checksum_of(const T& value, std::uint64_t seed) {
  static_assert(std::has_unique_object_representations_v<T>);
  static_assert(offsetof(T, checksum) == sizeof(T) - sizeof(std::uint64_t));
  return hash64(std::as_bytes(std::span(&value, 1)).first(offsetof(T, checksum)), seed);
}

}  // namespace rawcache
