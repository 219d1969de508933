// What a fuzz target draws its choices from: the bytes it is given, then zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace rawcache::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  template <typename T>
  T take() {
    static_assert(std::has_unique_object_representations_v<T>);
    T value{};
    const std::size_t size = std::min(sizeof(T), rest_.size());
    if (size > 0) std::memcpy(&value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return value;
  }
  /// Below `n`, which is not 0.
  std::uint64_t take_below(std::uint64_t n) {
    return (n <= 256 ? take<std::uint8_t>() : take<std::uint32_t>()) % n;
  }
  bool take_bool() { return (take<std::uint8_t>() & 1) != 0; }
  std::string take_text(std::size_t size) {
    size = std::min(size, rest_.size());
    std::string text(reinterpret_cast<const char*>(rest_.data()), size);
    rest_ = rest_.subspan(size);
    return text;
  }
  std::string take_rest() { return take_text(rest_.size()); }
  std::size_t size() const { return rest_.size(); }

 private:
  std::span<const std::uint8_t> rest_;
};

/// Bytes from 128 on stand for words that chance would not find.
inline std::string replace_words(const std::string& text, std::span<const std::string> words) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 128) {
      out.push_back(c);
    } else {
      out += words[(byte - 128u) % words.size()];
    }
  }
  return out;
}

/// Stops the target: what must always hold does not.
inline void expect(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "violation: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace rawcache::fuzz
