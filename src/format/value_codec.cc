#include "format/value_codec.h"

#include <array>
#include <bit>
#include <climits>
#include <cstring>
#include <new>

#ifdef RAWCACHE_HAVE_LZ4
#include <lz4.h>
#include <lz4hc.h>
#endif
#ifdef RAWCACHE_HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/assert.h"

namespace rawcache {
namespace {

/// A sample is so many pieces of 8 bytes, evenly spread.
constexpr std::size_t kPieces = 16;
constexpr std::size_t kSampleBytes = kPieces * sizeof(std::uint64_t);
/// Of 128 random bytes 101 are different on average, and fewer than this once in a thousand times.
/// So many are expected of bytes that have 7.4 bits each.
constexpr int kDistinctOfRandom = 88;

static_assert(kEntryValueBytesMax <= INT_MAX);  // what LZ4 counts in

}  // namespace

bool looks_random(std::span<const std::byte> value) {
  if (value.size() < kSampleBytes) return false;
  std::array<std::uint64_t, 4> seen{};
  const std::size_t stride = (value.size() - sizeof(std::uint64_t)) / (kPieces - 1);
  for (std::size_t piece = 0; piece < kPieces; ++piece) {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, value.data() + piece * stride, sizeof(bytes));
    for (std::size_t i = 0; i < sizeof(bytes); ++i, bytes >>= 8) {
      seen[(bytes >> 6) & 3] |= std::uint64_t{1} << (bytes & 63);
    }
  }
  int distinct = 0;
  for (const std::uint64_t word : seen) distinct += std::popcount(word);
  return distinct >= kDistinctOfRandom;
}

// --- lz4 ---

#ifdef RAWCACHE_HAVE_LZ4
namespace {

constexpr int kLz4LevelMax = LZ4HC_CLEVEL_MAX;

char* chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }
const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

/// Level 1 is the fast codec, what is above the one of high compression.
class Lz4 {
 public:
  std::optional<std::size_t> compress(int level, std::span<const std::byte> value,
                                      std::span<std::byte> out) {
    const bool fast = level <= 1;
    std::unique_ptr<char[]>& state = fast ? fast_ : high_;
    if (!state) {
      const int size = fast ? LZ4_sizeofState() : LZ4_sizeofStateHC();
      state.reset(new (std::nothrow) char[static_cast<std::size_t>(size)]);
      if (!state) return std::nullopt;
    }
    const int from = static_cast<int>(value.size());
    const int to = static_cast<int>(out.size());
    const int size =
        fast ? LZ4_compress_fast_extState(state.get(), chars(value), chars(out), from, to, 1)
             : LZ4_compress_HC_extStateHC(state.get(), chars(value), chars(out), from, to, level);
    if (size <= 0) return std::nullopt;
    return static_cast<std::size_t>(size);
  }

  static bool decompress(std::span<const std::byte> packed, std::span<std::byte> out) {
    const int size = LZ4_decompress_safe(chars(packed), chars(out), static_cast<int>(packed.size()),
                                         static_cast<int>(out.size()));
    return size >= 0 && static_cast<std::size_t>(size) == out.size();
  }

 private:
  std::unique_ptr<char[]> fast_, high_;
};

}  // namespace
#endif

// --- zstd ---

#ifdef RAWCACHE_HAVE_ZSTD
namespace {

constexpr int kZstdLevelMin = -7;
constexpr int kZstdLevelMax = 19;

class Zstd {
 public:
  Zstd() = default;
  ~Zstd() {
    ZSTD_freeCCtx(compressor_);
    ZSTD_freeDCtx(decompressor_);
  }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  std::optional<std::size_t> compress(int level, std::span<const std::byte> value,
                                      std::span<std::byte> out, const Dictionary* dictionary) {
    if (compressor_ == nullptr) compressor_ = ZSTD_createCCtx();
    if (compressor_ == nullptr) return std::nullopt;
    const std::size_t size =
        dictionary != nullptr
            ? ZSTD_compress_usingCDict(
                  compressor_, out.data(), out.size(), value.data(), value.size(),
                  static_cast<const ZSTD_CDict*>(dictionary->for_compression()))
            : ZSTD_compressCCtx(compressor_, out.data(), out.size(), value.data(), value.size(),
                                level == 0 ? kZstdLevelDefault : level);
    if (ZSTD_isError(size) != 0) return std::nullopt;
    return size;
  }

  bool decompress(std::span<const std::byte> packed, std::span<std::byte> out,
                  const Dictionary* dictionary) {
    if (decompressor_ == nullptr) decompressor_ = ZSTD_createDCtx();
    if (decompressor_ == nullptr) throw std::bad_alloc();  // which says nothing about the value
    const std::size_t size =
        dictionary != nullptr
            ? ZSTD_decompress_usingDDict(
                  decompressor_, out.data(), out.size(), packed.data(), packed.size(),
                  static_cast<const ZSTD_DDict*>(dictionary->for_decompression()))
            : ZSTD_decompressDCtx(decompressor_, out.data(), out.size(), packed.data(),
                                  packed.size());
    return size == out.size();  // an error's number is larger than any size
  }

 private:
  ZSTD_CCtx* compressor_ = nullptr;
  ZSTD_DCtx* decompressor_ = nullptr;
};

}  // namespace
#endif

// --- Both ---

struct ValueCodec::State {
#ifdef RAWCACHE_HAVE_LZ4
  Lz4 lz4;
#endif
#ifdef RAWCACHE_HAVE_ZSTD
  Zstd zstd;
#endif
};

ValueCodec::ValueCodec() : state_(std::make_unique<State>()) {}
ValueCodec::~ValueCodec() = default;

bool has_codec(Codec codec) {
  switch (codec) {
    case Codec::none:
      return true;
    case Codec::lz4:
#ifdef RAWCACHE_HAVE_LZ4
      return true;
#else
      return false;
#endif
    case Codec::zstd:
    case Codec::zstd_dictionary:
#ifdef RAWCACHE_HAVE_ZSTD
      return true;
#else
      return false;
#endif
  }
  return false;
}

bool is_level_of(Codec codec, int level) {
  switch (codec) {
#ifdef RAWCACHE_HAVE_LZ4
    case Codec::lz4:
      return level >= 0 && level <= kLz4LevelMax;
#endif
#ifdef RAWCACHE_HAVE_ZSTD
    case Codec::zstd:
    case Codec::zstd_dictionary:
      return level >= kZstdLevelMin && level <= kZstdLevelMax;
#endif
    default:
      return level == 0;
  }
}

std::optional<std::size_t> ValueCodec::compress(Codec codec, [[maybe_unused]] int level,
                                                [[maybe_unused]] std::span<const std::byte> value,
                                                [[maybe_unused]] std::span<std::byte> out,
                                                const Dictionary* dictionary) {
  RAWCACHE_ASSERT((codec == Codec::zstd_dictionary) == (dictionary != nullptr));
  RAWCACHE_ASSERT(has_codec(codec) && value.size() <= kEntryValueBytesMax);
#ifdef RAWCACHE_HAVE_LZ4
  if (codec == Codec::lz4) return state_->lz4.compress(level, value, out);
#endif
#ifdef RAWCACHE_HAVE_ZSTD
  if (codec != Codec::none) return state_->zstd.compress(level, value, out, dictionary);
#endif
  return std::nullopt;
}

bool ValueCodec::decompress(Codec codec, [[maybe_unused]] std::span<const std::byte> packed,
                            [[maybe_unused]] std::span<std::byte> out,
                            const Dictionary* dictionary) {
  RAWCACHE_ASSERT((codec == Codec::zstd_dictionary) == (dictionary != nullptr));
  RAWCACHE_ASSERT(has_codec(codec) && packed.size() <= kEntryValueBytesMax &&
                  out.size() <= kEntryValueBytesMax);
#ifdef RAWCACHE_HAVE_LZ4
  if (codec == Codec::lz4) return Lz4::decompress(packed, out);
#endif
#ifdef RAWCACHE_HAVE_ZSTD
  if (codec != Codec::none) return state_->zstd.decompress(packed, out, dictionary);
#endif
  return false;
}

}  // namespace rawcache
