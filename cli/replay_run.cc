#include "cli/replay_run.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "cli/forwarding_disk.h"
#include "cli/output.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {
namespace {

/// An object of unknown size takes this much of the log, entry header and key included.
constexpr std::uint64_t kUnitBytes = 4096;
constexpr std::uint64_t kEntryOverheadBytes = 24 + sizeof(std::uint64_t);  ///< header and key
constexpr std::uint32_t kBlockBytes = 512;
constexpr std::uint64_t kSegmentsWanted = 512;
/// What a value that waits in memory takes beside itself; on top of the capacity.
constexpr std::uint64_t kWaitingOverheadBytes = 320;
constexpr std::uint64_t kWaitingBytesMin = 4096;
constexpr std::uint64_t kObjectsPerSegmentMin = 4;
constexpr std::uint64_t kSegmentsMin = 16;
constexpr std::uint64_t kFooterRecordBytes = 12;
constexpr std::uint64_t kFooterTrailerBytes = 64;
constexpr std::uint64_t kProgressEvery = 1 << 16;
/// Room for the headers and the padding of the batches in a segment, where no entry fits into it.
constexpr std::uint64_t kPaddingBytes = 7 * kBlockBytes;
constexpr std::uint64_t kHeaderBytes = 64;
constexpr std::uint64_t kBuffersPerSegment = 6;
constexpr std::uint64_t kBufferBytesMin = 4096;
constexpr std::uint64_t kBufferBytesMax = 1_MiB;
constexpr int kHeapBytesKept = 32 << 20;

std::uint64_t blocks(std::uint64_t bytes) {
  return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

/// What an object takes of the log.
std::uint64_t entry_size(const Trace& trace, std::uint32_t object, std::uint32_t scale) {
  if (trace.unit_sizes) return kUnitBytes;
  return std::max<std::uint64_t>(trace.sizes[object] / scale, kEntryOverheadBytes);
}

struct Geometry {
  FormatOptions format;
  std::uint64_t buffer_bytes = 0;
  std::uint64_t device_bytes = 0;
  std::uint64_t waiting_bytes = 0;  ///< memory for what waits; 0: nothing does
};

/// Segments hold `capacity` in entries; headers, footers and checkpoints come on top.
Geometry lay_out(const Trace& trace, const ReplaySetup& setup) {
  std::uint64_t largest = 0;
  std::uint64_t all = 0;
  for (std::uint32_t object = 0; object < trace.sizes.size(); ++object) {
    const std::uint64_t size = entry_size(trace, object, setup.scale);
    largest = std::max(largest, size);
    all += size;
  }
  const std::uint64_t mean = std::max<std::uint64_t>(all / trace.sizes.size(), 1);
  std::uint64_t capacity =
      trace.unit_sizes ? setup.capacity * kUnitBytes : setup.capacity / setup.scale;
  Geometry geometry;
  if (setup.admission == Admission::wanted_again) {
    const auto waits = static_cast<std::uint64_t>(double(capacity) * setup.admission_percent / 100);
    capacity -= waits;
    geometry.waiting_bytes = waits + waits / mean * kWaitingOverheadBytes;
    geometry.waiting_bytes = std::max(geometry.waiting_bytes, kWaitingBytesMin);
  }
  std::uint64_t payload =
      std::max({capacity / kSegmentsWanted, kObjectsPerSegmentMin * mean, largest});
  payload = std::min(payload, std::max(capacity / kSegmentsMin, largest));
  if (trace.unit_sizes) payload = std::max<std::uint64_t>(payload / kUnitBytes, 1) * kUnitBytes;
  const std::uint64_t segments = std::max<std::uint64_t>(capacity / payload, 4);
  const std::uint64_t footer =
      blocks((payload / mean + 1) * kFooterRecordBytes + kFooterTrailerBytes);
  const std::uint64_t padding = trace.unit_sizes ? kPaddingBytes : 0;

  geometry.format.block_bytes = kBlockBytes;
  geometry.format.segment_bytes = blocks(payload + kHeaderBytes + padding) + footer;
  geometry.format.expected_entries = std::max<std::uint64_t>(2 * capacity / mean, 64);
  geometry.buffer_bytes =
      std::clamp(payload / kBuffersPerSegment, kBufferBytesMin, kBufferBytesMax);
  // The checkpoints take what the superblock's layout says; a try tells.
  geometry.device_bytes = segments * geometry.format.segment_bytes;
  const auto segments_of = [&](std::uint64_t bytes) -> std::uint64_t {
    const auto disk = make_memory_disk(bytes);
    const auto info = disk ? RawDiskCache::format(*disk, geometry.format)
                           : Result<CacheInfo>(std::unexpected(Errc::out_of_memory));
    return info ? info->segments : 0;
  };
  const std::uint64_t metadata_min = 128_KiB;
  std::uint64_t bytes = geometry.device_bytes + metadata_min;
  for (std::uint64_t have = segments_of(bytes); have < segments; have = segments_of(bytes)) {
    bytes += (segments - have) * geometry.format.segment_bytes;
  }
  geometry.device_bytes = bytes;
  geometry.format.capacity = bytes;
  return geometry;
}

/// A device that outlives the caches which are opened on it.
class Device {
 public:
  static Result<Device> make(const Trace& trace, const ReplaySetup& setup) {
    Device device;
    const Geometry geometry = lay_out(trace, setup);
    Options& options = device.options_;
    options.max_operations = 1 << 20;
    options.max_buffer_bytes = geometry.buffer_bytes;
    options.maintenance_thread = false;
    options.eviction = setup.policy;
    options.wa_cap = setup.wa_cap;
    options.admission = setup.admission;
    if (geometry.waiting_bytes != 0) options.admission_memory_bytes = geometry.waiting_bytes;
    options.memory_bytes = setup.memory_bytes;
    options.now = [] { return std::int64_t{1}; };
    device.path_ = setup.path;
    if (!setup.path.empty()) {
      auto made = RawDiskCache::format(setup.path, geometry.format, true);
      if (!made) return std::unexpected(made.error());
      return device;
    }
    device.memory_ = make_memory_disk(geometry.device_bytes);
    if (!device.memory_) return std::unexpected(Error(Errc::out_of_memory, "a disk in memory"));
    auto made = RawDiskCache::format(*device.memory_, geometry.format);
    if (!made) return std::unexpected(made.error());
    return device;
  }

  Result<RawDiskCache> open() const {
    if (!memory_) return RawDiskCache::open(path_, options_);
    return RawDiskCache::open(std::make_unique<ForwardingDisk>(memory_), options_);
  }

 private:
  Options options_;
  std::string path_;
  std::shared_ptr<Disk> memory_;  ///< null: the device is at path_
};

}  // namespace

Result<ReplayResult> replay(const Trace& trace, const ReplaySetup& setup,
                            const std::function<void(std::uint64_t)>& progress) {
  // Checkpoints of a small cache come often; do not give their memory back each time.
  ::mallopt(M_MMAP_THRESHOLD, kHeapBytesKept);
  ::mallopt(M_TRIM_THRESHOLD, kHeapBytesKept);
  const auto device = Device::make(trace, setup);
  if (!device) return std::unexpected(device.error());
  auto cache = device->open();
  if (!cache) return std::unexpected(cache.error());
  std::uint64_t largest = 0;
  for (std::uint32_t object = 0; object < trace.sizes.size(); ++object) {
    largest = std::max(largest, entry_size(trace, object, setup.scale));
  }
  const std::vector<std::byte> content(largest, std::byte{0x5A});
  const auto restart_every =
      static_cast<std::uint64_t>(double(trace.requests.size()) * setup.restart_percent / 100);
  ReplayResult result;
  const auto start = std::chrono::steady_clock::now();
  for (const std::uint32_t object : trace.requests) {
    const bool restarts = restart_every != 0 && result.requests % restart_every == 0;
    if (restarts && result.requests != 0) {
      if (auto closed = cache->close(); !closed) return std::unexpected(closed.error());
      cache = device->open();
      if (!cache) return std::unexpected(cache.error());
      result.put_bytes = 0;
    }
    const std::uint64_t number = object;
    char key[sizeof(number)];
    std::memcpy(key, &number, sizeof(number));
    const std::string_view name(key, sizeof(key));
    const std::uint64_t value_bytes = entry_size(trace, object, setup.scale) - kEntryOverheadBytes;
    ++result.requests;
    result.bytes += trace.sizes[object];
    const auto value = cache->lookup(name);
    if (value && value->size() != value_bytes) {
      return std::unexpected(Error(Errc::io_error, "the cache gave a wrong value"));
    }
    if (!value) {
      if (value.error() != Errc::not_found) return std::unexpected(value.error());
      ++result.misses;
      result.missed_bytes += trace.sizes[object];
      result.put_bytes += value_bytes + kEntryOverheadBytes;
      if (auto stored = cache->store_buffered(name, std::span(content).first(value_bytes));
          !stored && stored.error() != Errc::not_admitted) {
        return std::unexpected(stored.error());
      }
    }
    if (result.requests % kProgressEvery == 0) {
      progress(result.requests);
      if (interrupted()) break;
    }
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  result.seconds = taken.count();
  result.stats = cache->stats();
  return result;
}

}  // namespace rawcache::cli
