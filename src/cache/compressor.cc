#include "cache/compressor.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace rawcache {
namespace {

/// Working memory that is kept for the next calls, and how large the buffer of each may be.
constexpr std::size_t kIdleToolsMax = 8;
constexpr std::size_t kIdleScratchMax = std::size_t{1} << 20;

/// Small values after which a first dictionary is made.
constexpr std::uint64_t kFirstTraining = 2000;
constexpr std::uint64_t kNever = ~std::uint64_t{0};

}  // namespace

Codec codec_of(Compression compression) {
  switch (compression) {
    case Compression::none:
      return Codec::none;
    case Compression::lz4:
      return Codec::lz4;
    case Compression::zstd:
      return Codec::zstd;
  }
  return Codec::none;
}

Result<void> check_compression(Compression compression) {
  if (has_codec(codec_of(compression))) return {};
  const std::string name = compression == Compression::lz4 ? "lz4" : "zstd";
  return std::unexpected(Error(Errc::not_supported, "this build has no " + name));
}

// --- Working memory ---

Compressor::Borrowed::Borrowed(Compressor& from) : from_(&from) {
  {
    MutexLock lock(from.mutex_);
    if (!from.idle_.empty()) {
      tools_ = std::move(from.idle_.back());
      from.idle_.pop_back();
    }
  }
  if (!tools_) tools_ = std::make_unique<Tools>();
}

Compressor::Borrowed::Borrowed(Borrowed&& other) noexcept
    : from_(other.from_), tools_(std::move(other.tools_)) {}

void Compressor::Borrowed::give_back() {
  if (tools_->scratch.capacity() > kIdleScratchMax) tools_->scratch = {};
  MutexLock lock(from_->mutex_);
  if (from_->idle_.size() < kIdleToolsMax) from_->idle_.push_back(std::move(tools_));
}

// --- Values ---

Compressor::Compressor(const CompressionOptions& options, const Superblock& superblock)
    : options_(options),
      block_bytes_(superblock.block_bytes),
      dictionaries_(superblock, options.level),
      small_values_wanted_(kNever) {
  MutexLock lock(mutex_);
  idle_.reserve(kIdleToolsMax);  // giving back cannot fail
}

Compressor::~Compressor() = default;

Compressor::Stored Compressor::compress(std::span<const std::byte> value,
                                        std::optional<Compression> wanted) {
  const Compression compression = wanted.value_or(options_.codec);
  if (compression == Compression::none || value.empty()) return Stored(value);
  // What was asked for by name is tried whatever it looks like.
  if (!wanted && value.size() < options_.min_bytes) return Stored(value);
  if (!wanted && looks_random(value)) {
    counts_.not_worth.add();
    return Stored(value);
  }
  const auto share =
      static_cast<std::size_t>(std::ceil(static_cast<double>(value.size()) * options_.min_saving));
  const std::size_t saving = std::min<std::size_t>(share, block_bytes_) + kEntryFieldBytes;
  if (saving >= value.size()) return Stored(value);

  Codec codec = codec_of(compression);
  Dictionaries::Slot with;
  if (options_.dictionary && codec == Codec::zstd && value.size() <= kDictionaryValueMax) {
    with = dictionaries_.newest();
    if (with.dictionary) {
      codec = Codec::zstd_dictionary;
    } else {
      small_values_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  const int level = compression == options_.codec ? options_.level : 0;
  Borrowed tools(*this);
  std::vector<std::byte>& scratch = tools->scratch;
  if (scratch.size() < value.size()) scratch.resize(value.size());
  const auto size = tools->codec.compress(
      codec, level, value, std::span(scratch).first(value.size() - saving), with.dictionary.get());
  if (!size) {
    counts_.not_worth.add();
    return Stored(value);
  }
  counts_.values.add();
  counts_.bytes_before.add(value.size());
  counts_.bytes_after.add(*size + kEntryFieldBytes);
  const std::span<const std::byte> packed = std::span(scratch).first(*size);
  return {packed,
          {.codec = codec,
           .dictionary = static_cast<std::uint8_t>(with.slot),
           .raw_bytes = static_cast<std::uint32_t>(value.size())},
          std::move(tools)};
}

Compressor::Restored Compressor::decompress(const Encoding& encoding,
                                            std::span<const std::byte> packed,
                                            std::span<std::byte> out) {
  std::shared_ptr<const Dictionary> dictionary;
  if (encoding.codec == Codec::zstd_dictionary) {
    const std::uint32_t id = dictionary_of(packed);
    if (id == 0) return Restored::no;
    dictionary = dictionaries_.find(encoding.dictionary, id);
    if (!dictionary) {
      counts_.without_dictionary.add();
      return Restored::no_dictionary;
    }
  }
  const Borrowed tools(*this);
  const bool whole = tools->codec.decompress(encoding.codec, packed, out, dictionary.get());
  return whole ? Restored::yes : Restored::no;
}

void Compressor::note_training() {
  const std::uint64_t next =
      std::max(kFirstTraining, 2 * small_values_.load(std::memory_order_relaxed));
  const bool wanted =
      options_.dictionary && dictionaries_.bytes_max() != 0 && dictionaries_.count() == 0;
  small_values_wanted_.store(wanted ? next : kNever, std::memory_order_relaxed);
}

}  // namespace rawcache
