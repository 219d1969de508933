// rawcache/asio.h: every completion token of Asio, on the caller's executor, one wake-up for a
// batch. With RAWCACHE_BOOST_ASIO the same for Boost.Asio, where that is installed.
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <thread>

#ifdef RAWCACHE_BOOST_ASIO
#include <boost/asio.hpp>
namespace net = boost::asio;
#else
#include <asio.hpp>
namespace net = asio;
#endif

#include "async/async_support.h"
#include "rawcache/asio.h"

namespace rawcache::testing {
namespace {

class AsioAdaptor : public SmallCacheTest {
 protected:
  ~AsioAdaptor() override {
    faults().set_hook({});
    // When run() has returned a thread of the cache's may still be waking the context.
    cache.reset();
  }
  static std::string key(int i) { return "key " + std::to_string(i); }
  net::io_context context;
};

net::awaitable<void> use(RawDiskCache& cache, std::string& told, std::thread::id& where) {
  const auto stored = co_await as_async(cache.async_store("key", "value"), net::use_awaitable);
  const auto found = co_await as_async(cache.async_lookup("key"), net::use_awaitable);
  const std::vector<std::string> keys{"key", "other"};
  const auto both = co_await as_async(cache.async_lookup_batch(keys), net::use_awaitable);
  told = outcome(stored) + " " + text(found) + " " + text(both[0]) + " " + text(both[1]);
  where = std::this_thread::get_id();
}

TEST_F(AsioAdaptor, CoroutinesOfAsioGoOnOnTheirOwnExecutor) {
  std::string told;
  std::thread::id where;
  net::co_spawn(context, use(*cache, told, where), net::detached);
  context.run();
  EXPECT_EQ(told, "ok value value error not_found");
  EXPECT_EQ(where, std::this_thread::get_id());
}

TEST_F(AsioAdaptor, AFutureGetsTheResult) {
  EXPECT_TRUE(as_async(cache->async_store("key", "value"), net::use_future).get());
  EXPECT_EQ(text(as_async(cache->async_lookup("key"), net::use_future).get()), "value");
}

TEST_F(AsioAdaptor, ABoundCallbackRunsOnItsExecutor) {
  auto strand = net::make_strand(context);
  bool called = false;
  as_async(cache->async_flush_writes(),
           net::bind_executor(strand, [&](Result<std::uint64_t> flushed) {
             EXPECT_EQ(flushed.value(), 0u);
             EXPECT_TRUE(strand.running_in_this_thread());
             called = true;
           }));
  context.run();
  EXPECT_TRUE(called) << "run() must not return before the operation has ended";
}

TEST_F(AsioAdaptor, ABatchIsOneJobAndAHandlerThatThrowsStopsNoOther) {
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(cache->store_buffered(key(i), "value"));
  ASSERT_TRUE(cache->flush_writes());
  Gate gate;
  faults().set_hook([&](const FaultyDisk::Event& event) {
    if (event.op == FaultyDisk::Op::read) gate.pass();
  });
  int called = 0;
  const auto look = [&](int i) {
    as_async(cache->async_lookup(key(i)), net::bind_executor(context, [&, i](Result<Value> found) {
               EXPECT_EQ(text(found), "value");
               ++called;
               if (i == 20) throw std::runtime_error("of the application");
             }));
  };
  look(0);
  gate.wait_for_one();
  look(1);
  while (cache->stats().lookups < 2) std::this_thread::yield();
  for (int i = 2; i < 64; ++i) look(i);
  gate.open();
  while (cache->stats().async_in_flight > 0) std::this_thread::yield();
  std::size_t jobs = 0;
  int thrown = 0;
  for (bool more = true; more;) {
    try {
      const std::size_t ran = context.run_one();
      jobs += ran;
      more = ran > 0;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  EXPECT_EQ(called, 64);
  EXPECT_EQ(thrown, 1);
  EXPECT_LE(jobs, 6u);
}

TEST_F(AsioAdaptor, ManyThreadsOfAPool) {
  net::thread_pool pool(4);
  std::atomic<int> right{0};
  for (int i = 0; i < 200; ++i) {
    as_async(cache->async_store_buffered(key(i), "value"),
             net::bind_executor(pool, [&, i](Result<void> stored) {
               EXPECT_TRUE(stored);
               as_async(cache->async_lookup(key(i)),
                        net::bind_executor(
                            pool, [&](Result<Value> found) { right += text(found) == "value"; }));
             }));
  }
  pool.join();
  cache.reset();  // a thread of its may still be waking the pool
  EXPECT_EQ(right, 200);
}

TEST_F(AsioAdaptor, OnAClosedCacheItCompletesWithClosed) {
  EXPECT_TRUE(cache->close());
  std::string told;
  as_async(cache->async_lookup("key"),
           net::bind_executor(context, [&](Result<Value> found) { told = outcome(found); }));
  EXPECT_EQ(told, "") << "not before the context runs";
  context.run();
  EXPECT_EQ(told, "closed");
}

}  // namespace
}  // namespace rawcache::testing
