// Guards that every part of a place matters to the seed of the checksums, and the printed form of
// ids.
#include "format/identity.h"

#include <gtest/gtest.h>

#include <set>

#include "format/format_support.h"

namespace rawcache {
namespace {

TEST(Identity, AnIdPrintsAsThirtyTwoLowerCaseHexDigits) {
  EXPECT_EQ(to_string(testing::kId), "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(to_string(CacheId{0, 1}), "00000000000000000000000000000001");
}

TEST(Identity, EveryBitOfAPlaceChangesTheSeed) {
  std::set<std::uint64_t> seeds{place_seed(testing::kPlace)};
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t one = std::uint64_t{1} << bit;
    Place place = testing::kPlace;
    place.id.hi ^= one;
    seeds.insert(place_seed(place));
    place = testing::kPlace;
    place.id.lo ^= one;
    seeds.insert(place_seed(place));
    place = testing::kPlace;
    place.offset ^= one;
    seeds.insert(place_seed(place));
    place = testing::kPlace;
    place.generation ^= static_cast<std::uint32_t>(one);
    if (bit < 32) seeds.insert(place_seed(place));
  }
  EXPECT_EQ(seeds.size(), 1u + 3 * 64 + 32);
}

}  // namespace
}  // namespace rawcache
