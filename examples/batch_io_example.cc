// Batched I/O from end to end: buffered and direct writes, batch and individual reads, mixed
// operations, removal, expiry, statistics. Each speed stands beside what the device itself allows,
// measured in the same run.
//
//   batch_io_example          in a temporary file, removed at the end
//   batch_io_example PATH     in the cache at PATH, which is made if nothing is there
#include <rawcache/raw_disk_cache.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace rawcache::literals;
using rawcache::RawDiskCache;

namespace {

// Every call of rawcache returns a Result: the value, or an Error that says what to do about it.
// This program has no way to go on after an error, so it ends; destructors remove the temporary
// files.
template <typename T>
T must(rawcache::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct TemporaryFile {
  std::string path;
  bool wanted = true;
  ~TemporaryFile() {
    std::error_code ignored;
    if (wanted) std::filesystem::remove(path, ignored);
  }
};

// How many of `count` things a second, if `work` does them all.
double rate(std::size_t count, const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(count) / seconds.count();
}

std::string key(std::size_t value_bytes, std::size_t i) {
  return "image/" + std::to_string(value_bytes) + "/" + std::to_string(i);
}

// Values that differ from each other and do not compress: pieces of one random string.
std::string_view value(std::size_t value_bytes, std::size_t i) {
  static const std::string random_bytes = [] {
    std::mt19937_64 random(42);
    std::string bytes(16_MiB, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  }();
  return std::string_view(random_bytes).substr(i * 4177 % (15_MiB), value_bytes);
}

// ---- What the device allows, through the same Disk that the cache uses
// -----------------------------

struct DeviceLimits {
  double write_bytes_per_s = 0;   // one after another, several in flight, one sync at the end
  double read_bytes_per_s = 0;    // runs as long as 100 entries of 4 KiB
  double random_reads_per_s = 0;  // of one such entry, 100 at once
};

// Requests that travel together; the disk keeps several of them in flight.
rawcache::IoBatch make_batch(rawcache::IoRequest::Kind kind, std::byte* memory, std::size_t size,
                             std::size_t count, const std::function<std::uint64_t()>& next_offset) {
  rawcache::IoBatch batch;
  for (std::size_t i = 0; i < count; ++i) {
    batch.requests.push_back({kind, next_offset(), memory + i * size % 8_MiB, size});
  }
  return batch;
}

DeviceLimits measure_device(const std::string& path) {
  using Kind = rawcache::IoRequest::Kind;
  constexpr std::size_t kBytes = 256_MiB, kReads = 100, kRounds = 20, kPiece = 128_KiB;
  const auto disk = must(rawcache::open_disk(path, {.create_bytes = kBytes}));
  const std::unique_ptr<std::byte, decltype(&std::free)> memory(
      static_cast<std::byte*>(std::aligned_alloc(2_MiB, 16_MiB)), &std::free);
  if (!memory) throw std::bad_alloc();
  std::copy_n(value(8_MiB, 0).data(), 8_MiB, reinterpret_cast<char*>(memory.get()));
  // Reads are whole multiples of what the device wants, as those of the cache are.
  const std::uint64_t unit = disk->info().io_alignment;
  const std::uint64_t entry = (4_KiB + unit) / unit * unit;
  std::mt19937_64 random(7);
  const auto anywhere = [&] { return random() % ((kBytes - 1_MiB) / unit) * unit; };

  DeviceLimits best;
  for (int attempt = 0; attempt < 4; ++attempt) {
    std::uint64_t at = 0;
    auto writes = make_batch(Kind::write, memory.get(), 1_MiB, kBytes / 1_MiB,
                             [&] { return std::exchange(at, at + 1_MiB); });
    const double written = rate(kBytes, [&] {
      must(disk->run(writes));
      must(disk->sync());
    });
    if (attempt == 0) continue;  // the first time, a file system has more to do
    const double random_reads = rate(kReads * kRounds, [&] {
      for (std::size_t i = 0; i < kRounds; ++i) {
        auto reads = make_batch(Kind::read, memory.get(), entry, kReads, anywhere);
        must(disk->run(reads));
      }
    });
    const double read = rate(3 * kPiece * kRounds, [&] {
      for (std::size_t i = 0; i < kRounds; ++i) {
        std::uint64_t from = anywhere();
        auto reads = make_batch(Kind::read, memory.get(), kPiece, 3,
                                [&] { return std::exchange(from, from + kPiece); });
        must(disk->run(reads));
      }
    });
    best = {std::max(best.write_bytes_per_s, written), std::max(best.read_bytes_per_s, read),
            std::max(best.random_reads_per_s, random_reads)};
  }
  return best;
}

// ---- The table
// ------------------------------------------------------------------------------------

void print_row(const char* what, double single_per_s, double batched_per_s, double limit_per_s) {
  constexpr int kBar = 20;
  const double share = batched_per_s / limit_per_s;
  std::string bar;
  for (int i = 0; i < kBar; ++i) bar += i < share * kBar ? "█" : "░";
  std::printf("  %-34s %9.0f/s %10.0f/s %6.1fx  %s %3.0f %%\n", what, single_per_s, batched_per_s,
              batched_per_s / single_per_s, bar.c_str(), share * 100);
}

void compare_writes(RawDiskCache& cache, const DeviceLimits& limits, std::size_t value_bytes,
                    std::size_t singles, std::size_t many) {
  // Direct: each store is on the device, synced, when it returns.
  const double direct = rate(singles, [&] {
    for (std::size_t i = 0; i < singles; ++i) {
      must(cache.store(key(value_bytes, i), value(value_bytes, i)));
    }
  });
  // Buffered: readable at once; flushed in batches, the rest by flush_writes. One sync per batch.
  const double buffered = rate(many, [&] {
    for (std::size_t i = 0; i < many; ++i) {
      must(cache.store_buffered(key(value_bytes, i), value(value_bytes, i)));
    }
    must(cache.flush_writes());
  });
  const std::string what = "write " + std::to_string(value_bytes / 1024) + " KiB, buffered";
  print_row(what.c_str(), direct, buffered,
            limits.write_bytes_per_s / static_cast<double>(value_bytes));
}

void compare_reads(RawDiskCache& cache, const DeviceLimits& limits, bool shuffled,
                   std::size_t stored) {
  constexpr std::size_t kValue = 4_KiB, kBatch = 100;
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < stored; ++i) keys.push_back(key(kValue, i));
  if (shuffled) std::shuffle(keys.begin(), keys.end(), std::mt19937_64(1));

  const std::size_t singles = stored / 5;
  const double single = rate(singles, [&] {
    for (std::size_t i = 0; i < singles; ++i) must(cache.lookup(keys[i]));
  });
  const double batched = rate(stored, [&] {
    for (std::size_t i = 0; i + kBatch <= stored; i += kBatch) {
      // One result per key, in the order of the keys; each is a value or says why not.
      for (auto& found : cache.lookup_batch(std::span(keys).subspan(i, kBatch))) {
        if (must(std::move(found)).size() != kValue) throw std::runtime_error("wrong size");
      }
    }
  });
  print_row(shuffled ? "read 4 KiB, 100 random keys" : "read 4 KiB, 100 neighbours", single,
            batched, shuffled ? limits.random_reads_per_s : limits.read_bytes_per_s / kValue);
}

// ---- The rest of the API
// --------------------------------------------------------------------------

void show_mixed_operations(RawDiskCache& cache) {
  must(cache.store_buffered("key1", "buffered"));
  must(cache.store("key2", "direct"));  // makes key1 durable, too: there is one log
  must(cache.store_buffered("key3", "buffered"));
  std::printf("\nMixed: key3 is readable (\"%s\") while %llu write is pending; ",
              must(cache.lookup("key3")).str().c_str(),
              static_cast<unsigned long long>(cache.stats().pending_writes));
  std::printf("flush_writes made %llu durable.\n",
              static_cast<unsigned long long>(must(cache.flush_writes())));

  must(cache.remove("key1"));
  const auto gone = cache.lookup("key1");  // a miss is an answer, not a failure
  std::printf("Removed key1: %s.\n", gone ? "still there?!" : gone.error().message().c_str());

  must(cache.store("session", "short-lived", {.ttl = std::chrono::seconds(1)}));
  const bool before = must(cache.contains("session"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  const bool after = must(cache.contains("session"));
  std::printf("A TTL of 1 s: %s at first, %s after 1.1 s.\n", before ? "found" : "missing?!",
              after ? "found?!" : "gone");
}

void show_statistics(const rawcache::Stats& s) {
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  std::printf(
      "\nStatistics: %llu entries, %.0f %% hits, %.1f operations per flush (%llu flushes),\n",
      static_cast<unsigned long long>(s.entries), s.hit_ratio() * 100, s.average_batch_operations,
      static_cast<unsigned long long>(s.flushes));
  std::printf(
      "%.2f bytes written per byte stored; medians: store %.0f us, flush %.0f us, lookup "
      "%.0f us, batch %.0f us.\n",
      s.write_amplification(), us(s.store_latency.p50_ns), us(s.flush_latency.p50_ns),
      us(s.lookup_latency.p50_ns), us(s.lookup_batch_latency.p50_ns));
}

void run(const std::string& path) {
  rawcache::Options options;
  options.create_if_missing = true;  // never formats what exists
  options.format.capacity = 1_GiB;
  auto cache = must(RawDiskCache::open(path, options));
  const rawcache::Stats at_first = cache.stats();
  std::printf("rawcache on %s: %s, %s\n", path.c_str(), at_first.engine.c_str(),
              at_first.direct ? "O_DIRECT" : "through the page cache");
  if (!at_first.fallback_reason.empty()) {
    std::printf("  because: %s\n", at_first.fallback_reason.c_str());
  }

  const TemporaryFile raw{path + ".raw-" + std::to_string(::getpid())};
  const DeviceLimits limits = measure_device(raw.path);
  std::printf(
      "The device alone: writes %.0f MB/s and reads %.0f MB/s in sequence, reads %.0f "
      "entries/s at random\n\n",
      limits.write_bytes_per_s / 1e6, limits.read_bytes_per_s / 1e6, limits.random_reads_per_s);

  std::printf("  %-34s %11s %12s %7s  %s\n", "", "one by one", "batched", "gain",
              "batched / the device's limit");
  constexpr std::size_t kSmall = 20'000;
  compare_writes(cache, limits, 4_KiB, 500, kSmall);
  compare_writes(cache, limits, 64_KiB, 200, 2'000);
  compare_reads(cache, limits, false, kSmall);
  compare_reads(cache, limits, true, kSmall);

  show_mixed_operations(cache);
  show_statistics(cache.stats());
  must(cache.close());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto folder = std::filesystem::temp_directory_path();
    const std::string name = "rawcache-example-" + std::to_string(::getpid());
    const TemporaryFile file{argc > 1 ? argv[1] : (folder / name).string(), argc <= 1};
    run(file.path);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "batch_io_example: %s\n", error.what());
    return 1;
  }
}
