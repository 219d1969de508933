// Asio: operations with any completion token, on the executor of whoever asks.
//
//   async_asio [FILE]    FILE is made if it does not exist (default: a temporary one)
#include <rawcache/asio.h>
#include <rawcache/raw_disk_cache.h>

#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <iostream>

#include "examples/example_file.h"

using namespace rawcache::literals;
using rawcache::as_async;
using rawcache::RawDiskCache;

namespace {

asio::awaitable<void> answer(RawDiskCache& cache, int request, int& answered) {
  const std::string key = "answer/" + std::to_string(request);
  auto store = cache.async_store_buffered(key, "42", {.ttl = std::chrono::minutes(5)});
  const auto stored = co_await as_async(std::move(store), asio::use_awaitable);
  // This goes on where the coroutine was spawned, whichever thread of the cache did the work.
  const auto found = co_await as_async(cache.async_lookup(key), asio::use_awaitable);
  if (stored && found && found->view() == "42") ++answered;  // one thread runs the context
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

  asio::io_context context;
  int answered = 0;
  constexpr int kRequests = 100;
  for (int i = 0; i < kRequests; ++i) {
    asio::co_spawn(context, answer(*cache, i, answered), asio::detached);
  }
  context.run();

  // A future, for threads that are not the context's.
  auto flushed = as_async(cache->async_flush_writes(), asio::use_future);
  const auto durable = flushed.get();
  std::cout << answered << " answered, " << durable.value_or(0) << " writes flushed\n";

  // The context must live longer than what is under way: close the cache first, if in doubt.
  const auto closed = cache->close();
  return answered == kRequests && durable && closed ? 0 : 1;
}
