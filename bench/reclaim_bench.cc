// What lookups notice of reclaim: while a thread stores at a given rate, another looks up popular
// keys on the device, now in a full cache, where every segment that is written means one that is
// freed and what is popular in it copied, now in one that is far from full.
//
//   reclaim_bench [FOLDER [MB/S]]    FOLDER: where two files are made, removed at the end
//
// The two take turns in pairs, so that both see the same machine; the figures are those of all
// turns together, and the medians of the pairs.
#include <rawcache/raw_disk_cache.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace rawcache::literals;
using rawcache::RawDiskCache;
using rawcache::Result;
using rawcache::Stats;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint64_t kCapacity = 512_MiB;
constexpr std::size_t kValueBytes = 16_KiB;
constexpr std::uint64_t kPopular = kCapacity / kValueBytes / 5;
constexpr int kRefreshEvery = 4;  ///< stores: one of a popular key, which is copied on in time
constexpr int kPairs = 15;
constexpr std::chrono::milliseconds kTurn(1000);
constexpr std::chrono::microseconds kBetweenLookups(100);

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "reclaim_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) stop("no lookup found anything");
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * double(values.size() - 1))];
}

/// A cache, and how its lookups went.
class Side {
 public:
  Side(const std::string& path, std::uint64_t capacity)
      : path_(path), cache_(must(open(path, capacity))), value_(kValueBytes, 'x') {
    for (std::uint64_t i = 0; i < kPopular; ++i) must(cache_.store_buffered(popular(i), value_));
    must(cache_.flush_writes());
  }
  ~Side() { std::filesystem::remove(path_); }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  void store_one() {
    const bool refreshes = stored_++ % kRefreshEvery == 0;
    const std::string key = refreshes ? popular(random_() % kPopular) : std::to_string(stored_);
    must(cache_.store_buffered(key, value_));
  }
  /// Returns the microseconds that each lookup took which found something.
  std::vector<double> take_turn(double bytes_per_second) {
    std::atomic<bool> ends{false};
    std::thread storing([&] {
      const auto start = Clock::now();
      for (double bytes = 0; !ends;) {
        const std::chrono::duration<double> passed = Clock::now() - start;
        if (bytes >= passed.count() * bytes_per_second) {
          std::this_thread::sleep_for(kBetweenLookups);
          continue;
        }
        store_one();
        bytes += double(kValueBytes);
      }
    });
    std::vector<double> taken;
    for (const auto end = Clock::now() + kTurn; Clock::now() < end;) {
      const std::string key = popular(popular_() % kPopular);
      const auto before = Clock::now();
      const bool found = cache_.lookup(key).has_value();
      const std::chrono::duration<double, std::micro> passed = Clock::now() - before;
      if (found) taken.push_back(passed.count());
      std::this_thread::sleep_for(kBetweenLookups);
    }
    ends = true;
    storing.join();
    all.insert(all.end(), taken.begin(), taken.end());
    return taken;
  }
  Stats stats() const { return cache_.stats(); }

  std::vector<double> all;

 private:
  static Result<RawDiskCache> open(const std::string& path, std::uint64_t capacity) {
    std::filesystem::remove(path);
    rawcache::Options options;
    options.format.capacity = capacity;
    options.create_if_missing = true;
    return RawDiskCache::open(path, options);
  }
  static std::string popular(std::uint64_t i) { return "popular " + std::to_string(i); }

  std::string path_;
  RawDiskCache cache_;
  std::string value_;
  std::uint64_t stored_ = 0;
  std::mt19937_64 random_{1}, popular_{2};
};

void print(const char* name, Side& side, const Stats& before) {
  const Stats after = side.stats();
  const auto megabytes = [](std::uint64_t bytes) { return double(bytes) / 1e6; };
  std::printf("%-14s %8zu %7.0f %7.0f %7.0f %9.0f %8.0f %8llu\n", name, side.all.size(),
              percentile(side.all, 0.5), percentile(side.all, 0.99), percentile(side.all, 0.999),
              megabytes(after.user_bytes_stored - before.user_bytes_stored),
              megabytes(after.copied_bytes - before.copied_bytes),
              static_cast<unsigned long long>(after.evicted - before.evicted));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
  const double rate = (argc > 2 ? std::atof(argv[2]) : 50) * 1e6;
  if (rate <= 0) stop("MB/S must be a number above 0");
  const double seconds = std::chrono::duration<double>(kTurn).count() * (kPairs + 1);
  const auto stored = static_cast<std::uint64_t>(rate * seconds * 1.2);
  Side full(folder + "/rawcache-reclaim-full", kCapacity);
  Side roomy(folder + "/rawcache-reclaim-roomy", (2 * kCapacity + stored) / 1_MiB * 1_MiB);
  while (full.stats().evicted < 2 * kCapacity / kValueBytes) (void)full.take_turn(4 * rate);
  full.all.clear();

  const Stats full_before = full.stats();
  const Stats roomy_before = roomy.stats();
  constexpr std::array kShares = {0.5, 0.99, 0.999};
  std::array<std::vector<double>, kShares.size()> ratios;
  for (int pair = 0; pair < kPairs; ++pair) {
    std::vector<double> with = full.take_turn(rate);
    std::vector<double> without = roomy.take_turn(rate);
    for (std::size_t i = 0; i < kShares.size(); ++i) {
      ratios[i].push_back(percentile(with, kShares[i]) / percentile(without, kShares[i]));
    }
  }
  std::printf("%-14s %8s %7s %7s %7s %9s %8s %8s\n", "microseconds", "lookups", "p50", "p99",
              "p99.9", "stored MB", "copied", "evicted");
  print("reclaim", full, full_before);
  print("no reclaim", roomy, roomy_before);
  std::printf("%-14s %8s %7.2f %7.2f %7.2f\n", "median of pairs", "", percentile(ratios[0], 0.5),
              percentile(ratios[1], 0.5), percentile(ratios[2], 0.5));
  return 0;
}
