#include "server/replies.h"

#include <charconv>

namespace rawcache::server {

void Replies::text(std::string_view bytes) {
  if (pieces_.empty() || pieces_.back().is_value || pieces_.back().acknowledgement) {
    pieces_.emplace_back();
  }
  pieces_.back().text.append(bytes);
  bytes_ += bytes.size();
}

void Replies::number(std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  text({digits, static_cast<std::size_t>(end - digits)});
}

void Replies::value(const Value& value) {
  if (value.size() < kValueReferenceMin) {
    text(value.view());
    return;
  }
  Piece& piece = pieces_.emplace_back();
  piece.is_value = true;
  piece.value = value;
  bytes_ += value.size();
}

void Replies::acknowledgement(std::string_view bytes) {
  Piece& piece = pieces_.emplace_back();
  piece.acknowledgement = true;
  piece.text = bytes;
  bytes_ += bytes.size();
}

void Replies::fail_acknowledgements(std::string_view bytes) {
  for (Piece& piece : pieces_) {
    if (!piece.acknowledgement) continue;
    bytes_ += bytes.size() - piece.text.size();
    piece.text = bytes;
  }
}

void Replies::append(Replies&& other) {
  for (Piece& piece : other.pieces_) {
    // What has been answered is no longer taken back.
    piece.acknowledgement = false;
    if (!piece.is_value && !pieces_.empty() && !pieces_.back().is_value &&
        piece.text.size() < kValueReferenceMin) {
      pieces_.back().text.append(piece.text);
    } else {
      pieces_.push_back(std::move(piece));
    }
  }
  bytes_ += other.bytes_;
  other.clear();
}

void Replies::clear() {
  pieces_.clear();
  done_ = 0;
  bytes_ = 0;
}

std::size_t Replies::front(std::span<std::span<const std::byte>> pieces) const {
  std::size_t count = 0;
  for (const Piece& piece : pieces_) {
    if (count == pieces.size()) break;
    const auto bytes = piece.bytes().subspan(count == 0 ? done_ : 0);
    if (count == 0 || !bytes.empty()) pieces[count++] = bytes;
  }
  return count;
}

void Replies::consume(std::size_t bytes) {
  bytes_ -= bytes;
  done_ += bytes;
  while (!pieces_.empty() && done_ >= pieces_.front().size()) {
    done_ -= pieces_.front().size();
    pieces_.pop_front();
  }
}

void Replies::own() {
  for (Piece& piece : pieces_) {
    if (!piece.is_value) continue;
    piece.text = piece.value.view();
    piece.value = Value();
    piece.is_value = false;
  }
}

}  // namespace rawcache::server
