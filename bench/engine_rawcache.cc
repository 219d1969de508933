// rawcache on one file, through its public interface.
#include <algorithm>
#include <bit>
#include <optional>

#include "bench/engine.h"
#include "bench/phases.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::bench {

namespace {

/// What an entry takes of the log beside key and value, at most: header, footer, alignment.
constexpr std::uint64_t kEntryOverheadBytes = 100;
constexpr std::uint64_t kSegmentBytesMin = 2_MiB, kSegmentBytesMax = 16_MiB;
constexpr std::uint64_t kSegments = 64;  ///< at least, where they are not the smallest
/// So many times what is loaded: the mixed phases put more, and must not evict what peers keep.
constexpr double kRoom = 5;
constexpr std::uint64_t kSegmentsSpare = 8;
/// Of the memory given, batches of writes and reads in flight take these shares, but no more than
/// that. The rest keeps hot values, as a peer's write buffer serves reads too until it is full.
constexpr std::uint64_t kWriteBufferShare = 4, kReadBufferShare = 8;
constexpr std::uint64_t kWriteBufferBytesMax = 24_MiB, kReadBufferBytesMax = 8_MiB;
constexpr std::uint64_t kWriteBuffers = 6;  ///< five batches under way at most, with room
constexpr std::uint64_t kEntryRoomBytes = 8_KiB;

struct Variant {
  EvictionPolicyKind eviction = EvictionPolicyKind::fifo;
  BatchMode batch_mode = BatchMode::fixed;
  bool memory = true;  ///< keeps hot values in memory
};

class RawcacheEngine final : public Engine {
 public:
  explicit RawcacheEngine(Variant variant) : variant_(variant) {}

  void open(const Settings& settings) override {
    const std::string path = settings.folder + "/cache.img";
    Options options;
    options.format = format_of(settings);
    options.create_if_missing = true;
    options.eviction = variant_.eviction;
    options.batch_mode = variant_.batch_mode;
    options.max_operations = UINT32_MAX;
    const std::uint64_t memory_bytes = settings.cache_bytes + settings.write_buffer_bytes;
    const std::uint64_t write_bytes =
        std::min(kWriteBufferBytesMax, memory_bytes / kWriteBufferShare);
    const std::uint64_t read_bytes = std::min(kReadBufferBytesMax, memory_bytes / kReadBufferShare);
    options.write_buffer_bytes = write_bytes;
    options.max_buffer_bytes = write_bytes / kWriteBuffers;
    // A batch that was read is in the caller's hands, which memory for caching does not count.
    // Where it takes more than three quarters of this, values are copied to make room for others.
    options.read_buffer_bytes = std::max(
        read_bytes, settings.values_in_hand * (settings.value_bytes + kEntryRoomBytes) * 3 / 2);
    options.memory_bytes = variant_.memory ? memory_bytes - write_bytes - read_bytes : 0;
    auto opened = RawDiskCache::open(path, options);
    if (!opened) fail("rawcache: open", opened.error().message());
    cache_.emplace(std::move(*opened));
    if (settings.fresh) check(cache_->clear(), "clear");
  }

  void close() override { check(cache_->close(), "close"); }

  void put_batch(std::span<const Entry> entries) override {
    thread_local std::vector<KeyValue> batch;
    batch.clear();
    for (const Entry& entry : entries) batch.push_back({entry.key, entry.value});
    for (const auto& stored : cache_->store_buffered_batch(batch)) check(stored, "store_buffered");
  }

  void put_durable(const Entry& entry) override {
    check(cache_->store(entry.key, entry.value), "store");
  }

  void flush() override { check(cache_->flush_writes(), "flush_writes"); }

  void get(const Key& key, Sink& sink) override { take(key, cache_->lookup(key.view()), sink); }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    std::vector<std::string_view> views;
    views.reserve(keys.size());
    for (const Key& key : keys) views.push_back(key.view());
    const auto results = cache_->lookup_batch(views);
    for (std::size_t i = 0; i < keys.size(); ++i) take(keys[i], results[i], sink);
  }

  bool full() override {
    const Stats stats = cache_->stats();
    return stats.evicted > 0 || stats.segments_free <= 4;
  }

 private:
  static FormatOptions format_of(const Settings& settings) {
    const std::uint64_t entry_bytes = settings.value_bytes + Key::kBytes + kEntryOverheadBytes;
    const auto log_bytes = static_cast<std::uint64_t>(
        kRoom * static_cast<double>(settings.entries) * static_cast<double>(entry_bytes));
    FormatOptions format;
    format.segment_bytes =
        std::clamp(std::bit_floor(log_bytes / kSegments), kSegmentBytesMin, kSegmentBytesMax);
    format.expected_entries = settings.entries;
    // Checkpoints: twice 16 bytes per entry, with room.
    format.capacity =
        log_bytes + format.expected_entries * 64 + kSegmentsSpare * format.segment_bytes;
    format.capacity -= format.capacity % 1_MiB;
    return format;
  }

  template <typename T>
  static void check(const Result<T>& result, const char* what) {
    if (!result) fail(std::string("rawcache: ") + what, result.error().message());
  }

  static void take(const Key& key, const Result<Value>& value, Sink& sink) {
    if (value) {
      sink.take(key, value->view());
    } else if (value.error().code() != Errc::not_found) {
      fail("rawcache: lookup", value.error().message());
    }
  }

  Variant variant_;
  std::optional<RawDiskCache> cache_;
};

EngineKind kind(const char* name, const char* description, Variant variant) {
  return {.name = name,
          .description = std::string("flushes of 4 MiB (less of little memory), ") + description,
          .role = EngineKind::Role::subject,
          .variant = !variant.memory || variant.batch_mode == BatchMode::adaptive,
          .make = [variant] { return std::make_unique<RawcacheEngine>(variant); }};
}

}  // namespace

void add_rawcache(std::vector<EngineKind>& kinds) {
  kinds.push_back(kind("rawcache", "evicts the oldest", {}));
  kinds.push_back(kind("rawcache-rc", "evicts by rc", {.eviction = EvictionPolicyKind::rc}));
  kinds.push_back(kind("rawcache-adaptive", "evicts the oldest, batches sized by what they cost",
                       {.batch_mode = BatchMode::adaptive}));
  kinds.push_back(
      kind("rawcache-uncached", "evicts the oldest, keeps nothing in memory", {.memory = false}));
}

}  // namespace rawcache::bench
