#include "cli/options.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace rawcache::cli {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

struct Quantity {
  double number = 0;
  std::uint64_t integer = 0;  ///< exact, if is_integer
  bool is_integer = false;
  std::string unit;  ///< in lower case
};

/// A number, spaces, a unit.
std::optional<Quantity> parse_quantity(std::string_view text) {
  Quantity result;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const char* end = text.data() + text.size();
  const auto [after, error] =
      std::from_chars(text.data(), end, result.number, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  const auto [after_integer, integer_error] = std::from_chars(text.data(), end, result.integer);
  result.is_integer = integer_error == std::errc() && after_integer == after;
  const char* at = after;
  while (at != end && *at == ' ') ++at;
  for (; at != end; ++at) result.unit.push_back(lower(*at));
  return result;
}

/// number * factor as a whole number, if it is one and fits.
std::optional<std::uint64_t> multiply(const Quantity& quantity, std::uint64_t factor) {
  if (quantity.is_integer) {
    if (quantity.integer > std::numeric_limits<std::uint64_t>::max() / factor) return std::nullopt;
    return quantity.integer * factor;
  }
  const double product = std::floor(quantity.number * static_cast<double>(factor));
  if (factor == 1 || !(product < 0x1p63)) return std::nullopt;
  return static_cast<std::uint64_t>(product);
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto quantity = parse_quantity(text);
  if (!quantity) return std::nullopt;
  std::string_view unit = quantity->unit;
  if (unit.empty() || unit == "b") return multiply(*quantity, 1);
  constexpr std::string_view kPrefixes = "kmgtp";
  const std::size_t power = kPrefixes.find(unit.front());
  if (power == std::string_view::npos) return std::nullopt;
  unit.remove_prefix(1);
  if (!unit.empty() && unit != "ib" && unit != "b") return std::nullopt;
  const std::uint64_t base = unit == "b" ? 1000 : 1024;
  std::uint64_t factor = base;
  for (std::size_t i = 0; i < power; ++i) factor *= base;
  return multiply(*quantity, factor);
}

std::optional<std::chrono::seconds> parse_duration(std::string_view text) {
  if (text == "never") return std::chrono::seconds(-1);
  const auto quantity = parse_quantity(text);
  if (!quantity) return std::nullopt;
  struct Unit {
    std::string_view name;
    std::uint64_t seconds;
  };
  constexpr std::array kUnits{Unit{"", 1},     Unit{"s", 1},      Unit{"m", 60},
                              Unit{"h", 3600}, Unit{"d", 86'400}, Unit{"w", 604'800}};
  for (const Unit& unit : kUnits) {
    if (unit.name != quantity->unit) continue;
    const auto seconds = multiply(*quantity, unit.seconds);
    // Beyond a century it is a mistake; and Unix time in 32 bits must hold the sum.
    if (!seconds || *seconds == 0 || *seconds > 3'155'760'000) return std::nullopt;
    return std::chrono::seconds(*seconds);
  }
  return std::nullopt;
}

}  // namespace rawcache::cli
