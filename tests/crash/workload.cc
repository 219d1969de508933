#include "crash/workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "cache/compressor.h"
#include "cache/format_cache.h"

namespace rawcache::testing {
namespace {

using Event = Oracle::Event;
using Fate = Oracle::Fate;
using Kind = Oracle::Kind;

template <typename T>
T one_of(std::mt19937_64& random, std::initializer_list<T> choices) {
  return choices.begin()[random() % choices.size()];
}

std::uint64_t between(std::mt19937_64& random, std::uint64_t low, std::uint64_t high) {
  return low + random() % (high - low + 1);
}

Result<void> store_by_update(RawDiskCache& cache, const std::string& key, const std::string& value,
                             bool durable, const StoreOptions& options) {
  const auto updater = [&](const Value*) -> Change {
    return {
        .kind = Change::Kind::store, .value = std::as_bytes(std::span(value)), .options = options};
  };
  const auto updated = durable ? cache.update(key, updater) : cache.update_buffered(key, updater);
  if (!updated) return std::unexpected(updated.error());
  return {};
}

}  // namespace

std::string Scene::words() const {
  return "blocks of " + std::to_string(format.block_bytes) + ", segments of " +
         std::to_string(format.segment_bytes) + ", device of " + std::to_string(device_bytes) +
         ", " + std::to_string(keys) + " keys, values up to " + std::to_string(value_bytes) +
         ", buffers of " + std::to_string(options.max_operations) + " operations and " +
         std::to_string(options.max_buffer_bytes) + " bytes, memory of " +
         std::to_string(options.memory_bytes) + ", " + storing_words(options);
}

std::string storing_words(const Options& options) {
  const bool waits = options.admission == Admission::wanted_again;
  return "codec " + std::to_string(static_cast<int>(options.compression.codec)) +
         ", waiting room of " + std::to_string(waits ? options.admission_memory_bytes : 0) +
         ", budget of " + std::to_string(options.device_bytes_per_day);
}

void draw_storing(std::mt19937_64& random, Options& options) {
  using enum Compression;
  options.compression = {.codec = one_of(random, {none, none, lz4, zstd}), .min_bytes = 0};
  if (!has_codec(codec_of(options.compression.codec))) options.compression.codec = none;
  options.admission_memory_bytes = one_of<std::uint64_t>(random, {8192, 16384, 65536});
  if (random() % 4 == 0) options.admission = Admission::wanted_again;
  const std::uint64_t saved_up = one_of<std::uint64_t>(random, {65536, 262144});
  if (random() % 8 != 0) return;
  // All that there will be in one life, where time stands still.
  options.device_bytes_per_day = 24 * 2 * saved_up;
  if (!options.monotonic_now) options.monotonic_now = [] { return std::uint64_t{1}; };
}

Scene tiny_scene(std::mt19937_64& random) {
  Scene scene;
  scene.format.block_bytes = one_of(random, {512U, 512U, 512U, 4096U});
  const std::uint64_t blocks = one_of<std::uint64_t>(random, {8, 16, 16, 32, 64});
  scene.format.segment_bytes =
      std::clamp<std::uint64_t>(blocks * scene.format.block_bytes, 4096, 65536);
  scene.format.expected_entries = one_of<std::uint64_t>(random, {32, 128, 512});
  const std::uint64_t segments =
      one_of<std::uint64_t>(random, {4, 5, 6, 8, 12, 16, 20, 32, 32, 48});
  // Room for superblocks and checkpoints beside the segments, the latter of about this size.
  const std::uint64_t checkpoint = 65536;
  scene.device_bytes = 131072 + 2 * checkpoint + segments * scene.format.segment_bytes;
  scene.keys = static_cast<std::uint32_t>(between(random, 2, 24));
  scene.value_bytes = std::min<std::uint64_t>(one_of<std::uint64_t>(random, {64, 600, 3000, 9000}),
                                              scene.format.segment_bytes / 2);
  scene.options.max_operations = static_cast<std::uint32_t>(between(random, 1, 64));
  scene.options.max_buffer_bytes = one_of<std::uint64_t>(random, {4096, 16384, 65536});
  scene.options.read_buffer_bytes = 1 << 20;
  scene.options.maintenance_thread = false;
  scene.options.memory_bytes = one_of<std::uint64_t>(random, {0, 65536, 1 << 20});
  draw_storing(random, scene.options);
  return scene;
}

Result<CacheInfo> format_drawn(std::mt19937_64& random, Disk& disk, const FormatOptions& format) {
  const CacheId id{random(), random()};
  return format_as(id, disk, format);
}

std::uint64_t segments_kept(const CacheInfo& info, const Stats& stats) {
  return stats.eviction_distance_bytes / info.segment_bytes;
}

std::uint64_t segments_opened_by(const CacheInfo& info, std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t start = info.capacity_bytes - info.segments * info.segment_bytes;
  if (offset + size <= start || offset >= info.capacity_bytes) return 0;
  const auto opened_before = [&](std::uint64_t end) {
    return end <= start ? 0 : (end - start + info.segment_bytes - 1) / info.segment_bytes;
  };
  return opened_before(offset + size) - opened_before(offset);
}

Workload::Tell traced(Workload::Tell tell) {
  if (std::getenv("RAWCACHE_TRACE") == nullptr) return tell;
  return [tell = std::move(tell)](const Event& event) {
    static constexpr const char* kTypes[] = {
        "issued",  "ended",         "batch may end before", "batch may end after",
        "durable", "segment opened"};
    static constexpr const char* kKinds[] = {"store", "remove", "clear"};
    static constexpr const char* kFates[] = {"under way",          "accepted", "failed",
                                             "failed or kept out", "refused",  "waits",
                                             "not admitted"};
    tell(event);
    const bool issued = event.type == Event::Type::issued;
    std::printf(
        "  %s %s %u\n", kTypes[static_cast<int>(event.type)],
        issued ? kKinds[static_cast<int>(event.kind)] : kFates[static_cast<int>(event.fate)],
        event.key);
  };
}

// --- Calls ---

std::size_t Workload::value_size() {
  // Small ones most of the time, so that batches have many entries.
  const std::uint64_t limit =
      random_() % 4 == 0 ? scene_.value_bytes : std::min<std::uint64_t>(scene_.value_bytes, 200);
  return random_() % (limit + 1);
}

template <typename Call>
auto Workload::inside(const Call& call) {
  if (around_) around_(true);
  auto result = call();
  if (around_) around_(false);
  return result;
}

void Workload::watch_batches(RawDiskCache& cache, const Stats& before, bool failed) {
  const Stats after = cache.stats();
  // What waits to be written again counts as pending, so that pending_writes says nothing.
  troubled_ = failed || after.flush_failures != before.flush_failures ||
              (troubled_ && after.flushes_in_flight > 0);
  const std::uint64_t sealed =
      after.flushes + after.flushes_in_flight - before.flushes - before.flushes_in_flight;
  const bool many = troubled_ || !exact_batches_ || sealed > 1;
  if (many || (sealed == 1 && after.pending_writes > 0)) {
    tell_({.type = Event::Type::batch_ends_before});
  }
  if (many || (sealed == 1 && after.pending_writes == 0)) {
    tell_({.type = Event::Type::batch_ends_after});
  }
}

Result<void> Workload::tell_end(RawDiskCache& cache, const Stats& before, Result<void> result,
                                bool durable, StoredIn where) {
  Fate fate = where == StoredIn::memory ? Fate::waits : Fate::accepted;
  if (!result) {
    switch (result.error().code()) {
      case Errc::flush_failed:  // which does not say where
        if (scene_.options.admission == Admission::wanted_again) fate = Fate::waits;
        break;
      case Errc::not_admitted:
        tell_({.type = Event::Type::ended, .fate = Fate::not_admitted});
        watch_batches(cache, before, false);
        return {};
      case Errc::buffer_full:
        // A direct call may have been withdrawn with a batch that could not be closed.
        fate = durable ? Fate::failed : Fate::refused;
        break;
      default:
        fate = durable ? Fate::failed : Fate::refused;
    }
  }
  const bool selects = scene_.options.device_bytes_per_day != 0;
  if (fate == Fate::failed && selects) fate = Fate::failed_or_kept_out;
  tell_({.type = Event::Type::ended, .fate = fate});
  watch_batches(cache, before, !result);
  if (result && durable) tell_({.type = Event::Type::durable});
  return result;
}

Result<void> Workload::store(RawDiskCache& cache, std::uint32_t key, bool durable,
                             std::chrono::seconds ttl) {
  const std::string value = make_value(key, next_version_++, value_size());
  const std::string name = key_name(key);
  const Stats before = cache.stats();
  tell_({.type = Event::Type::issued, .kind = Kind::store, .key = key});
  StoredIn where = StoredIn::log;
  const StoreOptions how{.ttl = ttl, .stored_in = &where};
  // Every fifth call as an update, every third by its asynchronous twin, carried out here, every
  // seventh as a batch.
  Result<void> result;
  if (next_version_ % 5 == 0) {
    result = inside([&] { return store_by_update(cache, name, value, durable, how); });
  } else if (next_version_ % 3 == 0) {
    auto twin = durable ? cache.async_store(name, value, how)
                        : cache.async_store_buffered(name, value, how);
    result = inside([&] { return std::move(twin).get(); });
  } else if (next_version_ % 7 == 0) {
    const KeyValue entry{name, std::as_bytes(std::span(value)), &where};
    result = inside([&]() -> Result<void> {
      try {
        return durable ? cache.store_batch({&entry, 1}, how).front()
                       : cache.store_buffered_batch({&entry, 1}, how).front();
      } catch (const std::bad_alloc&) {  // for its results: nothing was stored
        return std::unexpected(Errc::out_of_memory);
      }
    });
  } else {
    result = inside([&] {
      return durable ? cache.store(name, value, how) : cache.store_buffered(name, value, how);
    });
  }
  return tell_end(cache, before, std::move(result), durable, where);
}

Result<void> Workload::remove(RawDiskCache& cache, std::uint32_t key, bool durable) {
  ++next_version_;
  const std::string name = key_name(key);
  const Stats before = cache.stats();
  tell_({.type = Event::Type::issued, .kind = Kind::remove, .key = key});
  if (next_version_ % 3 == 0) {
    auto twin = durable ? cache.async_remove(name) : cache.async_remove_buffered(name);
    return tell_end(cache, before, inside([&] { return std::move(twin).get(); }), durable);
  }
  auto result = inside([&] { return durable ? cache.remove(name) : cache.remove_buffered(name); });
  return tell_end(cache, before, std::move(result), durable);
}

Result<void> Workload::clear(RawDiskCache& cache) {
  ++next_version_;
  const Stats before = cache.stats();
  tell_({.type = Event::Type::issued, .kind = Kind::clear});
  return tell_end(cache, before, inside([&] { return cache.clear(); }), true);
}

Result<void> Workload::flush(RawDiskCache& cache) {
  tell_({.type = Event::Type::batch_ends_after});
  const auto flushed = inside([&] { return cache.flush_writes(); });
  if (!flushed) return std::unexpected(flushed.error());
  tell_({.type = Event::Type::durable});
  return {};
}

Result<void> Workload::close(RawDiskCache& cache) {
  tell_({.type = Event::Type::batch_ends_after});
  auto closed = inside([&] { return cache.close(); });
  if (closed) tell_({.type = Event::Type::durable});
  return closed;
}

Result<void> Workload::step(RawDiskCache& cache) {
  const std::uint32_t share = scene_.keys / scene_.key_step;
  const auto key =
      static_cast<std::uint32_t>(random_() % share) * scene_.key_step + scene_.key_remainder;
  // What waits is written only if somebody asks for it.
  const bool waits = scene_.options.admission == Admission::wanted_again;
  if (waits && random_() % 2 == 0) {
    (void)cache.lookup(key_name(static_cast<std::uint32_t>(random_() % scene_.keys)));
  }
  const std::uint64_t dice = random_() % 1000;
  if (dice < 640) return store(cache, key, false);
  if (dice < 760) return store(cache, key, true);
  if (dice < 850) return remove(cache, key, false);
  if (dice < 890) return remove(cache, key, true);
  if (dice < 970) return flush(cache);
  if (dice < 980 && scene_.clears) return clear(cache);
  tell_({.type = Event::Type::batch_ends_after});  // a checkpoint begins with a flush
  return inside([&] { return cache.maintain(); });
}

Content content_of(RawDiskCache& cache, std::uint32_t keys, std::string& wrong, bool* failed) {
  std::vector<std::string> names;
  for (std::uint32_t key = 0; key < keys; ++key) names.push_back(key_name(key));
  const auto values = cache.lookup_batch(names);
  Content content(keys);
  for (std::uint32_t key = 0; key < keys; ++key) {
    if (values[key]) {
      const auto version = version_of(key, values[key]->view());
      if (version) {
        content[key] = *version;
      } else {
        wrong += "key " + std::to_string(key) + " has a value that was never stored there; ";
      }
    } else if (values[key].error() != Errc::not_found) {
      if (failed != nullptr) {
        *failed = true;
      } else {
        wrong += "key " + std::to_string(key) + ": " + values[key].error().message() + "; ";
      }
    }
  }
  return content;
}

}  // namespace rawcache::testing
