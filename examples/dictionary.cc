// A dictionary of what small values have in common: each then needs only what is its own.
//
//   dictionary [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <iostream>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::RawDiskCache;

namespace {

std::string record(int i) {
  return "{\"user\":" + std::to_string(i * 7919) + ",\"theme\":\"dark\",\"language\":\"en\"," +
         "\"roles\":[\"reader\",\"writer\"],\"visits\":" + std::to_string(i * 31 % 977) +
         ",\"notifications\":{\"mail\":true,\"push\":false,\"text\":false}," +
         "\"profile\":{\"visible\":true,\"searchable\":true,\"indexed\":false}}";
}

/// Bytes that `count` records take, from `first` on; 0: an error.
std::uint64_t store(RawDiskCache& cache, int first, int count) {
  const std::uint64_t before = cache.stats().compressed_bytes_after;
  for (int i = first; i < first + count; ++i) {
    if (!cache.store_buffered("user:" + std::to_string(i), record(i))) return 0;
  }
  return cache.stats().compressed_bytes_after - before;
}

}  // namespace

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  options.compression = {.codec = rawcache::Compression::zstd, .dictionary = true};

  auto cache = RawDiskCache::open(file.path(), options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return cache.error() == rawcache::Errc::not_supported ? 0 : 1;
  }
  const std::uint64_t without = store(*cache, 0, 1000);
  // Maintenance does this when some 2,000 small values have been stored; here it is done at once.
  if (!cache->train_dictionary()) return 1;
  const std::uint64_t with = store(*cache, 1000, 1000);

  for (const int i : {0, 999, 1000, 1999}) {
    const auto value = cache->lookup("user:" + std::to_string(i));
    if (!value || value->view() != record(i)) return 1;
  }
  std::cout << "1000 records take " << without << " bytes, with a dictionary " << with << '\n';
  return with != 0 && with * 2 < without ? 0 : 1;
}
