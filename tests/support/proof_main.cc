// The main function of programs whose tests draw seeds: see support/proof.h.
#include <gtest/gtest.h>

#include "support/proof.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (!rawcache::testing::parse_proof_arguments(argc, argv)) return 2;
  if (argc > 1) {
    std::fprintf(stderr, "unknown argument %s\n", argv[1]);
    return 2;
  }
  return RUN_ALL_TESTS();
}
