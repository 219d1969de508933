// A cache on a simulated device: faults on command, power cuts, rot, and a record of every
// submission. What the tests of the public API stand on.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "format/superblock.h"
#include "rawcache/raw_disk_cache.h"
#include "support/faulty_disk.h"
#include "support/sim_disk.h"

namespace rawcache::testing {

/// What reached the device, in order.
struct DeviceCall {
  enum class Kind : std::uint8_t { submission, sync };
  Kind kind = Kind::submission;
  std::size_t reads = 0, writes = 0;
  std::vector<Extent> extents;  ///< of a submission's requests
};

/// A simulated device with faults. Lives longer than the caches that are opened on it.
class TestDevice {
 public:
  explicit TestDevice(std::uint64_t bytes);
  explicit TestDevice(std::vector<std::byte> image);
  /// Faults and record only: medium, rot and wipe are not to be had.
  explicit TestDevice(std::unique_ptr<Disk> disk);

  /// What a cache is opened on.
  std::unique_ptr<Disk> connect();
  FaultyDisk& faults() { return *faults_; }
  SimDisk& medium() { return *medium_; }
  const SimDisk& medium() const { return *medium_; }

  std::vector<DeviceCall> take_calls();
  /// Called before every request and sync, without a lock held.
  void at_each_request(std::function<void(const FaultyDisk::Event&)> hook) {
    faults_->set_hook(std::move(hook));
  }

  /// Damages every place on the medium where `text` lies, durably. Returns how many there were.
  int rot(std::string_view text);
  /// Overwrites the range with this byte, durably.
  void wipe(Extent range, std::byte with = std::byte{0});

 private:
  class Connection;
  struct Record;
  SimDisk* medium_ = nullptr;  ///< owned by faults_
  std::shared_ptr<FaultyDisk> faults_;
  std::shared_ptr<Record> record_;
};

/// The value, or "error <name of the code>".
std::string text(const Result<Value>& value);
/// "ok", or the name of the error's code.
template <typename T>
std::string outcome(const Result<T>& result) {
  return result ? "ok" : std::string(errc_name(result.error().code()));
}

/// `size` bytes that tell key and version, and that no other key or version has.
std::string value_of(std::string_view key, std::uint64_t version, std::size_t size);

class CacheTest : public ::testing::Test {
 protected:
  CacheTest();
  ~CacheTest() override;

  /// A fresh device, formatted with `format`.
  void make_device(std::uint64_t bytes);
  /// The same in plain memory: as large as it may be, but without power cuts and rot.
  void make_memory_device(std::uint64_t bytes);
  Result<void> try_open();
  void open();
  void close();
  /// close, then open.
  void reopen();
  /// Cuts the power: the cache is gone, the device holds what this policy leaves. Not yet reopened.
  void cut_power(CrashPolicy policy, std::uint64_t seed = 1);
  /// cut_power, then open.
  void crash(CrashPolicy policy, std::uint64_t seed = 1);
  /// Gives up the cache without letting it write anything more.
  void abandon();
  /// A device with these bytes in place of the present one.
  void replace_device(std::vector<std::byte> image);

  std::string get(std::string_view key) { return text(cache->lookup(key)); }
  std::vector<std::string> get_all(const std::vector<std::string>& keys);
  /// Every key that for_each_key tells of. Fails the test if one comes twice.
  std::set<std::string> all_keys();
  Superblock superblock() const;
  FaultyDisk& faults() { return device->faults(); }

  FormatOptions format;
  Options options;
  std::int64_t clock;  ///< what the cache takes for the time
  std::unique_ptr<TestDevice> device;
  std::optional<RawDiskCache> cache;
};

/// A cache of 2 MiB and segments of 64 KiB, opened.
class SmallCacheTest : public CacheTest {
 protected:
  SmallCacheTest();
};

}  // namespace rawcache::testing
