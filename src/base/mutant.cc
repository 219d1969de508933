// Only in the preset `mutants`. RAWCACHE_MUTANT is the number of the bug to be shown; the file that
// RAWCACHE_MUTANT_REACHED names is made when the program comes to it.
#include "base/mutant.h"

#include <cstdlib>
#include <fstream>

namespace rawcache {
namespace {

Mutant chosen() {
  const char* const number = std::getenv("RAWCACHE_MUTANT");
  return number == nullptr ? Mutant::kNone : static_cast<Mutant>(std::atoi(number));
}

bool note_reached() {
  const char* const path = std::getenv("RAWCACHE_MUTANT_REACHED");
  if (path != nullptr) std::ofstream(path) << "reached\n";
  return true;
}

}  // namespace

bool mutated(Mutant mutant) {
  static const Mutant shown = chosen();
  if (mutant != shown) return false;
  static const bool reached = note_reached();
  return reached;
}

}  // namespace rawcache
