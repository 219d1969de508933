// Numbers, sizes, times and keys as people read them. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rawcache::cli {

std::string format_count(std::uint64_t n);         ///< "1,234,567"
std::string format_bytes(std::uint64_t bytes);     ///< "64 MiB", "1.5 GiB", "512 B"
std::string format_nanoseconds(std::uint64_t ns);  ///< "850 ns", "31.4 us", "4.2 ms", "1.25 s"
std::string format_number(double n, int decimals);
std::string format_percent(double share);             ///< "71 %"
std::string format_time(std::uint32_t unix_seconds);  ///< local time; "never" for 0

/// A key on one line: what is not printable UTF-8, and the backslash, as \xNN or \n, \t, \\.
std::string escape(std::string_view key);

/// Rows of cells, aligned. Columns of numbers are right-aligned.
class Table {
 public:
  enum class Align : std::uint8_t { left, right };
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Each line with `indent` spaces before it, two spaces between columns, none at the end.
  std::string str(std::size_t indent = 2) const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// A bar of `width` characters, filled up to `share` (0 to 1).
std::string bar(double share, std::size_t width);

}  // namespace rawcache::cli
