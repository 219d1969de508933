// Dictionaries that small values are compressed with: where and how they lie on the disk, and how
// they are made. Bytes: docs/disk_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "format/identity.h"

namespace rawcache {

inline constexpr std::uint32_t kDictionaryMagic = 0x54434944;  // "DICT"

struct DictionaryHeader {
  std::uint32_t magic;
  std::uint32_t version;  ///< grows with every dictionary of the cache; the newest is used
  std::uint32_t bytes;    ///< of the dictionary, which follows
  std::uint32_t zero;
  std::uint64_t content_hash;
  std::uint64_t checksum;
};
static_assert(sizeof(DictionaryHeader) == 32 &&
              std::has_unique_object_representations_v<DictionaryHeader>);

/// Where dictionaries lie: in slots behind each copy of the superblock, the same in both.
struct DictionaryArea {
  std::uint32_t slots = 0;
  std::uint32_t slot_bytes = 0;  ///< whole blocks
  /// No larger dictionary fits.
  std::size_t dictionary_bytes_max() const { return slot_bytes - sizeof(DictionaryHeader); }
};
/// No slots if a block is so large that there is no room behind the superblock.
DictionaryArea dictionary_area(std::uint32_t block_bytes);
/// Offset of a slot on the disk. `copy` is 0 or 1.
std::uint64_t dictionary_offset(std::uint32_t block_bytes, std::uint32_t slot, int copy);

/// Writes header and dictionary to the start of `out`, zeros to its rest.
void encode_dictionary(std::span<std::byte> out, std::uint32_t version,
                       std::span<const std::byte> dictionary, const Place& place);
struct DictionaryView {
  std::uint32_t version = 0;
  std::span<const std::byte> bytes;  ///< in what it was decoded from
};
/// Nothing if no dictionary was written there, or it is damaged.
std::optional<DictionaryView> decode_dictionary(std::span<const std::byte> bytes,
                                                const Place& place);

/// The id of the dictionary that a value was compressed with; 0: none.
std::uint32_t dictionary_of(std::span<const std::byte> packed);

/// Makes a dictionary of at most `bytes_max` for values like the samples, which lie behind each
/// other. Takes some milliseconds per 100 KB. Empty: too few samples, nothing in common, or a
/// build without zstd.
std::vector<std::byte> make_dictionary(std::span<const std::byte> samples,
                                       std::span<const std::size_t> sizes, std::size_t bytes_max);

/// What level 0 stands for.
inline constexpr int kZstdLevelDefault = 1;

/// A dictionary ready for use. Immutable; any number of threads may use it at once.
class Dictionary {
 public:
  /// Null if no codec takes it, or memory is short.
  static std::shared_ptr<const Dictionary> create(std::span<const std::byte> bytes, int level);
  ~Dictionary();
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;

  /// What values name it by: a hash of its content, so that no other one is ever taken for it,
  /// whatever became of the versions.
  std::uint32_t id() const { return id_; }
  /// The codec's two forms of it.
  const void* for_compression() const { return compression_; }
  const void* for_decompression() const { return decompression_; }

 private:
  Dictionary() = default;
  std::uint32_t id_ = 0;
  void* compression_ = nullptr;
  void* decompression_ = nullptr;
};

}  // namespace rawcache
