// RAWCACHE_ASSERT: programmer errors stop the program, in every build. Never for bytes that come
// from a disk, a network or a command line; those are checked and reported.
#pragma once

namespace rawcache {

[[noreturn]] void assertion_failed(const char* what, const char* file, int line);

}  // namespace rawcache

#define RAWCACHE_ASSERT(condition)                   \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::rawcache::assertion_failed(#condition, __FILE__, __LINE__))
