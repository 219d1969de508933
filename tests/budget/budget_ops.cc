// The hot paths, one after another, on a disk in memory. budget_test runs this under callgrind,
// which writes the instructions of each under the name that is given here: "<path> <operations>".
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/index.h"
#include "format/superblock.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache {
namespace {

constexpr std::size_t kOperations = 4000;  ///< measured, of each path
constexpr std::size_t kWarmUp = 1000;      ///< not measured, before them: threads' and pages' first
constexpr std::size_t kBatchKeys = 100;
constexpr std::uint64_t kDiskBytes = std::uint64_t{256} << 20;

[[noreturn]] void stop(const char* what, const Error& error) {
  std::fprintf(stderr, "%s: %s\n", what, error.message().c_str());
  std::exit(1);
}

/// Runs `operation(i)` for i in [kWarmUp, kWarmUp + calls), measured, after those before
/// unmeasured.
template <typename Operation>
void measure(const char* path, std::size_t calls, std::size_t operations_per_call,
             const Operation& operation) {
  for (std::size_t i = 0; i < kWarmUp; ++i) operation(i);
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  for (std::size_t i = kWarmUp; i < kWarmUp + calls; ++i) operation(i);
  const std::string name = std::string(path) + ' ' + std::to_string(calls * operations_per_call);
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  CALLGRIND_STOP_INSTRUMENTATION;
}

/// A cache and the keys and value that it is used with.
class Bench {
 public:
  Bench(std::size_t value_bytes, std::uint64_t buffer_bytes, std::uint64_t memory_bytes = 0)
      : value_(value_bytes, 'v') {
    auto disk = make_memory_disk(kDiskBytes);
    if (auto made = RawDiskCache::format(*disk, {.expected_entries = 100'000}); !made) {
      stop("format", made.error());
    }
    Options options;
    options.max_operations = 1u << 30;
    options.max_buffer_bytes = buffer_bytes;
    options.maintenance_thread = false;
    options.memory_bytes = memory_bytes;
    auto opened = RawDiskCache::open(std::move(disk), options);
    if (!opened) stop("open", opened.error());
    cache_ = std::make_unique<RawDiskCache>(std::move(*opened));
    for (std::size_t i = 0; i < kWarmUp + kOperations; ++i) {
      std::string digits = std::to_string(i);
      keys_.push_back("key:" + std::string(16 - digits.size(), '0') + digits);
    }
    views_.assign(keys_.begin(), keys_.end());
  }

  RawDiskCache& cache() { return *cache_; }
  std::string_view key(std::size_t i) const { return views_[i]; }
  std::span<const std::string_view> batch(std::size_t i) const {
    const std::size_t first = i % ((kWarmUp + kOperations) / kBatchKeys) * kBatchKeys;
    return std::span(views_).subspan(first, kBatchKeys);
  }

  void store_buffered(std::size_t i) {
    if (auto stored = cache().store_buffered(key(i), value_); !stored) {
      stop("store_buffered", stored.error());
    }
  }
  void store_buffered_batch(std::size_t i) {
    std::vector<KeyValue> entries;
    for (const std::string_view key : batch(i)) {
      entries.push_back({key, std::as_bytes(std::span(value_))});
    }
    for (const auto& stored : cache().store_buffered_batch(entries)) {
      if (!stored) stop("store_buffered_batch", stored.error());
    }
  }
  void store_all() {
    for (std::size_t i = 0; i < keys_.size(); ++i) store_buffered(i);
  }
  void flush() {
    if (auto flushed = cache().flush_writes(); !flushed) stop("flush", flushed.error());
  }
  void lookup(std::size_t i) {
    const auto value = cache().lookup(key(i));
    if (!value) stop("lookup", value.error());
    if (value->size() != value_.size()) std::exit(1);
  }
  void lookup_batch(std::size_t i) {
    for (const auto& value : cache().lookup_batch(batch(i))) {
      if (!value) stop("lookup_batch", value.error());
    }
  }

 private:
  std::string value_;
  std::unique_ptr<RawDiskCache> cache_;
  std::vector<std::string> keys_;
  std::vector<std::string_view> views_;
};

constexpr std::uint64_t kUsual = std::uint64_t{4} << 20;
constexpr std::uint64_t kHoldsAll = std::uint64_t{32} << 20;

void stores() {
  {
    Bench bench(100, kUsual);
    measure("store_buffered_100", kOperations, 1, [&](std::size_t i) { bench.store_buffered(i); });
    measure("store_buffered_batch_100", kOperations / kBatchKeys, kBatchKeys,
            [&](std::size_t i) { bench.store_buffered_batch(i); });
    measure("remove_buffered", kOperations, 1, [&](std::size_t i) {
      if (auto removed = bench.cache().remove_buffered(bench.key(i)); !removed) {
        stop("remove_buffered", removed.error());
      }
    });
    measure("store_durable_100", kOperations, 1, [&](std::size_t i) {
      if (auto stored = bench.cache().store(bench.key(i), "v"); !stored) {
        stop("store", stored.error());
      }
    });
  }
  Bench bench(4096, kUsual);
  measure("store_buffered_4096", kOperations, 1, [&](std::size_t i) { bench.store_buffered(i); });
}

void lookups() {
  for (const std::size_t value_bytes : {std::size_t{100}, std::size_t{4096}}) {
    const std::string size = '_' + std::to_string(value_bytes);
    Bench bench(value_bytes, kHoldsAll);
    const auto measure_lookups = [&](const std::string& where) {
      measure(("lookup_" + where + size).c_str(), kOperations, 1,
              [&](std::size_t i) { bench.lookup(i); });
      measure(("lookup_batch_" + where + size).c_str(), kOperations / kBatchKeys, kBatchKeys,
              [&](std::size_t i) { bench.lookup_batch(i); });
    };
    bench.store_all();
    measure_lookups("buffered");
    bench.flush();
    measure_lookups("disk");
    if (value_bytes != 100) continue;
    measure("contains_disk", kOperations, 1, [&](std::size_t i) {
      if (!bench.cache().contains(bench.key(i)).value_or(false)) std::exit(1);
    });
    measure("lookup_miss", kOperations, 1, [&](std::size_t i) {
      if (bench.cache().lookup(bench.key(i).substr(1))) std::exit(1);
    });
  }
}

void lookups_in_memory() {
  Bench bench(100, kUsual, kHoldsAll);
  bench.store_all();
  bench.flush();
  for (int reads = 0; reads < 2; ++reads) {  // the first ones may only be remembered
    for (std::size_t i = 0; i < kWarmUp + kOperations; ++i) bench.lookup(i);
  }
  measure("lookup_memory_100", kOperations, 1, [&](std::size_t i) { bench.lookup(i); });
  measure("lookup_batch_memory_100", kOperations / kBatchKeys, kBatchKeys,
          [&](std::size_t i) { bench.lookup_batch(i); });
}

void index_probes() {
  const auto superblock = lay_out({.expected_entries = 100'000}, kDiskBytes, 512);
  if (!superblock) stop("lay_out", superblock.error());
  const auto index = Index::create(*superblock, true);
  if (!index) stop("index", index.error());
  const auto hash = [](std::size_t i) { return (i + 1) * 0x9E3779B97F4A7C15; };
  const auto place = [&](std::size_t i) {
    return Location{superblock->segments_offset + i * superblock->entry_alignment, 1};
  };
  measure("index_put", kOperations, 1, [&](std::size_t i) {
    if (!(*index)->put(hash(i), place(i))) std::exit(1);
  });
  measure("index_find", kOperations, 1, [&](std::size_t i) {
    if ((*index)->find(hash(i)) != place(i)) std::exit(1);
  });
}

}  // namespace
}  // namespace rawcache

int main() {
  rawcache::stores();
  rawcache::lookups();
  rawcache::lookups_in_memory();
  rawcache::index_probes();
}
