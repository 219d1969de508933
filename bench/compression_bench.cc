// What compression brings, and what it costs where it brings nothing:
//   text-like values of 4 KiB        >= 2.5 times as many entries in the same capacity with zstd
//   JSON of 300 B, with a dictionary >= 2 times as many entries as with zstd alone
//   values that cannot be compressed <= 3 % of the throughput of buffered stores
//
//   compression_bench [PATH]    PATH: a file to make (default: a temporary one), removed at the end
//
// Stores with and without alternate in pairs, so that both see the same machine; the cost is the
// median of the pairs.
#include <rawcache/raw_disk_cache.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

using namespace rawcache::literals;
using rawcache::Compression;
using rawcache::RawDiskCache;
using rawcache::Result;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint64_t kCapacity = 64_MiB;
constexpr std::size_t kPairs = 41, kStoresPerRound = 4000;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "compression_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// --- Values ---

/// Words that follow Zipf's law, as in a text: made of syllables, the frequent ones short.
class Words {
 public:
  Words() {
    std::mt19937_64 random(1);
    constexpr std::array kSyllables = {"an", "be",   "con", "de", "er",  "for", "in",  "ing",
                                       "la", "ment", "ne",  "or", "pro", "re",  "sta", "tion"};
    double sum = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      std::string word;
      for (std::size_t n = 0; n < 1 + i / 300 + i % 2; ++n) {
        word += kSyllables[random() % kSyllables.size()];
      }
      words_.push_back(word);
      cumulated_.push_back(sum += 1.0 / static_cast<double>(i + 1));
    }
  }
  const std::string& next(std::mt19937_64& random) const {
    const double at = std::uniform_real_distribution<>(0, cumulated_.back())(random);
    const auto found = std::ranges::lower_bound(cumulated_, at);
    return words_[static_cast<std::size_t>(found - cumulated_.begin())];
  }

 private:
  static constexpr std::size_t kCount = 1000;
  std::vector<std::string> words_;
  std::vector<double> cumulated_;
};

/// A page of running text with some markup.
std::string text_value(std::uint64_t number, std::size_t size) {
  static const Words words;
  std::mt19937_64 random(number);
  std::string text = "<article id=\"" + std::to_string(number) + "\">";
  while (text.size() < size) {
    text += "<p>";
    for (int i = 0; i < 40; ++i) text += words.next(random) + (i % 9 == 8 ? ", " : " ");
    text += "</p>\n";
  }
  text.resize(size);
  return text;
}

std::string random_value(std::uint64_t number, std::size_t size) {
  std::mt19937_64 random(number);
  std::string value(size, ' ');
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    const std::uint64_t word = random();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, value.data() + i);
  }
  return value;
}

/// A record as services keep it: names of fields, dates, a few words, and numbers that are random.
std::string json_value(std::uint64_t number, std::size_t) {
  std::mt19937_64 random(number);
  std::string json;
  const auto add = [&](const char* field, std::initializer_list<const char*> words) {
    json += field;
    json += words.begin()[random() % words.size()];
  };
  const auto add_digits = [&](const char* field, int count) {
    json += field;
    for (; count > 0; --count) json += static_cast<char>('0' + random() % 10);
  };
  add_digits("{\"id\":", 8);
  add(",\"name\":\"", {"Anna", "Ben", "Chloe", "David", "Elif", "Farid", "Grace", "Hiro"});
  add(" ", {"Novak", "Okafor", "Silva", "Tanaka", "Weber", "Young", "Rossi", "Haddad"});
  add_digits("\",\"email\":\"user", 5);
  add("@", {"example.com", "example.org", "mail.example"});
  add("\",\"country\":\"", {"DE", "FR", "JP", "NG", "BR", "US"});
  add("\",\"plan\":\"", {"free", "basic", "business"});
  add_digits("\",\"created_at\":\"2025-0", 1);
  add_digits("-1", 1);
  add_digits("T1", 1);
  add_digits(":2", 1);
  add_digits(":00Z\",\"seen_at\":\"2026-11-1", 1);
  add("T08:30:00Z\",\"active\":", {"true", "false"});
  add_digits(",\"visits\":", 4);
  add(",\"settings\":{\"theme\":\"", {"dark", "light"});
  add("\",\"language\":\"", {"de", "en", "fr", "ja", "pt"});
  add("\",\"notifications\":", {"true", "false"});
  add(",\"time_zone\":\"", {"Europe/Berlin", "Asia/Tokyo", "America/New_York"});
  add("\"},\"roles\":[\"", {"reader", "writer", "owner"});
  return json + "\"]}";
}

// --- Measurements ---

using MakeValue = std::string (*)(std::uint64_t number, std::size_t size);

RawDiskCache open(const std::string& path, const rawcache::CompressionOptions& compression,
                  std::uint64_t expected_entries) {
  rawcache::Options options;
  options.create_if_missing = true;
  options.format.capacity = kCapacity;
  options.format.expected_entries = expected_entries;
  options.max_operations = 1024;
  options.compression = compression;
  std::filesystem::remove(path);
  return must(RawDiskCache::open(path, options));
}

/// Entries that are there after twice as many have been stored as could fit.
std::uint64_t entries_that_fit(const std::string& path,
                               const rawcache::CompressionOptions& compression,
                               MakeValue make_value, std::size_t size) {
  RawDiskCache cache = open(path, compression, 4 * kCapacity / size);
  std::uint64_t stored = 0;
  for (std::uint64_t most = 0; stored < 2 * most + 1000; ++stored) {
    must(cache.store_buffered("key " + std::to_string(stored), make_value(stored, size)));
    if (stored % 1000 == 0) most = std::max(most, cache.stats().entries);
  }
  must(cache.flush_writes());
  const std::uint64_t entries = cache.stats().entries;
  must(cache.close());
  return entries;
}

double stores_per_second(RawDiskCache& cache, const std::vector<std::string>& values) {
  const auto start = Clock::now();
  for (std::size_t i = 0; i < kStoresPerRound; ++i) {
    must(cache.store_buffered("key " + std::to_string(i), values[i % values.size()]));
  }
  must(cache.flush_writes());
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  return static_cast<double>(kStoresPerRound) / elapsed;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void measure_cost(const std::string& path, std::size_t size) {
  std::vector<std::string> values;
  for (std::uint64_t i = 0; i < 256; ++i) values.push_back(random_value(i, size));
  RawDiskCache without = open(path, {}, 0);
  RawDiskCache with = open(path + ".zstd", {.codec = Compression::zstd}, 0);
  std::vector<double> ratios, rates;
  for (std::size_t pair = 0; pair < kPairs; ++pair) {
    const bool with_first = pair % 2 == 1;
    const double first = stores_per_second(with_first ? with : without, values);
    const double second = stores_per_second(with_first ? without : with, values);
    ratios.push_back(with_first ? first / second : second / first);
    rates.push_back(with_first ? second : first);
  }
  std::printf("random values, %zu bytes: %.0f stores/s, with zstd %.1f %% of that\n", size,
              median(rates), 100 * median(ratios));
  must(with.close());
  must(without.close());
  std::filesystem::remove(path + ".zstd");
}

void measure_space(const std::string& path, std::size_t size) {
  const std::uint64_t none = entries_that_fit(path, {}, text_value, size);
  std::printf("text, %zu bytes: %llu entries in 64 MiB", size,
              static_cast<unsigned long long>(none));
  for (const Compression codec : {Compression::lz4, Compression::zstd}) {
    const std::uint64_t entries = entries_that_fit(path, {.codec = codec}, text_value, size);
    std::printf(", with %s %llu (%.2f times)", codec == Compression::lz4 ? "lz4" : "zstd",
                static_cast<unsigned long long>(entries),
                static_cast<double>(entries) / static_cast<double>(none));
  }
  std::printf("\n");
}

void measure_dictionary(const std::string& path, std::size_t size) {
  double mean = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    mean += static_cast<double>(json_value(i, size).size()) / 1000;
  }
  const auto entries = [&](const rawcache::CompressionOptions& compression) {
    return entries_that_fit(path, compression, json_value, size);
  };
  const std::uint64_t none = entries({});
  const std::uint64_t zstd = entries({.codec = Compression::zstd});
  const std::uint64_t shared = entries({.codec = Compression::zstd, .dictionary = true});
  std::printf(
      "JSON, %.0f bytes: %llu entries in 64 MiB, with zstd %llu, and a dictionary %llu (%.2f "
      "times zstd alone, %.2f times none)\n",
      mean, static_cast<unsigned long long>(none), static_cast<unsigned long long>(zstd),
      static_cast<unsigned long long>(shared),
      static_cast<double>(shared) / static_cast<double>(zstd),
      static_cast<double>(shared) / static_cast<double>(none));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1]
                                    : std::filesystem::temp_directory_path() /
                                          ("compression." + std::to_string(getpid()));
  measure_space(path, 4096);
  measure_dictionary(path, 300);
  measure_cost(path, 4096);
  std::filesystem::remove(path);
  return 0;
}
