// The functions of libc and liburing that the engines call, replaced in the program of these tests
// by ones that do as a script says.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace rawcache::testing {

/// What the next calls of one function answer.
struct Script {
  std::atomic<int> good{0};                             ///< so many succeed ...
  std::atomic<int> failures{0};                         ///< ... then so many fail ...
  std::atomic<int> os_error{0};                         ///< ... with this
  std::atomic<std::size_t> bytes_max{~std::size_t{0}};  ///< and no call moves more than this

  void fail(int times, int with, int after = 0) {
    os_error = with;
    good = after;
    failures = times;
  }
  bool fails() {
    if (failures <= 0 || (good > 0 && good-- > 0) || failures-- <= 0) return false;
    errno = os_error;
    return true;
  }
  void reset() {
    failures = 0;
    bytes_max = ~std::size_t{0};
  }
};
extern Script reads, writes, syncs, opens, locks, modes, allocations, file_syncs, file_system_syncs,
    states, looks, flags, controls, memory;
extern Script submissions, completions, rings, registered_files, registered_memory;  // of io_uring

/// Submissions of io_uring that were linked to the next one.
extern std::atomic<unsigned> links;

/// What the kernel says that direct I/O wants; nothing: the truth.
struct Alignments {
  std::uint32_t io = 0;
  std::uint32_t memory = 0;
};
extern std::optional<Alignments> alignments;

/// Called before the next opening.
extern std::function<void()> before_opening;

/// All as if there were no scripts.
void reset_scripts();

}  // namespace rawcache::testing
