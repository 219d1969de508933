#include "support/oracle.h"

#include <algorithm>
#include <charconv>

namespace rawcache::testing {
namespace {

constexpr std::size_t kComplaintsMax = 3;
constexpr std::size_t kFailedClearsMax = 6;

bool has_failed(Oracle::Fate fate) {
  return fate == Oracle::Fate::failed || fate == Oracle::Fate::failed_or_kept_out;
}

std::string name_of(std::uint64_t version) {
  return version == 0 ? "nothing" : "version " + std::to_string(version);
}

}  // namespace

std::string key_name(std::uint32_t key) {
  return "key-" + std::to_string(key) + std::string(key % 7 * (key % 5), 'k');
}

std::string make_value(std::uint32_t key, std::uint64_t version, std::size_t size) {
  std::string value = std::to_string(key) + ":" + std::to_string(version) + ":";
  std::uint64_t state = key * 0x9E3779B97F4A7C15 + version;
  while (value.size() < size) {
    state = state * 6364136223846793005 + 1442695040888963407;
    // Every other one can be compressed.
    value.append(version % 2 == 0 ? std::min<std::size_t>(8, size - value.size()) : 1,
                 static_cast<char>(state >> 56));
  }
  return value;
}

std::optional<std::uint64_t> version_of(std::uint32_t key, std::string_view value) {
  std::uint32_t named = 0;
  std::uint64_t version = 0;
  const char* const end = value.data() + value.size();
  auto parsed = std::from_chars(value.data(), end, named);
  if (parsed.ec != std::errc() || parsed.ptr == end || named != key) return std::nullopt;
  parsed = std::from_chars(parsed.ptr + 1, end, version);
  if (parsed.ec != std::errc() || version == 0) return std::nullopt;
  if (value != make_value(key, version, value.size())) return std::nullopt;
  return version;
}

void Oracle::tell(const Event& event) {
  switch (event.type) {
    case Event::Type::issued:
      ops_.push_back({.kind = event.kind,
                      .fate = Fate::under_way,
                      .may_end_batch = false,
                      .key = event.key,
                      .segments = segments_});
      (event.kind == Kind::clear ? clears_ : histories_[event.key]).push_back(last_version());
      break;
    case Event::Type::ended:
      ops_.back().fate = event.fate;
      break;
    case Event::Type::batch_ends_before:
      if (ops_.size() > 1) ops_[ops_.size() - 2].may_end_batch = true;
      break;
    case Event::Type::batch_ends_after:
      if (!ops_.empty()) ops_.back().may_end_batch = true;
      break;
    case Event::Type::durable:
      durable_ = last_version();
      break;
    case Event::Type::segment_opened:
      ++segments_;
      break;
  }
}

std::uint64_t Oracle::segments_at(std::uint32_t key, std::uint64_t version) const {
  return version > base_version_ ? op(version).segments : base_[key].segments;
}

bool Oracle::has_waited(std::uint32_t key, std::uint64_t version) const {
  return version > base_version_ ? op(version).fate == Fate::waits : base_[key].has_waited;
}

bool Oracle::is_applied_clear(std::uint64_t version, const Supposition& supposed) const {
  const Fate fate = op(version).fate;
  if (fate == Fate::refused) return false;
  if (!has_failed(fate)) return true;
  if (!supposed.failed_may_be) return false;
  std::uint64_t number = 0;
  for (const std::uint64_t clear : clears_) {
    if (clear == version) break;
    number += has_failed(op(clear).fate);
  }
  return (supposed.clears >> number & 1) != 0;
}

Oracle::Candidates Oracle::candidates(std::uint32_t key, const Supposition& supposed) const {
  Candidates result;
  std::uint64_t cleared = 0;
  for (const std::uint64_t clear : clears_) {
    if (clear <= supposed.through && is_applied_clear(clear, supposed)) cleared = clear;
  }
  const auto& history = histories_[key];
  for (auto version = history.rbegin(); version != history.rend(); ++version) {
    if (*version > supposed.through) continue;
    if (*version < cleared) break;
    const Op& it = op(*version);
    if (it.fate == Fate::refused || (has_failed(it.fate) && !supposed.failed_may_be)) continue;
    const bool stored = it.kind == Kind::store && it.fate != Fate::not_admitted;
    result.push_back(stored ? *version : 0);
    const bool or_nothing = it.fate == Fate::waits || it.fate == Fate::failed_or_kept_out;
    if (or_nothing) result.push_back(0);
    if (!has_failed(it.fate)) return result;
  }
  result.push_back(cleared != 0 ? 0 : base_[key].version);
  return result;
}

bool Oracle::evictable(std::uint32_t key, std::uint64_t version,
                       const Supposition& supposed) const {
  return segments_at(key, version) + segments_kept_ <= supposed.segments;
}

std::string Oracle::compare(const Content& found, const Supposition& supposed) const {
  std::uint64_t oldest_found = kNever;
  std::uint64_t newest_lost = 0;
  std::uint32_t lost_key = 0;
  for (std::uint32_t key = 0; key < keys(); ++key) {
    const Candidates possible = candidates(key, supposed);
    if (std::ranges::find(possible, found[key]) != possible.end()) {
      const bool ordered = found[key] != 0 && !has_waited(key, found[key]);
      if (ordered) oldest_found = std::min(oldest_found, found[key]);
      continue;
    }
    if (found[key] != 0) {
      return "key " + std::to_string(key) + " has " + name_of(found[key]) + " instead of " +
             name_of(possible.front());
    }
    // Only eviction explains it; of the oldest candidate, if there are several.
    if (!supposed.anything_lost && !evictable(key, possible.back(), supposed)) {
      return "key " + std::to_string(key) + " has lost " + name_of(possible.back());
    }
    if (possible.back() > newest_lost) {
      newest_lost = possible.back();
      lost_key = key;
    }
  }
  if (!supposed.anything_lost && newest_lost > oldest_found) {
    return "key " + std::to_string(lost_key) + " has lost " + name_of(newest_lost) + ", but " +
           name_of(oldest_found) + " of another is there";
  }
  return {};
}

std::uint64_t Oracle::failed_clears() const {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      clears_, [&](std::uint64_t version) { return has_failed(op(version).fate); }));
}

std::string Oracle::check_suppositions(const Content& found, Supposition supposed) const {
  const auto failed = std::ranges::count_if(clears_, [&](std::uint64_t version) {
    return version <= supposed.through && has_failed(op(version).fate);
  });
  const std::size_t choices = std::min<std::size_t>(failed, kFailedClearsMax);
  std::string complaint;
  for (supposed.clears = 0; supposed.clears < std::uint64_t{1} << choices; ++supposed.clears) {
    std::string said = compare(found, supposed);
    if (said.empty()) return {};
    if (complaint.empty()) complaint = std::move(said);
  }
  return complaint;
}

std::string Oracle::check_running(const Content& found, std::uint64_t ahead) const {
  return compare(found, {.through = last_version(),
                         .failed_may_be = false,
                         .clears = 0,
                         .segments = segments_ + ahead,
                         .anything_lost = false});
}

std::string Oracle::check_running(std::uint32_t key, std::uint64_t found,
                                  std::uint64_t ahead) const {
  const Supposition supposed{.through = last_version(),
                             .failed_may_be = false,
                             .clears = 0,
                             .segments = segments_ + ahead,
                             .anything_lost = false};
  const Candidates possible = candidates(key, supposed);
  if (std::ranges::find(possible, found) != possible.end()) return {};
  if (found == 0 && evictable(key, possible.back(), supposed)) return {};
  return "key " + std::to_string(key) + " has " + name_of(found) + " instead of " +
         name_of(possible.front());
}

std::string Oracle::check_after_crash(const Content& found, const Moment& moment) const {
  std::string complaints;
  std::size_t count = 0;
  for (std::uint64_t through = moment.issued + 1; through-- > moment.durable;) {
    const bool possible =
        through == moment.issued || through == moment.durable || op(through).may_end_batch;
    if (!possible) continue;
    const std::string said = check_suppositions(found, {.through = through,
                                                        .failed_may_be = true,
                                                        .clears = 0,
                                                        .segments = moment.segments,
                                                        .anything_lost = false});
    if (said.empty()) return {};
    if (++count > kComplaintsMax && through != moment.durable) continue;
    complaints += "\n  if it is the first " + std::to_string(through) + " calls: " + said;
  }
  return std::to_string(moment.durable) + " calls were durable, " + std::to_string(moment.issued) +
         " made" + complaints;
}

std::string Oracle::check_after_rot(const Content& found) const {
  return check_suppositions(found, {.through = last_version(),
                                    .failed_may_be = true,
                                    .clears = 0,
                                    .segments = segments_,
                                    .anything_lost = true});
}

void Oracle::restart(const Content& found) {
  std::vector<Base> base(keys());
  for (std::uint32_t key = 0; key < keys(); ++key) {
    if (found[key] == 0) continue;
    base[key] = {found[key], segments_at(key, found[key]), has_waited(key, found[key])};
  }
  base_ = std::move(base);
  base_version_ = last_version();
  ops_.clear();
  clears_.clear();
  for (auto& history : histories_) history.clear();
  durable_ = base_version_;
}

}  // namespace rawcache::testing
