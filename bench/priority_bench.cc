// What an urgent durable store waits for while another thread stores as fast as it can:
//   p99 under a load of buffered values of 1 MiB   <= 10 times that of the same store on an idle
//   cache throughput of that load                        >= 90 % of that without urgent stores
//
//   priority_bench [PATH [SECONDS]]    PATH: a file to make (default: a temporary one), removed at
//                                      the end; SECONDS: of each load (default 5)
//
// On the file, and on a model of a disk, which is the same on every machine: 500 MiB/s, each sync 4
// ms, nothing else takes time. Loads with and without urgent stores alternate. Plain durable stores
// are measured beside the urgent ones.
#include <rawcache/raw_disk_cache.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace rawcache::literals;
using rawcache::RawDiskCache;
using rawcache::Result;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint64_t kCapacity = 512_MiB;
constexpr std::size_t kBulkBytes = 1_MiB, kSmallBytes = 100, kIdleStores = 300;
constexpr int kPairs = 3;
constexpr auto kPause = std::chrono::milliseconds(50);  // between two of the small stores
constexpr double kForgetSeconds = 2.5;  // after which the cache no longer expects urgent stores

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "priority_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// The value below which that share of them lies.
double share(std::vector<double> values, double of) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(static_cast<double>(values.size()) * of)];
}

/// Writes take their turn at kBandwidth, a sync takes kSync.
class ModelDisk final : public rawcache::Disk {
 public:
  explicit ModelDisk(std::uint64_t size) : memory_(new std::byte[size]) {
    info_.size_bytes = size;
    info_.engine = "model";
  }

 private:
  static constexpr double kBandwidth = 500.0 * (1 << 20);
  static constexpr auto kSync = std::chrono::milliseconds(4);

  const rawcache::DiskInfo& do_info() const override { return info_; }
  void do_submit(rawcache::IoBatch& batch) override {
    std::uint64_t bytes = 0;
    for (const rawcache::IoRequest& request : batch.requests) {
      std::byte* const place = memory_.get() + request.offset;
      const bool read = request.kind == rawcache::IoRequest::Kind::read;
      std::memcpy(read ? request.data : place, read ? place : request.data, request.size);
      bytes += request.size;
    }
    const std::chrono::duration<double> takes(static_cast<double>(bytes) / kBandwidth);
    const std::lock_guard lock(mutex_);
    free_at_ =
        std::max(free_at_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
    batch.engine_state = std::make_shared<Clock::time_point>(free_at_);
    batch.under_way = batch.requests.size();
  }
  void do_wait(rawcache::IoBatch& batch, std::size_t at_least) override {
    if (!batch.engine_state) return;
    const auto end = *static_cast<Clock::time_point*>(batch.engine_state.get());
    if (at_least == 0 && Clock::now() < end) return;
    std::this_thread::sleep_until(end);
    for (rawcache::IoRequest& request : batch.requests) request.done = true;
    batch.under_way = 0;
  }
  int do_sync() override {
    std::this_thread::sleep_for(kSync);
    return 0;
  }

  rawcache::DiskInfo info_;
  std::unique_ptr<std::byte[]> memory_;
  std::mutex mutex_;
  Clock::time_point free_at_{};
};

/// Buffered values as fast as they are taken.
class Load {
 public:
  explicit Load(RawDiskCache& cache) : cache_(cache) {
    std::mt19937_64 random(1);
    for (char& c : value_) c = static_cast<char>(random());
  }
  /// Values stored per second, with `beside` called again and again meanwhile.
  template <typename Beside>
  double run(double seconds, const Beside& beside) {
    std::atomic<bool> over = false;
    std::thread other([&] {
      while (!over) beside();
    });
    const auto start = Clock::now();
    std::uint64_t stored = 0;
    double elapsed = 0;
    do {
      must(cache_.store_buffered("bulk " + std::to_string(next_++), value_));
      ++stored;
      elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    } while (elapsed < seconds);
    over = true;
    other.join();
    must(cache_.flush_writes());
    return static_cast<double>(stored) / elapsed;
  }

 private:
  RawDiskCache& cache_;
  std::string value_ = std::string(kBulkBytes, ' ');
  std::uint64_t next_ = 0;
};

void measure(const std::string& name, RawDiskCache cache, double seconds) {
  std::uint64_t next = 0;
  const auto store = [&](rawcache::Priority priority) {
    const auto start = Clock::now();
    must(cache.store("small " + std::to_string(next++ % 1000), std::string(kSmallBytes, 's'),
                     {.priority = priority}));
    return std::chrono::duration<double>(Clock::now() - start).count() * 1e3;
  };
  const auto pause = [] { std::this_thread::sleep_for(kPause); };
  std::vector<double> idle;
  for (std::size_t i = 0; i < kIdleStores; ++i) idle.push_back(store(rawcache::Priority::urgent));
  Load load(cache);
  (void)load.run(seconds, pause);
  for (const auto priority : {rawcache::Priority::normal, rawcache::Priority::urgent}) {
    std::vector<double> loaded, with, without;
    for (int pair = 0; pair < kPairs; ++pair) {
      (void)load.run(kForgetSeconds, pause);
      without.push_back(load.run(seconds, pause));
      with.push_back(load.run(seconds, [&] {
        loaded.push_back(store(priority));
        pause();
      }));
    }
    std::printf(
        "%s, %s: idle p50 %.2f p99 %.2f ms, under load p50 %.2f p99 %.2f ms (p99 %.1f times); "
        "bulk %.0f MiB/s, beside it %.1f %% of that\n",
        name.c_str(), priority == rawcache::Priority::urgent ? "urgent" : "normal",
        share(idle, 0.5), share(idle, 0.99), share(loaded, 0.5), share(loaded, 0.99),
        share(loaded, 0.99) / share(idle, 0.99), share(without, 0.5),
        100 * share(with, 0.5) / share(without, 0.5));
    std::fflush(stdout);
  }
  must(cache.close());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path =
      argc > 1 ? argv[1]
               : std::filesystem::temp_directory_path() / ("priority." + std::to_string(getpid()));
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  for (const bool adaptive : {false, true}) {
    rawcache::Options options;
    options.create_if_missing = true;
    options.format.capacity = kCapacity;
    options.batch_mode = adaptive ? rawcache::BatchMode::adaptive : rawcache::BatchMode::fixed;
    const std::string mode = adaptive ? "adaptive" : "fixed";
    auto model = std::make_unique<ModelDisk>(kCapacity);
    must(RawDiskCache::format(*model, options.format));
    measure(mode + " on the model", must(RawDiskCache::open(std::move(model), options)), seconds);
    std::filesystem::remove(path);
    measure(mode + " on the file", must(RawDiskCache::open(path, options)), seconds);
  }
  std::filesystem::remove(path);
  return 0;
}
