// What the format tests share: places, bytes, bit flips and a builder of batch parts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/math.h"
#include "format/batch.h"
#include "format/entry.h"

namespace rawcache::testing {

using Bytes = std::vector<std::byte>;

inline constexpr CacheId kId{0x0123456789ABCDEF, 0xFEDCBA9876543210};
inline constexpr Place kPlace{.id = kId, .offset = 0x100000, .generation = 7};

/// Places that differ from kPlace in one respect each.
inline std::vector<Place> wrong_places() {
  std::vector<Place> places(6, kPlace);
  places[0].id.hi ^= 1;
  places[1].id.lo ^= std::uint64_t{1} << 63;
  std::swap(places[2].id.hi, places[2].id.lo);
  places[3].offset += 16;
  places[4].offset ^= std::uint64_t{1} << 40;
  places[5].generation += 1;
  return places;
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

inline void flip(std::span<std::byte> bytes, std::size_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
}

inline EntryFields fields(std::string_view key, std::string_view value, const Place& place) {
  EntryFields entry;
  entry.key = key;
  entry.key_hash = hash_key(key, place.id);
  entry.value = as_bytes(value);
  entry.value_hash = hash_value(entry.value);
  return entry;
}

inline Bytes encoded(const EntryFields& entry, const Place& place) {
  Bytes bytes(entry_bytes(entry));
  encode_entry(bytes, entry, place);
  return bytes;
}

/// A part of a batch under construction: header, entries, digest.
class PartBuilder {
 public:
  explicit PartBuilder(Place place = kPlace, std::uint32_t entry_alignment = 16)
      : place_(place), entry_alignment_(entry_alignment), bytes_(sizeof(BatchHeader)) {}

  /// Returns the entry's position in the part.
  std::size_t add(std::string_view key, std::string_view value) {
    Place place = place_;
    const std::size_t position =
        round_up(place.offset + bytes_.size(), entry_alignment_) - place.offset;
    place.offset += position;
    EntryFields entry = fields(key, value, place);
    entry.sequence = ++entries_;
    bytes_.resize(position + entry_bytes(key.size(), value.size(), 0));
    digest_ = digest_next(digest_, encode_entry(std::span(bytes_).subspan(position), entry, place));
    return position;
  }

  BatchHeader header() const {
    BatchHeader header{};
    header.parts = 1;
    header.sequence = 5;
    header.entries = entries_;
    header.bytes = static_cast<std::uint32_t>(bytes_.size());
    header.generation = place_.generation;
    header.digest = digest_;
    return header;
  }

  Bytes finish() {
    encode_batch_header(bytes_, header(), place_);
    return bytes_;
  }

 private:
  Place place_;
  std::uint32_t entry_alignment_;
  Bytes bytes_;
  std::uint32_t entries_ = 0;
  std::uint64_t digest_ = kDigestStart;
};

}  // namespace rawcache::testing
