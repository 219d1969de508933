// The keys, values and choices of key that all engines get alike.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace rawcache::bench {

/// A bijection that leaves no order: neighbours among numbers are none among keys.
std::uint64_t mixed(std::uint64_t number);

/// 16 hexadecimal digits; which entry it is the key of is remembered beside them.
class Key {
 public:
  static constexpr std::size_t kBytes = 16;
  Key() = default;
  explicit Key(std::uint64_t number);
  std::uint64_t number() const { return number_; }
  std::string_view view() const { return {text_.data(), kBytes}; }

 private:
  std::uint64_t number_ = 0;
  std::array<char, kBytes> text_{};
};

/// Values that do not compress, made without copying: slices of one pool. A slice begins with its
/// place in the pool, so that a value that was read says which bytes it must be made of.
class ValuePool {
 public:
  explicit ValuePool(std::size_t value_bytes);
  std::size_t value_bytes() const { return value_bytes_; }

  /// One of the values that `key` may have; versions differ.
  std::span<const std::byte> value(const Key& key, std::uint64_t version) const;
  /// Whether `value` is one that `key` may have: its length, its end and the beginning of each of
  /// its pages. So every page must have been read, and the look costs every engine the same.
  bool is_value_of(const Key& key, std::string_view value) const;

 private:
  static constexpr std::size_t kStride = 64;
  static constexpr std::size_t kPlaces = std::size_t{1} << 16;
  static constexpr std::size_t kVersions = 16;
  static constexpr std::size_t kLookBytes = 64, kLookEveryBytes = 4096;
  static std::uint64_t place_of(const Key& key, std::uint64_t version);

  std::size_t value_bytes_;
  std::vector<std::byte> bytes_;
};

/// Where an engine puts what it has found; checks it at once. One for each thread.
class Sink {
 public:
  explicit Sink(const ValuePool& pool) : pool_(&pool) {}
  void take(const Key& key, std::string_view value) {
    ++found_;
    if (!pool_->is_value_of(key, value)) ++wrong_;
  }
  /// Values that nobody looks at: of the device's limit.
  void take_unchecked(std::uint64_t values) { found_ += values; }
  std::uint64_t found() const { return found_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  const ValuePool* pool_;
  std::uint64_t found_ = 0, wrong_ = 0;
};

/// Random numbers, one sequence for each seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() { return mixed(state_++); }
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

/// Ranks 0 to n - 1, rank r with a probability proportional to 1 / (r + 1)^theta, by the method of
/// Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994). Constant
/// after it was made.
class Zipf {
 public:
  Zipf(std::uint64_t n, double theta);
  std::uint64_t rank(Random& random) const;
  /// The entry with this rank: popular entries lie scattered among the others.
  std::uint64_t entry(Random& random) const { return mixed(rank(random)) % n_; }

 private:
  std::uint64_t n_;
  double theta_, zeta_n_, alpha_, eta_;
};

}  // namespace rawcache::bench
