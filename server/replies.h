// Replies: what goes back to a client, in order, text copied and large values by reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rawcache/value.h"

namespace rawcache::server {

/// Smaller values are copied: a reference costs more than that many bytes.
inline constexpr std::size_t kValueReferenceMin = 2048;

class Replies {
 public:
  void text(std::string_view bytes);
  void number(std::uint64_t number);
  void value(const Value& value);
  /// Text that says that something was done, which fail_acknowledgements may still take back.
  void acknowledgement(std::string_view bytes);
  /// Replaces every acknowledgement with this text.
  void fail_acknowledgements(std::string_view bytes);

  std::size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  /// Moves all of `other` to the end.
  void append(Replies&& other);
  void clear();

  /// Fills `pieces` with what comes next, as far as it goes; returns how many.
  std::size_t front(std::span<std::span<const std::byte>> pieces) const;
  /// Forgets the first `bytes`.
  void consume(std::size_t bytes);
  /// Copies what is still referred to, so that no value is held any longer.
  void own();

 private:
  struct Piece {
    std::string text;
    Value value;
    bool is_value = false;
    bool acknowledgement = false;
    std::size_t size() const { return is_value ? value.size() : text.size(); }
    std::span<const std::byte> bytes() const {
      return is_value ? value.bytes() : std::as_bytes(std::span(text));
    }
  };
  std::deque<Piece> pieces_;
  std::size_t done_ = 0;   ///< bytes of the first piece
  std::size_t bytes_ = 0;  ///< left
};

}  // namespace rawcache::server
