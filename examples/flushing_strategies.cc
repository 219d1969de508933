// The three flushing strategies: by limits, by time, by hand; and what a flush that fails does.
//
//   flushing_strategies [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::Errc;
using rawcache::RawDiskCache;

namespace {

// What every caller of store_buffered should do with its result.
bool accepted(const rawcache::Result<void>& stored) {
  if (stored) return true;
  // Stored and readable, but a flush, perhaps an earlier one in the background, has failed. Nothing
  // is lost: it is tried again, with growing pauses. Tell whoever watches the device.
  if (stored.error() == Errc::flush_failed) {
    std::cerr << "warning: " << stored.error().message() << '\n';
    return true;
  }
  // buffer_full: not accepted, because what waits cannot be written. Others: see raw_disk_cache.h.
  std::cerr << stored.error().message() << '\n';
  return false;
}

std::uint64_t not_durable(const RawDiskCache& cache) {
  const rawcache::Stats stats = cache.stats();
  return stats.pending_writes + stats.in_flight_writes;
}

bool fill(RawDiskCache& cache, int entries) {
  for (int i = 0; i < entries; ++i) {
    if (!accepted(cache.store_buffered("key/" + std::to_string(i), std::string(1000, 'v')))) {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;

  // 1. Automatic: a flush starts whenever a limit is reached. What fills stays volatile.
  options.max_operations = 32;
  {
    auto cache = RawDiskCache::open(file.path(), options);
    if (!cache || !fill(*cache, 100)) return 1;
    std::cout << "automatic: of 100 stores " << not_durable(*cache) << " are not durable yet\n";
    // The destructor flushes, too; close() also tells how it went.
    if (auto closed = cache->close(); !closed) std::cerr << closed.error().message() << '\n';
  }

  // 2. Periodic: nothing is volatile longer than this and one flush, also when nothing more comes.
  options.flush_interval = std::chrono::milliseconds(50);
  {
    auto cache = RawDiskCache::open(file.path(), options);
    if (!cache || !fill(*cache, 10)) return 1;
    std::cout << "periodic: " << not_durable(*cache) << " not durable, ";
    for (int tries = 0; not_durable(*cache) > 0; ++tries) {
      if (tries == 1000) return 1;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    std::cout << "and a moment later none\n";
    if (cache->stats().background_flush_failures > 0) std::cout << "the device has failed\n";
  }

  // 3. Manual: large limits, and a flush after each unit of work: one sync for all of it. The cache
  // itself flushes now and then, before a checkpoint; such a flush may make a part durable earlier.
  options.flush_interval = std::chrono::milliseconds(0);
  options.max_operations = 1'000'000;
  options.max_buffer_bytes = 4_MiB;
  auto cache = RawDiskCache::open(file.path(), options);
  if (!cache || !fill(*cache, 1000)) return 1;
  const auto flushed = cache->flush_writes();
  if (!flushed) {
    // Everything is still buffered and readable; the next flush writes all of it again.
    std::cerr << flushed.error().message() << '\n';
    return 1;
  }
  std::cout << "manual: one flush made " << *flushed << " durable, " << not_durable(*cache)
            << " are not\n";
  return not_durable(*cache) == 0 ? 0 : 1;
}
