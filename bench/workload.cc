#include "bench/workload.h"

#include <cmath>
#include <cstring>

namespace rawcache::bench {

std::uint64_t mixed(std::uint64_t number) {
  number += 0x9E3779B97F4A7C15u;
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9u;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EBu;
  return number ^ (number >> 31);
}

Key::Key(std::uint64_t number) : number_(number) {
  std::uint64_t rest = mixed(number);
  for (char& digit : text_) {
    digit = "0123456789abcdef"[rest & 15];
    rest >>= 4;
  }
}

ValuePool::ValuePool(std::size_t value_bytes)
    : value_bytes_(value_bytes), bytes_(kPlaces * kStride + value_bytes) {
  Random random(1);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes_.size();
       at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(&bytes_[at], &word, sizeof word);
  }
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    std::memcpy(&bytes_[place * kStride], &place, sizeof place);
  }
}

std::uint64_t ValuePool::place_of(const Key& key, std::uint64_t version) {
  return mixed(~key.number()) % (kPlaces / kVersions) * kVersions + version % kVersions;
}

std::span<const std::byte> ValuePool::value(const Key& key, std::uint64_t version) const {
  return std::span(bytes_).subspan(place_of(key, version) * kStride, value_bytes_);
}

bool ValuePool::is_value_of(const Key& key, std::string_view value) const {
  std::uint64_t place = 0;
  if (value.size() != value_bytes_ || value.size() < sizeof place) return false;
  std::memcpy(&place, value.data(), sizeof place);
  if (place >= kPlaces || place / kVersions != place_of(key, 0) / kVersions) return false;
  const std::byte* expected = &bytes_[place * kStride];
  const auto matches = [&](std::size_t at, std::size_t size) {
    return std::memcmp(value.data() + at, expected + at, size) == 0;
  };
  for (std::size_t at = 0; at < value.size(); at += kLookEveryBytes) {
    if (!matches(at, std::min(kLookBytes, value.size() - at))) return false;
  }
  const std::size_t last = std::min(kLookBytes, value.size());
  if (!matches(value.size() - last, last)) return false;
  return true;
}

Zipf::Zipf(std::uint64_t n, double theta) : n_(n), theta_(theta), zeta_n_(0) {
  for (std::uint64_t i = 1; i <= n; ++i) zeta_n_ += std::pow(static_cast<double>(i), -theta);
  const double zeta_2 = 1 + std::pow(2.0, -theta);
  alpha_ = 1 / (1 - theta);
  eta_ = (1 - std::pow(2.0 / static_cast<double>(n), 1 - theta)) / (1 - zeta_2 / zeta_n_);
}

std::uint64_t Zipf::rank(Random& random) const {
  const double u = random.unit();
  const double uz = u * zeta_n_;
  if (uz < 1 || n_ == 1) return 0;
  if (uz < 1 + std::pow(0.5, theta_)) return 1;
  const double r = static_cast<double>(n_) * std::pow(eta_ * u - eta_ + 1, alpha_);
  return std::min(static_cast<std::uint64_t>(r), n_ - 1);
}

}  // namespace rawcache::bench
