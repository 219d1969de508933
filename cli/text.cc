#include "cli/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "metrics/utf8.h"

namespace rawcache::cli {

namespace {

/// Characters shown, taking each to be one column wide.
std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool is_c1_control(std::string_view character) {
  return character.size() == 2 && character[0] == '\xC2' &&
         static_cast<unsigned char>(character[1]) < 0xA0;
}

}  // namespace

std::string format_count(std::uint64_t n) {
  std::string text = std::to_string(n);
  for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

std::string format_number(double n, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, n);
  return text;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  double number = static_cast<double>(bytes);
  while (number >= 1024 && unit + 1 < std::size(kUnits)) {
    number /= 1024;
    ++unit;
  }
  const bool whole = number == std::floor(number);
  return format_number(number, whole ? 0 : number < 10 ? 2 : 1) + " " + kUnits[unit];
}

std::string format_nanoseconds(std::uint64_t ns) {
  const double n = static_cast<double>(ns);
  if (n < 1e3) return format_number(n, 0) + " ns";
  if (n < 1e6) return format_number(n / 1e3, 1) + " us";
  if (n < 1e9) return format_number(n / 1e6, 1) + " ms";
  return format_number(n / 1e9, 2) + " s";
}

std::string format_percent(double share) { return format_number(share * 100, 0) + " %"; }

std::string format_time(std::uint32_t unix_seconds) {
  if (unix_seconds == 0) return "never";
  const std::time_t time = unix_seconds;
  std::tm local{};
  char text[32];
  if (localtime_r(&time, &local) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local) == 0) {
    return std::to_string(unix_seconds);
  }
  return text;
}

std::string escape(std::string_view key) {
  std::string text;
  while (!key.empty()) {
    const std::size_t length = metrics::utf8_length(key);
    const std::string_view character = key.substr(0, std::max<std::size_t>(length, 1));
    const auto c = static_cast<unsigned char>(character.front());
    key.remove_prefix(character.size());
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\t') {
      text += "\\t";
    } else if (c == '\\') {
      text += "\\\\";
    } else if (length == 0 || c < 0x20 || c == 0x7F || is_c1_control(character)) {
      for (const char byte : character) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(byte));
        text += escaped;
      }
    } else {
      text += character;
    }
  }
  return text;
}

std::string Table::str(std::size_t indent) const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - columns_of(row[i]), ' ');
      if (i != 0) line += "  ";
      line += columns_[i] == Align::left ? row[i] + padding : padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string bar(double share, std::size_t width) {
  const double clamped = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  const auto filled = static_cast<std::size_t>(std::lround(clamped * static_cast<double>(width)));
  std::string text;
  for (std::size_t i = 0; i < width; ++i) text += i < filled ? "█" : "░";
  return text;
}

}  // namespace rawcache::cli
