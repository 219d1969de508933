// The smallest program: open a cache, store a value, look it up.
#include <rawcache/raw_disk_cache.h>

#include <iostream>

using namespace rawcache::literals;

int main(int argc, char** argv) {
  rawcache::Options options;
  options.create_if_missing = true;   // makes what is not there, never touches what is
  options.format.capacity = 256_MiB;  // of the file that is made
  auto cache = rawcache::RawDiskCache::open(argc > 1 ? argv[1] : "hello.cache", options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return 1;
  }
  if (auto value = cache->lookup("greeting")) std::cout << "last time: " << value->view() << '\n';
  if (auto stored = cache->store("greeting", "hello"); !stored) {  // on disk when it returns
    std::cerr << stored.error().message() << '\n';
    return 1;
  }
  std::cout << "now: " << cache->lookup("greeting")->view() << '\n';
}
