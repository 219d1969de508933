#include "support/cache_fixture.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "cache/superblock_io.h"

namespace rawcache::testing {

struct TestDevice::Record {
  std::mutex mutex;
  std::vector<DeviceCall> calls;
};

/// Passes everything on to a disk that it shares.
class TestDevice::Connection final : public Disk {
 public:
  Connection(std::shared_ptr<Disk> disk, std::shared_ptr<Record> record)
      : disk_(std::move(disk)), record_(std::move(record)) {}

 private:
  const DiskInfo& do_info() const override { return disk_->info(); }

  void do_submit(IoBatch& batch) override {
    DeviceCall call;
    for (const IoRequest& request : batch.requests) {
      ++(request.kind == IoRequest::Kind::read ? call.reads : call.writes);
      call.extents.push_back({request.offset, request.size});
    }
    note(std::move(call));
    if (disk_->submit(batch)) return;
    for (IoRequest& request : batch.requests) {
      request.done = true;
      request.os_error = EINVAL;
    }
  }
  void do_wait(IoBatch& batch, std::size_t at_least) override { disk_->wait(batch, at_least); }

  int do_sync() override {
    note({.kind = DeviceCall::Kind::sync, .reads = 0, .writes = 0, .extents = {}});
    const auto synced = disk_->sync();
    return synced ? 0 : synced.error().os_error();
  }

  void note(DeviceCall call) {
    std::lock_guard lock(record_->mutex);
    record_->calls.push_back(std::move(call));
  }

  std::shared_ptr<Disk> disk_;
  std::shared_ptr<Record> record_;
};

TestDevice::TestDevice(std::uint64_t bytes) : TestDevice(std::vector<std::byte>(bytes)) {}

TestDevice::TestDevice(std::vector<std::byte> image) : record_(std::make_shared<Record>()) {
  auto medium = std::make_unique<SimDisk>(std::move(image));
  medium_ = medium.get();
  faults_ = std::make_shared<FaultyDisk>(std::move(medium));
}

TestDevice::TestDevice(std::unique_ptr<Disk> disk)
    : faults_(std::make_shared<FaultyDisk>(std::move(disk))), record_(std::make_shared<Record>()) {}

std::unique_ptr<Disk> TestDevice::connect() {
  return std::make_unique<Connection>(faults_, record_);
}

std::vector<DeviceCall> TestDevice::take_calls() {
  std::lock_guard lock(record_->mutex);
  return std::exchange(record_->calls, {});
}

int TestDevice::rot(std::string_view text) {
  const std::vector<std::byte> content = medium_->content();
  const auto wanted = std::as_bytes(std::span(text));
  int found = 0;
  for (auto at = content.begin();;) {
    at = std::search(at, content.end(), wanted.begin(), wanted.end());
    if (at == content.end()) return found;
    ++found;
    const auto offset = static_cast<std::uint64_t>(at - content.begin());
    const std::uint64_t sector = offset / SimDisk::kSectorBytes * SimDisk::kSectorBytes;
    std::vector<std::byte> bytes(
        content.begin() + static_cast<std::ptrdiff_t>(sector),
        content.begin() + static_cast<std::ptrdiff_t>(sector) + SimDisk::kSectorBytes);
    bytes[offset - sector] ^= std::byte{0x40};
    EXPECT_TRUE(medium_->write(sector, bytes));
    EXPECT_TRUE(medium_->sync());
    ++at;
  }
}

void TestDevice::wipe(Extent range, std::byte with) {
  EXPECT_TRUE(medium_->write(range.offset, std::vector<std::byte>(range.size, with)));
  EXPECT_TRUE(medium_->sync());
}

std::string text(const Result<Value>& value) {
  return value ? value->str() : "error " + std::string(errc_name(value.error().code()));
}

std::string value_of(std::string_view key, std::uint64_t version, std::size_t size) {
  std::string value(key);
  value.append("#").append(std::to_string(version)).append("|");
  std::uint64_t state = std::hash<std::string>()(value) | 1;
  value.reserve(std::max(size, value.size()));
  while (value.size() < size) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value.push_back(static_cast<char>('a' + (state >> 33) % 26));
  }
  return value;
}

CacheTest::CacheTest() : clock(std::time(nullptr) + 1'000'000) {
  options.maintenance_thread = false;
  options.max_buffer_bytes = 256_KiB;
  options.read_buffer_bytes = 1_MiB;
  options.now = [this] { return clock; };
}

CacheTest::~CacheTest() {
  if (cache) abandon();
}

void CacheTest::make_device(std::uint64_t bytes) {
  device = std::make_unique<TestDevice>(bytes);
  const auto made = RawDiskCache::format(device->medium(), format);
  ASSERT_TRUE(made) << made.error().message();
}

void CacheTest::make_memory_device(std::uint64_t bytes) {
  auto disk = make_memory_disk(bytes);
  ASSERT_TRUE(disk);
  device = std::make_unique<TestDevice>(std::move(disk));
  const auto made = RawDiskCache::format(device->faults(), format);
  ASSERT_TRUE(made) << made.error().message();
}

Result<void> CacheTest::try_open() {
  auto opened = RawDiskCache::open(device->connect(), options);
  if (!opened) return std::unexpected(opened.error());
  cache.emplace(std::move(*opened));
  return {};
}

void CacheTest::open() {
  const auto opened = try_open();
  ASSERT_TRUE(opened) << opened.error().message();
}

void CacheTest::close() {
  const auto closed = cache->close();
  EXPECT_TRUE(closed) << closed.error().message();
  cache.reset();
}

void CacheTest::reopen() {
  close();
  open();
}

void CacheTest::abandon() {
  // Nothing of what it does on its way out may reach the medium.
  faults().set_hook({});
  faults().fail(FaultyDisk::Op::write, 1, EIO, FaultyDisk::Repeat::for_ever);
  faults().fail(FaultyDisk::Op::sync, 1, EIO, FaultyDisk::Repeat::for_ever);
  cache.reset();
  faults().heal();
}

void CacheTest::cut_power(CrashPolicy policy, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> image = device->medium().crash(random, policy);
  abandon();
  device = std::make_unique<TestDevice>(std::move(image));
}

void CacheTest::crash(CrashPolicy policy, std::uint64_t seed) {
  cut_power(policy, seed);
  open();
}

void CacheTest::replace_device(std::vector<std::byte> image) {
  if (cache) abandon();
  device = std::make_unique<TestDevice>(std::move(image));
}

std::vector<std::string> CacheTest::get_all(const std::vector<std::string>& keys) {
  std::vector<std::string> texts;
  for (const auto& value : cache->lookup_batch(std::span<const std::string>(keys))) {
    texts.push_back(text(value));
  }
  return texts;
}

std::set<std::string> CacheTest::all_keys() {
  std::set<std::string> keys;
  const auto done = cache->for_each_key([&](const KeyInfo& info) {
    EXPECT_TRUE(keys.emplace(info.key).second) << info.key << " came twice";
    return true;
  });
  EXPECT_TRUE(done);
  return keys;
}

Superblock CacheTest::superblock() const {
  const auto loaded = load_superblock(device->medium());
  EXPECT_TRUE(loaded);
  return loaded ? loaded->superblock : Superblock{};
}

SmallCacheTest::SmallCacheTest() {
  format.segment_bytes = 64_KiB;
  make_device(2_MiB);
  open();
}

}  // namespace rawcache::testing
