#include "metrics/json.h"

#include <cmath>
#include <cstdio>

#include "metrics/utf8.h"

namespace rawcache::metrics {

namespace {

void append_escaped(std::string& text, unsigned char c) {
  char escape[8];
  switch (c) {
    case '"':
      text += "\\\"";
      return;
    case '\\':
      text += "\\\\";
      return;
    case '\n':
      text += "\\n";
      return;
    case '\t':
      text += "\\t";
      return;
    default:
      if (c >= 0x20 && c < 0x7F) {
        text.push_back(static_cast<char>(c));
        return;
      }
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      text += escape;
  }
}

}  // namespace

void JsonWriter::separate() {
  if (after_name_) {
    after_name_ = false;
    return;
  }
  if (has_members_.empty()) return;
  if (has_members_.back()) text_ += ", ";
  has_members_.back() = true;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  text_.push_back(bracket);
  has_members_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  text_.push_back(bracket);
  has_members_.pop_back();
  return *this;
}

JsonWriter& JsonWriter::name(std::string_view name) {
  value(name);
  text_ += ": ";
  after_name_ = true;
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view text) {
  separate();
  text_ += text;
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return raw("null");
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", number);
  return raw(text);
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  text_.push_back('"');
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      text_ += "\\ufffd";
      text.remove_prefix(1);
    } else {
      if (length == 1) {
        append_escaped(text_, static_cast<unsigned char>(text.front()));
      } else {
        text_ += text.substr(0, length);
      }
      text.remove_prefix(length);
    }
  }
  text_.push_back('"');
  return *this;
}

JsonWriter& JsonWriter::bytes(std::string_view bytes) {
  separate();
  text_.push_back('"');
  for (const char c : bytes) append_escaped(text_, static_cast<unsigned char>(c));
  text_.push_back('"');
  return *this;
}

}  // namespace rawcache::metrics
