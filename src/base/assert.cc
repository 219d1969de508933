#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace rawcache {

void assertion_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "rawcache: assertion failed: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace rawcache
