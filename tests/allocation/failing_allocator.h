// The allocator of a test binary, which fails when it is told to. Linked in place of operator new;
// posix_memalign, malloc and what zstd allocates are wrapped by the linker (tests/CMakeLists.txt).
#pragma once

#include <cstdint>

namespace rawcache::testing {

class FailingAllocator {
 public:
  enum class Repeat : bool { once, for_ever };

  /// The k-th allocation inside a scope fails from now on, or that and all later ones.
  static void fail(std::uint64_t k, Repeat repeat);
  /// None fails any more. Returns how many have.
  static std::uint64_t heal();
  /// What has been allocated by operator new and not been freed, in all of the program.
  static std::int64_t live();

  /// While it lives, allocations of this thread count and may fail.
  class Scope {
   public:
    Scope();
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };
  /// While it lives, those of this thread do not: what tests do inside a scope.
  class Exempt {
   public:
    Exempt();
    ~Exempt();
    Exempt(const Exempt&) = delete;
    Exempt& operator=(const Exempt&) = delete;

   private:
    bool before_;
  };
};

}  // namespace rawcache::testing
