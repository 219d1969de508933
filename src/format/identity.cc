#include "format/identity.h"

#include "base/mutant.h"
#include "format/bytes.h"

namespace rawcache {

std::string to_string(const CacheId& id) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(32);
  for (const std::uint64_t half : {id.hi, id.lo}) {
    for (int shift = 60; shift >= 0; shift -= 4) text.push_back(kDigits[half >> shift & 15]);
  }
  return text;
}

std::uint64_t place_seed(const Place& place) {
  struct Seeded {
    std::uint64_t hi, lo, offset, generation;
  };
  Seeded seeded{place.id.hi, place.id.lo, place.offset, place.generation};
  if (mutated(Mutant::kPlaceWithoutCache)) seeded.hi = seeded.lo = 0;
  if (mutated(Mutant::kPlaceWithoutOffset)) seeded.offset = 0;
  if (mutated(Mutant::kPlaceWithoutGeneration)) seeded.generation = 0;
  return hash_struct(seeded, 0);
}

}  // namespace rawcache
