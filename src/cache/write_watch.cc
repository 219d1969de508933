#include "cache/write_watch.h"

namespace rawcache {

void WriteWatch::remove(const Watched& watched) {
  const auto [first, last] = watched_.equal_range(watched.key_hash);
  for (auto it = first; it != last; ++it) {
    if (it->second == &watched) {
      watched_.erase(it);
      return;
    }
  }
}

void WriteWatch::mark(std::uint64_t key_hash) {
  const auto [first, last] = watched_.equal_range(key_hash);
  for (auto it = first; it != last; ++it) it->second->written = true;
}

void WriteWatch::all_written() {
  for (auto& [key_hash, watched] : watched_) watched->written = true;
}

}  // namespace rawcache
