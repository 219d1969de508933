// Configuration: any options, on a device of any size, are refused with a reason or make a cache
// whose geometry holds and that stores and finds.
#include <memory>
#include <vector>

#include "format/superblock.h"
#include "fuzz/input.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::fuzz {
namespace {

constexpr std::uint64_t kOpenedBytesMax = std::uint64_t{4} << 20;

/// Often a power of two or near one, for that is where limits lie.
std::uint64_t number(Input& input) {
  const auto shift = input.take<std::uint8_t>();
  if (shift >= 128) return input.take<std::uint64_t>();
  if (shift >= 64) return input.take<std::uint16_t>();
  return (std::uint64_t{1} << shift) + input.take_below(3) - 1;
}

FormatOptions format_options(Input& input) {
  FormatOptions format;
  format.capacity = input.take_bool() ? 0 : number(input);
  format.block_bytes = static_cast<std::uint32_t>(input.take_bool() ? 512 : number(input));
  format.segment_bytes = input.take_bool() ? 4096 : number(input);
  format.expected_entries = input.take_bool() ? 0 : number(input);
  return format;
}

void lay_out_anything(const FormatOptions& format, Input& input) {
  const std::uint64_t device = number(input);
  const auto io_alignment = std::uint32_t{512} << input.take_below(4);
  auto made = lay_out(format, device, io_alignment);
  if (!made) {
    expect(!made.error().message().empty(), "a refusal without a reason");
    return;
  }
  made->id = {1, 2};
  std::vector<std::byte> block(made->block_bytes);
  encode_superblock(block, *made, 1);
  const auto decoded = decode_superblock(block, 1);
  expect(decoded.has_value(), "a layout that its own reader refuses");
  expect(decoded->segments_end() <= device, "a layout larger than the device");
}

void open_small(FormatOptions format, Input& input) {
  const std::uint64_t bytes = (1 + input.take_below(kOpenedBytesMax / 512)) * 512;
  auto disk = make_memory_disk(bytes);
  if (!disk || !RawDiskCache::format(*disk, format)) return;
  Options options;
  options.max_operations = static_cast<std::uint32_t>(number(input));
  options.max_buffer_bytes = number(input) % (std::uint64_t{1} << 24);
  options.read_buffer_bytes = number(input) % (std::uint64_t{1} << 24);
  options.read_gap_bytes = static_cast<std::uint32_t>(number(input));
  options.default_ttl = std::chrono::seconds(static_cast<std::int64_t>(number(input)));
  options.maintenance_thread = false;
  options.now = [] { return std::int64_t{1'800'000'000}; };
  if (input.take_bool()) options.expected_id = input.take_text(32);
  auto cache = RawDiskCache::open(std::move(disk), options);
  if (!cache) {
    expect(!cache.error().message().empty(), "a refusal without a reason");
    return;
  }
  StoreOptions store;
  store.ttl = std::chrono::seconds(static_cast<std::int64_t>(number(input)));
  const std::string value = input.take_rest();
  const auto stored = cache->store("key", value, store);
  const auto found = cache->lookup("key");
  expect(!stored || !found || found->view() == value, "another value than was stored");
  (void)cache->close();
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  Input input(data, size);
  const bool opens = input.take_below(8) == 0;
  const rawcache::FormatOptions format = format_options(input);
  if (opens) {
    open_small(format, input);
  } else {
    lay_out_anything(format, input);
  }
  return 0;
}
