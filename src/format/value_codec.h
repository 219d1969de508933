// Compressing and decompressing values. Which codecs there are is a choice of the build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "format/dictionary.h"
#include "format/entry.h"

namespace rawcache {

/// Whether this build has the codec.
bool has_codec(Codec codec);
/// Levels that the codec knows; 0 stands for its default.
bool is_level_of(Codec codec, int level);

/// Whether a sample of the bytes has so many different ones that an order-0 coder would save less
/// than about an eighth. Reads 128 bytes. It is wrong about long repetitions of random bytes.
bool looks_random(std::span<const std::byte> value);

/// The working memory of the codecs, kept from call to call. For one thread at a time.
class ValueCodec {
 public:
  ValueCodec();
  ~ValueCodec();
  ValueCodec(const ValueCodec&) = delete;
  ValueCodec& operator=(const ValueCodec&) = delete;

  /// Compresses `value` into `out`. nullopt: it does not fit there, or memory is short. The codec
  /// must be one of this build's. With a dictionary `level` is that of the dictionary.
  std::optional<std::size_t> compress(Codec codec, int level, std::span<const std::byte> value,
                                      std::span<std::byte> out,
                                      const Dictionary* dictionary = nullptr);
  /// Fills `out`, all of it and nothing beside it. False: `packed` is not what a value of that size
  /// was compressed to. Throws std::bad_alloc if memory is short. The codec must be one of this
  /// build's.
  bool decompress(Codec codec, std::span<const std::byte> packed, std::span<std::byte> out,
                  const Dictionary* dictionary = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rawcache
