// Compressor: how values become what is written, and come back. Internal.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "cache/counters.h"
#include "cache/dictionaries.h"
#include "format/entry.h"
#include "format/value_codec.h"
#include "rawcache/options.h"
#include "rawcache/result.h"

namespace rawcache {

/// Threads: any; each call takes working memory of its own, which is kept for the next ones.
class Compressor {
 public:
  /// `superblock` must outlive it; saving one of its blocks is worth it whatever the share.
  Compressor(const CompressionOptions& options, const Superblock& superblock);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  /// What a value is stored as; `bytes` are valid as long as it and the value live.
  class Stored;
  /// Compresses the value if that is wanted and worth it. `wanted` is StoreOptions::compression.
  Stored compress(std::span<const std::byte> value, std::optional<Compression> wanted);
  /// Whether that leaves every value as it is.
  bool is_off(std::optional<Compression> wanted) const {
    return wanted.value_or(options_.codec) == Compression::none;
  }

  enum class Restored : std::uint8_t {
    yes,
    no,             ///< `packed` cannot be what was stored
    no_dictionary,  ///< the one that it was compressed with is gone
  };
  /// Restores a value into `out`, which has the raw size of its encoding. The codec must be one of
  /// this build's. Throws std::bad_alloc if memory is short.
  Restored decompress(const Encoding& encoding, std::span<const std::byte> packed,
                      std::span<std::byte> out);

  Dictionaries& dictionaries() { return dictionaries_; }
  const Dictionaries& dictionaries() const { return dictionaries_; }
  /// A first dictionary is wanted, and enough small values have been stored to make one.
  bool wants_dictionary() const {
    return small_values_.load(std::memory_order_relaxed) >=
           small_values_wanted_.load(std::memory_order_relaxed);
  }
  /// To be called when dictionaries have been loaded, or making one has been tried: as long as
  /// there is none, the next try is wanted when twice as many values have come.
  void note_training();

  struct Counts {
    Counter values, bytes_before, bytes_after, not_worth, without_dictionary;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Tools {
    ValueCodec codec;
    std::vector<std::byte> scratch;
  };
  /// Tools of the pool's, while it lives.
  class Borrowed {
   public:
    Borrowed() = default;
    explicit Borrowed(Compressor& from);
    ~Borrowed() {
      if (tools_) give_back();
    }
    Borrowed(Borrowed&& other) noexcept;
    Borrowed& operator=(Borrowed&&) = delete;
    Tools* operator->() const { return tools_.get(); }

   private:
    void give_back();
    Compressor* from_ = nullptr;
    std::unique_ptr<Tools> tools_;
  };

  const CompressionOptions options_;
  const std::uint32_t block_bytes_;
  Dictionaries dictionaries_;
  Counts counts_;
  std::atomic<std::uint64_t> small_values_{0};  ///< stored while there was no dictionary
  std::atomic<std::uint64_t> small_values_wanted_;

  Mutex mutex_;
  std::vector<std::unique_ptr<Tools>> idle_ GUARDED_BY(mutex_);
};

class Compressor::Stored {
 public:
  std::span<const std::byte> bytes;
  Encoding encoding;

  /// As it is.
  explicit Stored(std::span<const std::byte> value) : bytes(value) {}

 private:
  friend class Compressor;
  Stored(std::span<const std::byte> packed, const Encoding& how, Borrowed tools)
      : bytes(packed), encoding(how), tools_(std::move(tools)) {}
  Borrowed tools_;  ///< the bytes are in their memory
};

/// Larger values are compressed without a dictionary: they have enough in common with themselves.
inline constexpr std::size_t kDictionaryValueMax = 4096;

/// The codec of the format; `none` is none.
Codec codec_of(Compression compression);
/// Errors: not_supported: this build does not have it.
Result<void> check_compression(Compression compression);

}  // namespace rawcache
