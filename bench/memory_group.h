// MemoryGroup: a control group that bounds memory and page cache of an engine together.
#pragma once

#include <cstdint>
#include <string>

namespace rawcache::bench {

/// A group of its own in the hierarchy at a folder, version 1 (memory) or 2; removed at the end.
/// Without a folder it does nothing.
class MemoryGroup {
 public:
  /// What cannot be made or written ends the process.
  MemoryGroup(const std::string& folder, std::uint64_t limit_bytes);
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  /// Moves the calling process into it; what it allocates and caches from now on counts.
  void enter() const;

 private:
  std::string path_;  ///< empty: none
};

}  // namespace rawcache::bench
