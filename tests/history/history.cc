#include "history/history.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <vector>

namespace rawcache::testing {
namespace {

using Kind = HistoryCall::Kind;

struct Zone {
  std::uint64_t from = 0, to = 0;
  const char* what = "";
  std::uint64_t value = 0;
  std::string words() const {
    return std::string(what) + (value == 0 ? "" : " " + std::to_string(value)) + " (" +
           std::to_string(from) + ".." + std::to_string(to) + ")";
  }
};

/// What is known of one value.
struct Cluster {
  const HistoryCall* store = nullptr;
  std::uint64_t first_end = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t last_begin = 0;
};

std::string name_of(const HistoryCall& call) {
  static constexpr const char* kNames[] = {"store", "read", "erase"};
  return std::string(kNames[static_cast<int>(call.kind)]) + " of " + std::to_string(call.value) +
         " (" + std::to_string(call.begin) + ".." + std::to_string(call.end) + ")";
}

}  // namespace

std::string check_history(std::span<const HistoryCall> calls) {
  std::unordered_map<std::uint64_t, Cluster> clusters;
  std::vector<Zone> there;     // where a value must have been all the time
  std::vector<Zone> a_moment;  // where it may have been, or nothing was, for a moment
  for (const HistoryCall& call : calls) {
    if (call.kind != Kind::store) continue;
    if (!clusters.try_emplace(call.value, Cluster{&call, call.end, call.begin}).second) {
      return name_of(call) + ": stored twice";
    }
  }
  for (const HistoryCall& call : calls) {
    if (call.kind == Kind::store) continue;
    if (call.kind == Kind::erase || call.value == 0) {
      a_moment.push_back(
          {call.begin, call.end, call.kind == Kind::erase ? "erased" : "missing", 0});
      continue;
    }
    const auto cluster = clusters.find(call.value);
    if (cluster == clusters.end()) return name_of(call) + ": never stored";
    Cluster& of = cluster->second;
    if (call.end < of.store->begin) return name_of(call) + " before " + name_of(*of.store);
    of.first_end = std::min(of.first_end, call.end);
    of.last_begin = std::max(of.last_begin, call.begin);
  }
  for (const auto& [value, of] : clusters) {
    const bool all_the_time = of.first_end < of.last_begin;
    const Zone zone{std::min(of.first_end, of.last_begin), std::max(of.first_end, of.last_begin),
                    "value", value};
    (all_the_time ? there : a_moment).push_back(zone);
  }

  std::ranges::sort(there, {}, &Zone::from);
  for (std::size_t i = 1; i < there.size(); ++i) {
    if (there[i].from < there[i - 1].to) {
      return there[i - 1].words() + " and " + there[i].words() + " at once";
    }
  }
  for (const Zone& zone : a_moment) {
    const auto after = std::ranges::lower_bound(there, zone.from, {}, &Zone::from);
    if (after == there.begin()) continue;
    const Zone& around = *std::prev(after);
    if (zone.to < around.to) return zone.words() + " while " + around.words() + " was there";
  }
  return {};
}

}  // namespace rawcache::testing
