// Dictionaries made from the cache's own small values: sample -> train -> write -> use.
#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "cache/cache_impl.h"

namespace rawcache {
namespace {

/// A dictionary is made from so many times its size of samples, if there are as many.
constexpr std::size_t kSamplesPerDictionary = 100;
/// And not from fewer values than this.
constexpr std::size_t kSamplesMin = 100;
/// Entries that are looked at for samples.
constexpr std::size_t kEntriesSeenMax = 50'000;
/// Values read at once.
constexpr std::size_t kReadBatch = 64;

}  // namespace

struct RawDiskCache::Impl::Samples {
  std::vector<std::byte> bytes;  ///< one behind the other
  std::vector<std::size_t> sizes;
};

// Keys come in the order of their hashes, so the first ones are as good a sample as any.
Result<RawDiskCache::Impl::Samples> RawDiskCache::Impl::take_samples(std::size_t bytes_wanted) {
  std::vector<std::string> keys;
  std::size_t bytes = 0;
  std::size_t seen = 0;
  const auto choose = [&](const KeyInfo& info) {
    if (info.value_bytes != 0 && info.value_bytes <= kDictionaryValueMax) {
      keys.emplace_back(info.key);
      bytes += info.value_bytes;
    }
    return bytes < bytes_wanted && ++seen < kEntriesSeenMax;
  };
  if (auto visited = for_each_key(choose); !visited) return std::unexpected(visited.error());
  Samples samples;
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  for (std::size_t first = 0; first < views.size(); first += kReadBatch) {
    const std::size_t count = std::min(kReadBatch, views.size() - first);
    for (const Result<Value>& value : find_values(std::span(views).subspan(first, count))) {
      if (!value || value->size() > kDictionaryValueMax) continue;  // removed or changed meanwhile
      samples.sizes.push_back(value->size());
      samples.bytes.insert(samples.bytes.end(), value->bytes().begin(), value->bytes().end());
    }
  }
  return samples;
}

Result<void> RawDiskCache::Impl::train_dictionary() try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (auto checked = check_compression(Compression::zstd); !checked) return checked;
  Dictionaries& dictionaries = compressor_.dictionaries();
  const std::size_t bytes_max = dictionaries.bytes_max();
  if (bytes_max == 0) {
    return std::unexpected(
        Error(Errc::not_supported, "blocks of 64 KiB leave no room for dictionaries"));
  }
  MutexLock lock(training_mutex_);
  auto samples = take_samples(kSamplesPerDictionary * bytes_max);
  if (!samples) return std::unexpected(samples.error());
  std::vector<std::byte> dictionary;
  if (samples->sizes.size() >= kSamplesMin) {
    dictionary = make_dictionary(samples->bytes, samples->sizes, bytes_max);
  }
  if (dictionary.empty()) {
    return std::unexpected(Error(Errc::not_supported, std::to_string(samples->sizes.size()) +
                                                          " small values teach no dictionary"));
  }
  // With the turn and nothing under way, because a failed sync is told only once.
  const FlushTurn turn(turns_);
  (void)complete_in_turn(turn, Wait::for_everything);
  auto added = dictionaries.add(*disk_, dictionary);
  // A checkpoint may be under way, whose writes this sync was for, too.
  if (!added && added.error() == Errc::sync_failed) fail_in_turn(turn, added.error());
  return added;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
