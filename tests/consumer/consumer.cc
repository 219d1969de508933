// Guards that the installed package is complete: headers, library and CMake package, and that a
// cache with them keeps an entry across close and open. Exits with 0 if so.
#include <rawcache/raw_disk_cache.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>

using namespace rawcache::literals;

namespace {

template <typename T>
T must(rawcache::Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "consumer: %s: %s\n", what, result.error().message().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "consumer: not so: %s\n", what);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: consumer FILE (is created, must not exist)\n");
    return 2;
  }
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  {
    auto cache = must(rawcache::RawDiskCache::open(argv[1], options), "open");
    must(cache.store("greeting", "hello from the installed tree"), "store");
    expect(must(cache.lookup("greeting"), "lookup").view() == "hello from the installed tree",
           "lookup returns what was stored");
    must(cache.close(), "close");
  }
  auto cache = must(rawcache::RawDiskCache::open(argv[1]), "open again");
  expect(must(cache.lookup("greeting"), "lookup").view() == "hello from the installed tree",
         "the entry outlives close and open");
  const auto missing = cache.lookup("nobody stored this");
  expect(!missing && missing.error() == rawcache::Errc::not_found, "other keys are not found");
  std::puts("consumer: ok");
  return 0;
}
