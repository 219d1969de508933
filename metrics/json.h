// JsonWriter: JSON text, made from front to back.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rawcache::metrics {

/// Writes commas, quotes and escapes; the caller sees to it that objects get names and arrays do
/// not.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& name(std::string_view name);

  /// Text: UTF-8 stays as it is, what is not UTF-8 becomes U+FFFD.
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool yes) { return raw(yes ? "true" : "false"); }
  JsonWriter& value(double number);
  template <std::integral T>
  JsonWriter& value(T number) {
    return raw(std::to_string(number));
  }
  /// Bytes of any kind: one character each, \u00XX for those that are not printable ASCII.
  JsonWriter& bytes(std::string_view bytes);

  template <typename T>
  JsonWriter& field(std::string_view field_name, const T& field_value) {
    return name(field_name).value(field_value);
  }

  /// What has been written since the last take().
  std::string take() { return std::exchange(text_, {}); }

 private:
  JsonWriter& raw(std::string_view text);
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();

  std::string text_;
  std::vector<bool> has_members_;  ///< of each object and array that is open
  bool after_name_ = false;
};

}  // namespace rawcache::metrics
