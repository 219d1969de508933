// A loop of one's own: with Completion::poll nothing of yours runs on a foreign thread. The cache
// gives a file descriptor to wait for, and hands over when you say so.
//
//   async_own_loop [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <poll.h>
#include <rawcache/raw_disk_cache.h>

#include <iostream>

#include "examples/example_file.h"

using namespace rawcache::literals;

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  options.completion = rawcache::Completion::poll;
  auto cache = rawcache::RawDiskCache::open(file.path(), options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return 1;
  }

  int under_way = 0, found = 0, wakes = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "key/" + std::to_string(i);
    ++under_way;
    cache->async_store(key, "value").start([&, key](rawcache::Result<void> stored) {
      if (!stored) std::cerr << stored.error().message() << '\n';
      // No locks: all of this is in the thread that calls poll().
      cache->async_lookup(key).start([&](rawcache::Result<rawcache::Value> value) {
        found += value.has_value();
        --under_way;
      });
    });
  }
  while (under_way > 0) {
    pollfd waits[] = {{.fd = cache->native_handle(), .events = POLLIN, .revents = 0}};
    if (::poll(waits, 1, 10'000) != 1) return 1;  // and your sockets, timers, ...
    ++wakes;
    cache->poll();
  }
  std::cout << found << " found, the loop woke " << wakes << " times for 200 operations\n";
  return found == 100 ? 0 : 1;
}
