#include "base/copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace rawcache {
namespace {

TEST(CopyBytes, CopiesAnySizeFromAnywhereToAnywhereAndNothingElse) {
  constexpr std::size_t kSizeMax = kShortCopyBytesMax + 40, kPlaces = 17;
  constexpr std::byte kUntouched{0xEE};
  std::vector<std::byte> from(kSizeMax + kPlaces);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 37 >> 3);
  for (std::size_t size = 0; size <= kSizeMax; size += size < 300 ? 1 : 23) {
    for (std::size_t place = 0; place < kPlaces; ++place) {
      std::vector<std::byte> to(size + kPlaces + 1, kUntouched);
      copy_bytes(to.data() + place, from.data() + kPlaces - place, size);
      const auto copied = to.begin() + static_cast<std::ptrdiff_t>(place);
      const auto end = copied + static_cast<std::ptrdiff_t>(size);
      const auto source = from.begin() + static_cast<std::ptrdiff_t>(kPlaces - place);
      ASSERT_TRUE(std::equal(copied, end, source)) << size << " bytes to " << place;
      const auto untouched = [](std::byte b) { return b == kUntouched; };
      ASSERT_TRUE(std::all_of(to.begin(), copied, untouched)) << size << " bytes to " << place;
      ASSERT_TRUE(std::all_of(end, to.end(), untouched)) << size << " bytes to " << place;
    }
  }
}

TEST(CopyBytes, OfNothingNeedsNoMemory) { copy_bytes(nullptr, nullptr, 0); }

}  // namespace
}  // namespace rawcache
