#include "bench/scaling.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include "bench/engine.h"
#include "bench/meter.h"
#include "bench/workload.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::bench {

namespace {

constexpr std::uint64_t kSegmentBytes = 64_MiB;
constexpr std::uint64_t kEntryHeaderBytes = 24, kFooterRecordBytes = 12;  ///< docs/disk_format.md
/// Disk that an entry takes beside its value, at most: key, header, footer, alignment, and its
/// share of two checkpoints.
constexpr std::uint64_t kEntryBesideValueBytes =
    Key::kBytes + kEntryHeaderBytes + kFooterRecordBytes + 16 + 2 * 16;
constexpr std::uint64_t kProbes = 1'000'000;
/// A slot of the index holds these beside the location; what is left is the tag.
constexpr unsigned kSlotBits = 64, kSizeClassAndHitBits = 10, kTagBitsMax = 32;
constexpr double kEntriesPerIndexPage = 128;
/// Of an index whose room for entries was chosen right; the first table measures it.
constexpr double kIndexBytesPerEntry = 10;

/// A disk that is shared, and that can act as if the power had gone: writes are lost from then on.
class CuttableDisk final : public Disk {
 public:
  CuttableDisk(std::shared_ptr<Disk> disk, std::shared_ptr<std::atomic<bool>> cut)
      : disk_(std::move(disk)), cut_(std::move(cut)) {}

 private:
  const DiskInfo& do_info() const override { return disk_->info(); }
  void do_submit(IoBatch& batch) override {
    const bool writes =
        !batch.requests.empty() && batch.requests.front().kind == IoRequest::Kind::write;
    if (writes && cut_->load()) {
      for (IoRequest& request : batch.requests) request.done = true;
      batch.under_way = 0;
    } else if (!disk_->submit(batch)) {
      fail("scaling", "the disk in memory refuses a request");
    }
  }
  void do_wait(IoBatch& batch, std::size_t at_least) override { disk_->wait(batch, at_least); }
  int do_sync() override { return cut_->load() || disk_->sync() ? 0 : EIO; }
  void do_use_memory(std::span<std::byte> memory) override { disk_->use_memory(memory); }

  std::shared_ptr<Disk> disk_;
  std::shared_ptr<std::atomic<bool>> cut_;
};

template <typename T>
T checked(Result<T> result, const char* what) {
  if (!result) fail(what, result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double rate_since(std::uint64_t start_ns, std::uint64_t operations) {
  return static_cast<double>(operations) * 1e9 / static_cast<double>(now_ns() - start_ns);
}

Options bulk_options() {
  Options options;
  options.eviction = EvictionPolicyKind::fifo;
  options.max_operations = UINT32_MAX;
  return options;
}

std::shared_ptr<Disk> memory_disk(std::uint64_t bytes) {
  std::shared_ptr<Disk> disk = make_memory_disk(bytes);
  if (disk == nullptr) fail("scaling", "not enough address space");
  return disk;
}

/// Stores entries `first` to `last` - 1, without a final flush.
void store_range(RawDiskCache& cache, const ValuePool& pool, std::uint64_t first,
                 std::uint64_t last) {
  for (std::uint64_t i = first; i < last; ++i) {
    const Key key(i);
    checked(cache.store_buffered(key.view(), pool.value(key, 0)), "store_buffered");
  }
}

void look_up_random(RawDiskCache& cache, const ValuePool& pool, std::uint64_t entries,
                    std::uint64_t probes, std::uint64_t seed) {
  Random random(mixed(seed));
  Sink sink(pool);
  for (std::uint64_t i = 0; i < probes; ++i) {
    const Key key(random.below(entries));
    if (const auto value = cache.lookup(key.view())) sink.take(key, value->view());
  }
  if (sink.wrong() > 0) fail("scaling", "a wrong value was read");
}

std::uint64_t memory_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::uint64_t kib = 0;
  while (file >> word && word != "MemAvailable:") {
  }
  file >> kib;
  return kib << 10;
}

// ---- Entries -----------------------------------------------------------------------------------

void entries_row(std::uint64_t entries, std::size_t value_bytes) {
  const std::uint64_t bytes =
      (entries * (value_bytes + kEntryBesideValueBytes) + 8 * kSegmentBytes) / 1_MiB * 1_MiB;
  // The disk, the index, and what others need.
  if (const std::uint64_t needed = bytes + entries * 16 + 1_GiB;
      memory_available_bytes() < needed) {
    std::printf("| %.0e | %zu | not measured: needs %.1f GB of memory | - | - | - | - | - | - |\n",
                static_cast<double>(entries), value_bytes, static_cast<double>(needed) / 1e9);
    return;
  }
  const std::shared_ptr<Disk> disk = memory_disk(bytes);
  const auto cut = std::make_shared<std::atomic<bool>>(false);
  const auto open = [&] {
    return checked(RawDiskCache::open(std::make_unique<CuttableDisk>(disk, cut), bulk_options()),
                   "open");
  };
  FormatOptions format;
  format.expected_entries = entries;
  format.segment_bytes = std::min(kSegmentBytes, std::bit_floor(bytes / 64));
  checked(RawDiskCache::format(*disk, format), "format");
  const ValuePool pool(value_bytes);
  Stats loaded;
  double stores = 0, lookups = 0;
  {
    RawDiskCache cache = open();
    std::uint64_t start = now_ns();
    store_range(cache, pool, 0, entries);
    checked(cache.flush_writes(), "flush_writes");
    stores = rate_since(start, entries);
    start = now_ns();
    look_up_random(cache, pool, entries, kProbes, 1);
    lookups = rate_since(start, kProbes);
    loaded = cache.stats();
    cut->store(true);
  }
  cut->store(false);
  RawDiskCache cache = open();
  const Stats recovered = cache.stats();
  checked(cache.close(), "close");
  const Stats reopened = open().stats();
  std::printf(
      "| %.0e | %zu | %.2f | %.2f | %llu | %.2f M | %.2f M | %.2f s, %.0f MB | %.2f s, %.0f MB |\n",
      static_cast<double>(entries), value_bytes,
      static_cast<double>(loaded.index_bytes) / static_cast<double>(loaded.entries),
      loaded.index_load,
      static_cast<unsigned long long>(entries - std::min(entries, loaded.entries)), stores / 1e6,
      lookups / 1e6, static_cast<double>(recovered.recovery_ns) / 1e9,
      static_cast<double>(recovered.recovery_read_bytes) / 1e6,
      static_cast<double>(reopened.recovery_ns) / 1e9,
      static_cast<double>(reopened.recovery_read_bytes) / 1e6);
  std::fflush(stdout);
}

struct EntriesRow {
  std::uint64_t entries = 0;
  std::size_t value_bytes = 0;
};

void entries_table(const ScalingPlan& plan) {
  std::puts(
      "Entries, on a disk in memory, one thread:\n\n"
      "| entries | value, bytes | index, bytes per entry | load | lost to collisions | stores/s | "
      "lookups/s | open after a power cut | open after close "
      "|\n|---|---|---|---|---|---|---|---|---|");
  constexpr EntriesRow kRows[] = {
      {100'000, 100}, {1'000'000, 100}, {10'000'000, 100}, {100'000'000, 8}};
  for (const EntriesRow& row : kRows) {
    if (row.entries <= std::min(plan.entries_max, plan.quick ? 1'000'000 : UINT64_MAX)) {
      entries_row(row.entries, row.value_bytes);
    }
  }
}

// ---- Capacity ----------------------------------------------------------------------------------

/// Formats a disk of this size, of which only what is written takes memory, and says what came out.
void capacity_row(std::uint64_t capacity, std::uint64_t entry_bytes) {
  const std::shared_ptr<Disk> disk = memory_disk(capacity);
  FormatOptions format;
  format.expected_entries = capacity / entry_bytes;
  const CacheInfo info = checked(RawDiskCache::format(*disk, format), "format");
  const auto location_bits =
      static_cast<unsigned>(std::bit_width(info.capacity_bytes / info.entry_alignment));
  const unsigned tag_bits = std::min(kTagBitsMax, kSlotBits - kSizeClassAndHitBits - location_bits);
  const double lost = kEntriesPerIndexPage / 2 / std::exp2(tag_bits);
  const auto entries = static_cast<double>(format.expected_entries);
  std::printf(
      "| %.4g GiB | %llu KiB | %.3g M | %llu x %.3g MiB | %u | %u, %.1e | %.3g GB | "
      "%.3g GB, %.2g %% | %.3g GB |\n",
      static_cast<double>(capacity) / 0x1p30, static_cast<unsigned long long>(entry_bytes >> 10),
      entries / 1e6, static_cast<unsigned long long>(info.segments),
      static_cast<double>(info.segment_bytes) / 0x1p20, info.entry_alignment, tag_bits, lost,
      entries * kIndexBytesPerEntry / 1e9,
      2 * static_cast<double>(info.checkpoint_area_bytes) / 1e9,
      200 * static_cast<double>(info.checkpoint_area_bytes) / static_cast<double>(capacity),
      entries * kFooterRecordBytes / 1e9);
}

void capacity_table() {
  std::puts(
      "\nCapacity: geometry as format chooses it, on disks of which nothing else is written; index "
      "computed from 10 bytes\nper entry, footers from 12:\n\n"
      "| capacity | entry | entries | segments | alignment, bytes | tag, bits; lost per entry | "
      "index | checkpoint areas | footers |\n|---|---|---|---|---|---|---|---|---|");
  for (const std::uint64_t capacity : {10_GiB, 100_GiB, 1_TiB, 10_TiB}) {
    for (const std::uint64_t entry_bytes : {4_KiB, 64_KiB}) capacity_row(capacity, entry_bytes);
  }
}

// ---- Threads -----------------------------------------------------------------------------------

/// Runs `work(number of the thread)` on so many threads; how many operations per second they did
/// together, in millions.
double together(unsigned threads, std::uint64_t operations,
                const std::function<void(unsigned)>& work) {
  const std::uint64_t start = now_ns();
  {
    std::vector<std::jthread> running;
    for (unsigned i = 0; i < threads; ++i) running.emplace_back([&work, i] { work(i); });
  }
  return rate_since(start, operations * threads) / 1e6;
}

struct ThreadsPlan {
  std::string where;
  std::size_t value_bytes = 0;
  std::uint64_t entries = 0;  ///< stored by each thread
};

void threads_row(const ThreadsPlan& plan, unsigned threads, std::unique_ptr<Disk> disk) {
  Options options = bulk_options();
  // Room for the last entries to be looked up while they are buffered.
  options.max_buffer_bytes = 16_MiB;
  checked(RawDiskCache::format(*disk, {.expected_entries = plan.entries * threads}), "format");
  RawDiskCache cache = checked(RawDiskCache::open(std::move(disk), options), "open");
  const ValuePool pool(plan.value_bytes);
  const double stores = together(threads, plan.entries, [&](unsigned i) {
    store_range(cache, pool, i * plan.entries, (i + 1) * plan.entries);
  });
  checked(cache.flush_writes(), "flush_writes");
  const double lookups = together(threads, kProbes, [&](unsigned i) {
    look_up_random(cache, pool, plan.entries * threads, kProbes, i);
  });
  // As much as stays in the buffer that is filling.
  const std::uint64_t few = 4_MiB / (plan.value_bytes + kEntryBesideValueBytes);
  store_range(cache, pool, 0, few);
  const double buffered =
      together(threads, kProbes, [&](unsigned i) { look_up_random(cache, pool, few, kProbes, i); });
  std::printf("| %s | %zu | %u | %.2f M | %.2f M | %.2f M |\n", plan.where.c_str(),
              plan.value_bytes, threads, stores, lookups, buffered);
  std::fflush(stdout);
}

void threads_table(const ScalingPlan& plan) {
  std::puts(
      "\nThreads; lookups of random entries on the disk, and of entries that are still "
      "buffered:\n\n"
      "| disk | value, bytes | threads | stores/s | lookups/s | lookups/s, buffered |\n"
      "|---|---|---|---|---|---|");
  const std::string path = plan.folder + "/scaling.img";
  for (const std::size_t value_bytes : {std::size_t{100}, std::size_t{4096}}) {
    const std::uint64_t data = plan.quick ? 64_MiB : 256_MiB;
    const std::uint64_t entries = data / (value_bytes + Key::kBytes);
    const std::uint64_t bytes = 4 * data * (value_bytes == 100 ? 2 : 1) + 1_GiB;
    for (const unsigned threads : {1u, 2u}) {
      threads_row({"in memory", value_bytes, entries}, threads, make_memory_disk(bytes));
    }
    for (const unsigned threads : {1u, 2u}) {
      auto disk = open_disk(path, {.engine = IoEngine::posix, .create_bytes = bytes});
      threads_row({"file, pread and pwrite", value_bytes, entries}, threads,
                  checked(std::move(disk), "open_disk"));
      std::filesystem::remove(path);
    }
  }
}

}  // namespace

int run_scaling(const ScalingPlan& plan) {
  std::filesystem::create_directories(plan.folder);
  entries_table(plan);
  capacity_table();
  threads_table(plan);
  std::error_code error;
  std::filesystem::remove(plan.folder, error);
  return EXIT_SUCCESS;
}

}  // namespace rawcache::bench
