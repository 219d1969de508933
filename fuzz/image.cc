// Image -> open -> walk: a cache's device is changed as the input says, its structures are sealed
// again, and everything that reads is called. C9: an error or misses, never undefined behaviour, in
// bounded time and memory.
#include <array>
#include <memory>
#include <vector>

#include "crash/workload.h"
#include "format/superblock.h"
#include "fuzz/input.h"
#include "fuzz/seal.h"
#include "support/sim_disk.h"

namespace rawcache::fuzz {
namespace {

using testing::SimDisk;
using Image = std::vector<std::byte>;

constexpr std::uint32_t kKeys = 24;
constexpr std::uint64_t kNow = 1'800'000'000;
constexpr std::size_t kEditsMax = 24;

FormatOptions small_format() {
  FormatOptions format;
  format.block_bytes = 512;
  format.segment_bytes = 4096;
  format.expected_entries = 128;
  return format;
}

Options small_options() {
  Options options;
  options.max_operations = 8;
  options.max_buffer_bytes = 4096;
  options.read_buffer_bytes = 1 << 16;
  options.maintenance_thread = false;
  options.accept_grown = true;
  options.now = [] { return std::int64_t{kNow}; };
  return options;
}

/// A device on which a cache has lived: `calls` long, then closed or cut off.
Image make_image(int calls, bool closed) {
  SimDisk disk(131072 + 2 * 16384 + 12 * 4096);
  expect(RawDiskCache::format(disk, small_format()).has_value(), "format");
  auto cache = RawDiskCache::open(std::make_unique<testing::LentDisk>(disk), small_options());
  expect(cache.has_value(), "open");
  for (int i = 0; i < calls; ++i) {
    const auto key = static_cast<std::uint32_t>(i * 7) % kKeys;
    const std::string name = testing::key_name(key);
    const std::string value =
        testing::make_value(key, static_cast<std::uint64_t>(i) + 1, 20 + i * 37 % 500);
    if (i % 11 == 5) {
      (void)cache->remove_buffered(name);
    } else if (i % 5 == 0) {
      (void)cache->store(name, value, {.ttl = std::chrono::seconds(i % 3 * 1000)});
    } else {
      (void)cache->store_buffered(name, value);
    }
  }
  (void)cache->flush_writes();
  Image image = disk.content();
  if (closed) {
    (void)cache->close();
    image = disk.content();
  }
  return image;
}

const Image& base_image(std::size_t number) {
  static const std::array<Image, 5> images{make_image(0, true), make_image(25, true),
                                           make_image(25, false), make_image(400, true),
                                           make_image(400, false)};
  return images[number % images.size()];
}

/// One change: a few bytes, a number, a zeroed or copied sector, anywhere or in a place that
/// counts.
void edit(Image& image, const Superblock& geometry, Input& input) {
  const std::array<std::uint64_t, 7> areas{
      0,
      kSuperblockOffsets[1],
      geometry.checkpoint_offset[0],
      geometry.checkpoint_offset[1],
      geometry.segments_offset + input.take_below(geometry.segments) * geometry.segment_bytes,
      geometry.segments_offset +
          (1 + input.take_below(geometry.segments)) * geometry.segment_bytes - 512,
      0};
  const std::uint64_t area = input.take_below(areas.size());
  std::uint64_t at =
      areas[area] + (area == 6 ? input.take_below(image.size()) : input.take_below(1024));
  at = std::min<std::uint64_t>(at, image.size() - 512);
  switch (input.take_below(6)) {
    case 0:
      image[at] = std::byte{input.take<std::uint8_t>()};
      break;
    case 1: {
      const auto number = input.take<std::uint32_t>();
      std::memcpy(image.data() + at / 4 * 4, &number, sizeof number);
      break;
    }
    case 2: {
      const auto number = input.take<std::uint64_t>();
      std::memcpy(image.data() + at / 8 * 8, &number, sizeof number);
      break;
    }
    case 3:
      std::memset(image.data() + at / 512 * 512, 0, 512);
      break;
    case 4: {
      const std::uint64_t from = input.take_below(image.size() / 512) * 512;
      std::memmove(image.data() + at / 512 * 512, image.data() + from, 512);
      break;
    }
    default:
      image[at] ^= std::byte(1U << input.take_below(8));
  }
}

void use(RawDiskCache& cache, Input& input) {
  std::vector<std::string> names;
  for (std::uint32_t key = 0; key < kKeys; ++key) names.push_back(testing::key_name(key));
  (void)cache.for_each_key([](const KeyInfo&) { return true; });
  (void)cache.lookup_batch(names);
  (void)cache.contains(names[0]);
  for (std::uint64_t n = input.take_below(8); n > 0; --n) {
    const auto key = static_cast<std::uint32_t>(input.take_below(kKeys));
    const std::string value = testing::make_value(key, 1000 + n, 20 + input.take_below(2000));
    const bool stored = input.take_bool() ? cache.store(names[key], value).has_value()
                                          : cache.store_buffered(names[key], value).has_value();
    const auto found = cache.lookup(names[key]);
    expect(!stored || !found || found->view() == value, "another value than was just stored");
  }
  (void)cache.remove(names[1]);
  (void)cache.maintain();
  (void)cache.flush_writes();
  (void)cache.stats();
  (void)cache.close();
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  using namespace rawcache;
  Input input(data, size);
  Image image = base_image(input.take_below(5));
  const auto geometry = decode_superblock(image, 0);
  expect(geometry.has_value(), "the base image has no superblock");
  const auto sealed = input.take<std::uint8_t>();
  const auto how = input.take<std::uint8_t>();
  const std::uint64_t edits = input.take_below(kEditsMax);
  for (std::uint64_t i = 0; i < edits && !input.empty(); ++i) edit(image, *geometry, input);
  seal(image, *geometry, sealed);

  rawcache::testing::SimDisk disk(std::move(image));
  (void)RawDiskCache::inspect(disk);
  const auto report = RawDiskCache::verify(disk);
  expect(!report || report->damage.size() <= kVerifyDamageMax, "too long a report");
  Options options = small_options();
  options.rebuild_if_checkpoint_lost = (how & 1) != 0;
  options.accept_unreadable = (how & 2) != 0;
  for (int opened = 0; opened < 2; ++opened) {
    auto cache = RawDiskCache::open(std::make_unique<rawcache::testing::LentDisk>(disk), options);
    if (!cache) break;
    use(*cache, input);
  }
  return 0;
}
