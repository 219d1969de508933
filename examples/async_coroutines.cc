// Coroutines: any coroutine type can await an operation; here is a small one. With Asio see
// async_asio.cc.
//
//   async_coroutines [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/raw_disk_cache.h>

#include <coroutine>
#include <exception>
#include <iostream>
#include <latch>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::RawDiskCache;

namespace {

// Starts at once and tells nobody when it ends. Your framework has a better one.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

// g++ 12 destroys some temporaries of a co_await expression twice: aggregates with a member like
// std::string, and lambdas that capture one. rawcache's option types are safe; give lambdas a name.
Detached visit(RawDiskCache& cache, int visitor, std::latch& ended) {
  const std::string key = "visitor/" + std::to_string(visitor);
  const auto stored =
      co_await cache.async_store(key, "was here", {.ttl = std::chrono::hours(1), .flags = 1});
  if (!stored) {
    std::cerr << stored.error().message() << '\n';
    ended.count_down();
    co_return;
  }
  // From here on this runs on a thread of the cache.
  const auto found = co_await cache.async_lookup(key);
  if (found && visitor == 0) std::cout << key << ": " << found->view() << '\n';
  ended.count_down();
}

}  // namespace

int main(int argc, char** argv) {
  const ExampleFile file(argc, argv);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 64_MiB;
  auto cache = RawDiskCache::open(file.path(), options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return 1;
  }
  constexpr int kVisitors = 100;
  std::latch ended(kVisitors);
  for (int i = 0; i < kVisitors; ++i) visit(*cache, i, ended);
  ended.wait();
  const rawcache::Stats stats = cache->stats();
  std::cout << kVisitors << " visitors, " << stats.flushes << " commits\n";
  return stats.hits == kVisitors ? 0 : 1;
}
