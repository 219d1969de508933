// WriteWatch: whether a key has been written since somebody began to watch it.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace rawcache {

/// What a load must know before it stores what it has found: a key that was stored, removed or
/// cleared while it was being loaded must not be overwritten by it.
///
/// Not synchronised: the cache's log lock guards every call. Under it a writer also changes the
/// index, and a loader looks its key up only after `add`: a write that this lookup does not see is
/// one that the watch does.
class WriteWatch {
 public:
  struct Watched {
    std::uint64_t key_hash = 0;
    bool written = false;
  };

  void add(Watched& watched) { watched_.emplace(watched.key_hash, &watched); }
  void remove(const Watched& watched);

  void written(std::uint64_t key_hash) {
    if (!watched_.empty()) mark(key_hash);
  }
  void all_written();

 private:
  void mark(std::uint64_t key_hash);

  std::unordered_multimap<std::uint64_t, Watched*> watched_;
};

}  // namespace rawcache
