// The main function of programs whose tests draw seeds: see support/proof.h.
#include <gtest/gtest.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "support/proof.h"

namespace {

/// Every state of a crash is a cache opened and closed, whose buffers malloc would give back to the
/// system and take again, each page of them a fault: two thirds of the time.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  ::testing::InitGoogleTest(&argc, argv);
  if (!rawcache::testing::parse_proof_arguments(argc, argv)) return 2;
  if (argc > 1) {
    std::fprintf(stderr, "unknown argument %s\n", argv[1]);
    return 2;
  }
  return RUN_ALL_TESTS();
}
