#include "format/dictionary.h"

#include <algorithm>

#ifdef RAWCACHE_HAVE_ZSTD
#include <zdict.h>
#include <zstd.h>
#endif

#include "base/math.h"
#include "format/bytes.h"
#include "format/entry.h"
#include "format/superblock.h"

namespace rawcache {
namespace {

/// Of a slot; five of them fit behind a superblock of 4 KiB.
constexpr std::uint32_t kSlotBytes = 12288;
constexpr std::uint32_t kAreaEnd = kSuperblockOffsets[1] - kSuperblockOffsets[0];

}  // namespace

// --- On the disk ---

DictionaryArea dictionary_area(std::uint32_t block_bytes) {
  const auto slot_bytes = static_cast<std::uint32_t>(round_up(kSlotBytes, block_bytes));
  const std::uint32_t room = kAreaEnd - block_bytes;
  return {.slots = std::min<std::uint32_t>(room / slot_bytes, kDictionarySlots),
          .slot_bytes = slot_bytes};
}

std::uint64_t dictionary_offset(std::uint32_t block_bytes, std::uint32_t slot, int copy) {
  return kSuperblockOffsets[copy] + block_bytes +
         std::uint64_t{slot} * dictionary_area(block_bytes).slot_bytes;
}

void encode_dictionary(std::span<std::byte> out, std::uint32_t version,
                       std::span<const std::byte> dictionary, const Place& place) {
  RAWCACHE_ASSERT(out.size() >= sizeof(DictionaryHeader) + dictionary.size());
  DictionaryHeader header{.magic = kDictionaryMagic,
                          .version = version,
                          .bytes = static_cast<std::uint32_t>(dictionary.size()),
                          .zero = 0,
                          .content_hash = hash64(dictionary),
                          .checksum = 0};
  header.checksum = checksum_of(header, place_seed(place));
  save(out, header);
  out = out.subspan(sizeof(header));
  std::ranges::copy(dictionary, out.begin());
  std::ranges::fill(out.subspan(dictionary.size()), std::byte{0});
}

std::optional<DictionaryView> decode_dictionary(std::span<const std::byte> bytes,
                                                const Place& place) {
  if (bytes.size() < sizeof(DictionaryHeader)) return std::nullopt;
  const auto header = load<DictionaryHeader>(bytes);
  if (header.magic != kDictionaryMagic || header.version == 0 ||
      header.checksum != checksum_of(header, place_seed(place)) ||
      header.bytes > bytes.size() - sizeof(header)) {
    return std::nullopt;
  }
  const auto content = bytes.subspan(sizeof(header), header.bytes);
  if (hash64(content) != header.content_hash) return std::nullopt;
  return DictionaryView{header.version, content};
}

// --- In use ---

#ifdef RAWCACHE_HAVE_ZSTD
namespace {

/// Where zstd's format has the id, and which ids it leaves to whoever wants them.
constexpr std::size_t kIdOffset = 4;
constexpr std::uint64_t kIdMin = 32768;
constexpr std::uint64_t kIdEnd = std::uint64_t{1} << 31;

}  // namespace

std::uint32_t dictionary_of(std::span<const std::byte> packed) {
  return ZSTD_getDictID_fromFrame(packed.data(), packed.size());
}

std::vector<std::byte> make_dictionary(std::span<const std::byte> samples,
                                       std::span<const std::size_t> sizes, std::size_t bytes_max) {
  std::vector<std::byte> dictionary(bytes_max);
  const std::size_t size = ZDICT_trainFromBuffer(dictionary.data(), bytes_max, samples.data(),
                                                 sizes.data(), static_cast<unsigned>(sizes.size()));
  if (ZDICT_isError(size) != 0) return {};
  dictionary.resize(size);
  // The codec's own id leaves out the tables that come before the content.
  const std::span<std::byte> named = std::span(dictionary).subspan(kIdOffset);
  const std::uint64_t hash = hash64(named.subspan(sizeof(std::uint32_t)));
  save(named, static_cast<std::uint32_t>(kIdMin + hash % (kIdEnd - kIdMin)));
  return dictionary;
}

std::shared_ptr<const Dictionary> Dictionary::create(std::span<const std::byte> bytes, int level) {
  if (level == 0) level = kZstdLevelDefault;
  std::shared_ptr<Dictionary> made(new Dictionary());
  ZSTD_DDict* const decompression = ZSTD_createDDict(bytes.data(), bytes.size());
  made->decompression_ = decompression;
  made->compression_ = ZSTD_createCDict(bytes.data(), bytes.size(), level);
  made->id_ = ZSTD_getDictID_fromDDict(decompression);
  if (made->compression_ == nullptr || decompression == nullptr || made->id_ == 0) return nullptr;
  return made;
}

Dictionary::~Dictionary() {
  ZSTD_freeCDict(static_cast<ZSTD_CDict*>(compression_));
  ZSTD_freeDDict(static_cast<ZSTD_DDict*>(decompression_));
}

#else

std::uint32_t dictionary_of(std::span<const std::byte>) { return 0; }

std::vector<std::byte> make_dictionary(std::span<const std::byte>, std::span<const std::size_t>,
                                       std::size_t) {
  return {};
}

std::shared_ptr<const Dictionary> Dictionary::create(std::span<const std::byte>, int) {
  return nullptr;
}

Dictionary::~Dictionary() = default;

#endif

}  // namespace rawcache
