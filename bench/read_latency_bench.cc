// What lookups wait for while another thread stores:
//
//   read_latency_bench [PATH [SECONDS]]    PATH: a file to make (default: a temporary one), removed
//                                          at the end; SECONDS: of each row (default 3)
//
// Two threads look up random values of 4 KiB that are on the device and not in memory; beside them
// one stores others, at the rate of each row.
#include <rawcache/raw_disk_cache.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace rawcache::literals;
using rawcache::RawDiskCache;
using rawcache::Result;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

namespace {

constexpr std::size_t kValueBytes = 4096, kEntries = 100'000, kReaders = 2;
/// The stored keys come round before the log does, so that what is looked up is never evicted.
constexpr std::size_t kStoredKeys = 50'000;
constexpr std::uint64_t kCapacity = 2048_MiB;
constexpr double kAsFastAsTaken = 0;
constexpr int kStoresBetweenPauses = 64;
constexpr auto kPause = std::chrono::microseconds(200);

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "read_latency_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double seconds_since(Clock::time_point start) { return Seconds(Clock::now() - start).count(); }

/// Stores until `over`, at so many MB/s. Returns the rate reached.
double store(RawDiskCache& cache, const std::string& value, double rate,
             const std::atomic<bool>& over) {
  const auto start = Clock::now();
  double megabytes = 0;
  for (std::size_t i = 0; !over; ++i) {
    must(cache.store_buffered("other " + std::to_string(i % kStoredKeys), value));
    megabytes += double(kValueBytes) / 1e6;
    if (rate == kAsFastAsTaken || i % kStoresBetweenPauses != 0) continue;
    while (!over && megabytes > rate * seconds_since(start)) std::this_thread::sleep_for(kPause);
  }
  return megabytes / seconds_since(start);
}

/// Looks up until `over`; microseconds of each lookup.
std::vector<float> look_up(RawDiskCache& cache, unsigned seed, const std::atomic<bool>& over) {
  std::vector<float> times;
  std::mt19937_64 random(seed);
  while (!over) {
    const std::string key = "key " + std::to_string(random() % kEntries);
    const auto start = Clock::now();
    if (must(cache.lookup(key)).size() != kValueBytes) stop("wrong value");
    times.push_back(static_cast<float>(seconds_since(start) * 1e6));
  }
  return times;
}

/// Reads beside stores at so many MB/s; nullopt: none.
void measure(RawDiskCache& cache, const std::string& value, std::optional<double> rate,
             double seconds) {
  std::atomic<bool> over = false;
  std::vector<std::vector<float>> times(kReaders);
  double stored = 0;
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < kReaders; ++i) {
      threads.emplace_back([&, i] { times[i] = look_up(cache, i, over); });
    }
    if (rate) threads.emplace_back([&] { stored = store(cache, value, *rate, over); });
    std::this_thread::sleep_for(Seconds(seconds));
    over = true;
  }
  std::vector<float> all;
  for (const auto& some : times) all.insert(all.end(), some.begin(), some.end());
  std::ranges::sort(all);
  const auto at = [&](double share) {
    return all[std::min(all.size() - 1, static_cast<std::size_t>(double(all.size()) * share))];
  };
  std::printf("stores %5.0f MB/s | lookups %6.0f/s, p50 %5.0f, p99 %5.0f, p999 %5.0f us\n", stored,
              double(all.size()) / seconds, at(0.5), at(0.99), at(0.999));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path =
      argc > 1 ? argv[1]
               : std::filesystem::temp_directory_path() / ("reads." + std::to_string(getpid()));
  const double seconds = argc > 2 ? std::atof(argv[2]) : 3;
  std::filesystem::remove(path);
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = kCapacity;
  options.format.expected_entries = kEntries + kStoredKeys;
  options.max_operations = UINT32_MAX;
  options.memory_bytes = 0;
  RawDiskCache cache = must(RawDiskCache::open(path, options));
  std::string value(kValueBytes, ' ');
  std::mt19937_64 random(1);
  for (char& c : value) c = static_cast<char>(random());
  for (std::size_t i = 0; i < kEntries; ++i) {
    must(cache.store_buffered("key " + std::to_string(i), value));
  }
  must(cache.flush_writes());
  for (const auto& rate : {std::optional<double>(), std::optional(200.0), std::optional(1000.0),
                           std::optional(kAsFastAsTaken)}) {
    measure(cache, value, rate, seconds);
  }
  must(cache.close());
  std::filesystem::remove(path);
  return 0;
}
