// Callbacks: what one thread begins together is carried out together, by a thread of the cache.
//
//   async_callbacks [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <iostream>
#include <latch>

#include "examples/example_file.h"

using namespace rawcache::literals;

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  auto cache = rawcache::RawDiskCache::open(file.path(), options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return 1;
  }

  // Durable stores: all that are begun before the first sync has ended share the next one.
  constexpr int kThumbnails = 64;
  std::latch stored(kThumbnails);
  std::atomic<int> failures{0};
  for (int i = 0; i < kThumbnails; ++i) {
    // The key is copied; the value is moved in, so nothing has to outlive the call.
    cache->async_store("thumbnail/" + std::to_string(i), std::string(4096, 'x'))
        .start([&](rawcache::Result<void> result) {
          // On a thread of the cache: be quick, do not block, do not throw.
          if (!result) ++failures;
          stored.count_down();
        });
  }
  stored.wait();

  // Lookups that are begun together are one lookup_batch.
  std::latch found(kThumbnails);
  std::atomic<std::size_t> bytes{0};
  for (int i = 0; i < kThumbnails; ++i) {
    cache->async_lookup("thumbnail/" + std::to_string(i))
        .start([&](rawcache::Result<rawcache::Value> value) {
          if (value) bytes += value->size();
          found.count_down();
        });
  }
  found.wait();

  const rawcache::Stats stats = cache->stats();
  std::cout << "64 durable stores in " << stats.flushes << " commits, 64 lookups in "
            << stats.lookup_batch_latency.count + stats.lookup_latency.count << " reads, " << bytes
            << " bytes\n";
  return failures == 0 && bytes == kThumbnails * 4096 ? 0 : 1;
}
