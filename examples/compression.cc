// Compression: for the whole cache, and for one entry. Readers never see it.
//
//   compression [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <iostream>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::Compression;
using rawcache::RawDiskCache;

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  // From here on values are written compressed where that saves an eighth of them, or a block.
  options.compression.codec = Compression::zstd;

  auto cache = RawDiskCache::open(file.path(), options);
  if (!cache) {
    // A library that was built without zstd says so here, not when it is too late.
    std::cerr << cache.error().message() << '\n';
    return cache.error() == rawcache::Errc::not_supported ? 0 : 1;
  }
  std::string page;
  for (int i = 0; i < 100; ++i) {
    page +=
        "<li class=\"item\"><a href=\"/article/" + std::to_string(i * 37) + "\">More</a></li>\n";
  }
  if (!cache->store_buffered("page", page)) return 1;
  // A JPEG would not get smaller. That is noticed; who knows it can say so.
  if (!cache->store_buffered("photo", page, {.compression = Compression::none})) return 1;
  // Asked for all the time, so worth being fast to read.
  if (!cache->store_buffered("menu", page, {.compression = Compression::lz4})) return 1;
  if (!cache->flush_writes()) return 1;

  for (const char* const key : {"page", "photo", "menu"}) {
    const auto value = cache->lookup(key);
    if (!value || value->view() != page) return 1;
  }
  const rawcache::Stats stats = cache->stats();
  std::cout << stats.compressed << " values of " << stats.compressed_bytes_before
            << " bytes are written as " << stats.compressed_bytes_after << " bytes\n";
  return stats.compressed == 2 && stats.compressed_bytes_after * 4 < stats.compressed_bytes_before
             ? 0
             : 1;
}
