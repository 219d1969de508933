// What asynchronous calls cost, against what they must reach:
//   64 lookups begun together from one thread   >= 90 % of lookup_batch of the same 64
//   idle threads                                <= 0.1 % of a core, over 10 s
//   1,000 concurrent callers on one cold key    one load
//
//   async_bench [PATH [SECONDS]]    PATH: a file to make (default: a temporary one), removed at the
//                                   end; SECONDS: of idling (default 10)
//
// Lookups and batches alternate, with keys all over the log, so that both see the same machine; the
// ratio is of the median of the pairs.
#include <rawcache/raw_disk_cache.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <latch>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace rawcache::literals;
using rawcache::RawDiskCache;
using rawcache::Result;
using rawcache::Value;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kEntries = 20'000, kTogether = 64, kBatches = 40, kPairs = 31;
constexpr std::size_t kValueBytes = 4096;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "async_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double seconds(const auto& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto in_seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return in_seconds(usage.ru_utime) + in_seconds(usage.ru_stime);
}

class Lookups {
 public:
  explicit Lookups(RawDiskCache& cache) : cache_(cache) {
    const std::string value(kValueBytes, 'v');
    for (std::size_t i = 0; i < kEntries; ++i) {
      keys_.push_back("entry-" + std::to_string(1'000'000 + i));
      must(cache_.store_buffered(keys_.back(), value));
    }
    must(cache_.flush_writes());
  }

  /// Other keys for the next measurements.
  void shuffle() { std::ranges::shuffle(keys_, random_); }

  void batches() {
    for (std::size_t batch = 0; batch < kBatches; ++batch) {
      for (auto& found : cache_.lookup_batch(some(batch))) check(found);
    }
  }
  /// All of a batch are begun, then all are waited for.
  void together() {
    for (std::size_t batch = 0; batch < kBatches; ++batch) {
      std::latch left(kTogether);
      for (const std::string& key : some(batch)) {
        cache_.async_lookup(key).start([&left](Result<Value> found) {
          check(found);
          left.count_down();
        });
      }
      left.wait();
    }
  }
  /// 64 are always under way: each begins the next when it ends.
  void always() {
    next_ = 0;
    std::latch left(kTogether);
    for (std::size_t i = 0; i < kTogether; ++i) go_on(left);
    left.wait();
  }

 private:
  std::span<const std::string> some(std::size_t batch) const {
    return std::span(keys_).subspan(batch * kTogether, kTogether);
  }
  static void check(const Result<Value>& found) {
    if (!found || found->size() != kValueBytes) stop("a lookup failed");
  }
  void go_on(std::latch& left) {
    const std::size_t at = next_.fetch_add(1);
    if (at >= kBatches * kTogether) return left.count_down();
    cache_.async_lookup(keys_[at]).start([this, &left](Result<Value> found) {
      check(found);
      go_on(left);
    });
  }

  RawDiskCache& cache_;
  std::vector<std::string> keys_;
  std::atomic<std::size_t> next_{0};
  std::mt19937_64 random_{1};
};

void compare(RawDiskCache& cache) {
  Lookups lookups(cache);
  std::vector<double> batch_s, together_ratio, always_ratio;
  const std::uint64_t batches = cache.stats().batches;
  for (std::size_t pair = 0; pair < kPairs; ++pair) {
    lookups.shuffle();
    double batch = 0, together = 0, always = 0;
    for (std::size_t turn = 0; turn < 3; ++turn) {  // in another order each time
      switch ((pair + turn) % 3) {
        case 0:
          batch = seconds([&] { lookups.batches(); });
          break;
        case 1:
          together = seconds([&] { lookups.together(); });
          break;
        default:
          always = seconds([&] { lookups.always(); });
          break;
      }
    }
    batch_s.push_back(batch);
    together_ratio.push_back(batch / together);
    always_ratio.push_back(batch / always);
  }
  const double all = kBatches * kTogether;
  const auto stats = cache.stats();
  std::printf("lookup_batch of 64                      %8.0f lookups/s\n", all / median(batch_s));
  std::printf("64 async_lookup, then wait for all      %8.1f %% of that\n",
              median(together_ratio) * 100);
  std::printf("64 async_lookup always under way        %8.1f %% of that\n",
              median(always_ratio) * 100);
  std::printf("lookups per batch of the cache          %8.1f\n",
              3 * kPairs * all / static_cast<double>(stats.batches - batches));
}

void idle(double for_seconds) {
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::duration<double>(for_seconds));
  std::printf("idle for %.0f s                           %8.3f %% of a core\n", for_seconds,
              (cpu_seconds() - before) / for_seconds * 100);
}

void load(RawDiskCache& cache) {
  constexpr int kCallers = 1000;
  std::latch left(kCallers);
  std::thread origin;
  for (int i = 0; i < kCallers; ++i) {
    cache
        .async_lookup_or_load("cold",
                              [&](std::string_view, rawcache::LoadReply reply) {
                                origin = std::thread([reply = std::move(reply)]() mutable {
                                  std::this_thread::sleep_for(std::chrono::milliseconds(100));
                                  reply(rawcache::Loaded("from the origin"));
                                });
                              })
        .start([&](Result<Value> value) {
          if (!value) stop(value.error().message());
          left.count_down();
        });
  }
  left.wait();
  origin.join();
  std::printf("1,000 callers on one cold key           %8llu load(s)\n",
              static_cast<unsigned long long>(cache.stats().loads));
}

}  // namespace

int main(int argc, char** argv) {
  const auto folder = std::filesystem::temp_directory_path();
  const std::string name = "rawcache-async-bench-" + std::to_string(::getpid());
  const std::string path = argc > 1 ? argv[1] : (folder / name).string();
  const double idle_seconds = argc > 2 ? std::atof(argv[2]) : 10;
  if (std::filesystem::exists(path)) stop(path + " exists");
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = 256_MiB;
  {
    auto cache = must(RawDiskCache::open(path, options));
    const auto stats = cache.stats();
    std::printf("%s: %s, %s\n", path.c_str(), stats.engine.c_str(),
                stats.direct ? "O_DIRECT" : "page cache");
    compare(cache);
    load(cache);
    idle(idle_seconds);
    must(cache.close());
  }
  std::filesystem::remove(path);
}
