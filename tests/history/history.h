// Histories of concurrent calls on one key, and whether they can be explained.
//
// A cache may forget, so a key is a register with one addition: at any moment it may become empty.
// A history is explained if every call can be thought to happen at one moment between its beginning
// and its end, so that every read finds what the last write left, or nothing if it was erased or
// forgotten. A value that was found missing is gone: its coming back is a resurrection, and a value
// that is found after the end of a later write is stale.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace rawcache::testing {

/// A call on one key that has returned. The moments of all calls differ: they come from one
/// counter.
struct HistoryCall {
  enum class Kind : std::uint8_t { store, read, erase };
  Kind kind = Kind::read;
  std::uint64_t value = 0;  ///< stored or found, each stored once; read: 0 is a miss
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Why the calls on one key, in any order, cannot be explained; or "". Takes O(n log n).
///
/// Exact, by Gibbons and Korach's theorem for registers whose values are all different ("Testing
/// Shared Memories", 1997). A value's zone lies between the earliest end and the latest beginning
/// of its calls. Where the end comes first, the value must have been there all over the zone;
/// otherwise it may have been there for one moment in it. The history is explained if no read ends
/// before the store of its value begins, zones of the first kind do not overlap, and none of the
/// second kind lies inside one of the first. A miss that is forgetting, and an erase, are values
/// that nobody reads: zones of the second kind.
std::string check_history(std::span<const HistoryCall> calls);

}  // namespace rawcache::testing
