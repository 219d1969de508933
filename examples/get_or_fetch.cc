// Get or fetch: lookup_or_load asks your loader for what is not in the cache, once per key however
// many callers want it, and once per batch.
//
//   get_or_fetch [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::Loaded;
using rawcache::Result;

namespace {

std::atomic<int> requests{0};  // that the origin got

// A slow and expensive source: a database, an object store, a model.
Result<Loaded> fetch(std::string_view key) {
  ++requests;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (key == "missing") return std::unexpected(rawcache::Errc::not_found);  // is not remembered
  Loaded loaded("page of " + std::string(key));
  loaded.options = rawcache::StoreOptions{.ttl = std::chrono::minutes(10)};
  return loaded;
}

std::vector<Result<Loaded>> fetch_many(std::span<const std::string_view> keys) {
  ++requests;  // one for all of them
  std::vector<Result<Loaded>> pages;
  for (const std::string_view key : keys) pages.push_back(Loaded("page of " + std::string(key)));
  return pages;
}

}  // namespace

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

  // A crowd wants the same page that nobody has yet: one request, everybody gets its answer.
  std::vector<std::thread> crowd;
  std::atomic<int> served{0};
  for (int i = 0; i < 50; ++i) {
    crowd.emplace_back([&] { served += cache->lookup_or_load("front", fetch).has_value(); });
  }
  for (auto& one : crowd) one.join();
  std::cout << served << " served, " << requests << " request(s) to the origin\n";
  bool good = served == 50 && requests == 1;

  // A batch: one request for everything that is not there.
  const std::vector<std::string> keys{"front", "news", "sports", "news"};
  for (const auto& page : cache->lookup_or_load_batch(keys, fetch_many)) {
    if (page) std::cout << "  " << page->view() << '\n';
    good = good && page;
  }
  good = good && requests == 2;

  // A failure goes to whoever asked, and is asked for again the next time.
  const auto missing = cache->lookup_or_load("missing", fetch);
  std::cout << "missing: " << (missing ? "found?!" : missing.error().message()) << '\n';
  return good && !missing && !cache->lookup("missing") ? 0 : 1;
}
