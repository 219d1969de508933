#include "crash/power_cut.h"

#include <iterator>

namespace rawcache::testing {

CrashPolicy any_policy(std::mt19937_64& random) {
  return kPolicies[random() % std::size(kPolicies)];
}

Recovered recover_from(Image image, const Scene& scene, std::mt19937_64& random) {
  Recovered result;
  for (int nested = 0; nested < 2 && random() % 4 == 0; ++nested) {
    CutDisk disk(std::move(image));
    disk.cut_at(1 + random() % 40);
    (void)RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene.options);
    image = disk.medium().crash(random, any_policy(random));
    ++result.cuts;
  }
  CutDisk disk(std::move(image));
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk.disk()), scene.options);
  if (!cache) {
    result.wrong = "recovery fails: " + cache.error().message();
    return result;
  }
  result.content = content_of(*cache, scene.keys, result.wrong);
  result.index_was_full = cache->stats().evicted_index_full > 0;
  if (random() % 4 == 0 && !result.index_was_full) {
    Image again = disk.medium().crash(random, any_policy(random));
    ++result.cuts;
    auto second = RawDiskCache::open(std::make_unique<SimDisk>(std::move(again)), scene.options);
    if (!second) {
      result.wrong += "the second recovery fails: " + second.error().message();
    } else if (content_of(*second, scene.keys, result.wrong) != result.content) {
      result.wrong += "the second recovery finds something else than the first";
    }
  }
  if (auto closed = cache->close(); !closed) result.wrong += "close: " + closed.error().message();
  result.image = disk.medium().content();
  return result;
}

}  // namespace rawcache::testing
