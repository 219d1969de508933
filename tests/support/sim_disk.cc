#include "support/sim_disk.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "base/assert.h"
#include "base/math.h"

namespace rawcache::testing {

SimDisk::SimDisk(std::uint64_t size_bytes) : SimDisk(std::vector<std::byte>(size_bytes)) {}

SimDisk::SimDisk(std::vector<std::byte> image) : content_(image), durable_(std::move(image)) {
  RAWCACHE_ASSERT(is_aligned(durable_.size(), kSectorBytes));
  info_.size_bytes = durable_.size();
  info_.io_alignment = kSectorBytes;
  info_.engine = "simulated";
}

// Dropped with its batch: what the device has in hand is then waited for.
struct SimDisk::UnderWay {
  explicit UnderWay(SimDisk& of) : disk(of) {}
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  ~UnderWay() {
    MutexLock lock(disk.mutex_);
    for (IoRequest* request : requests) {
      if (request->kind != IoRequest::Kind::sync) disk.carry_out(*request);
    }
    std::erase(disk.under_way_, this);
  }
  SimDisk& disk;
  std::vector<IoRequest*> requests;
  std::uint64_t writes = 0;  ///< a sync begins after so many
};

void SimDisk::carry_out(IoRequest& request) {
  request.done = true;
  if (cut_) {
    request.os_error = EIO;
    return;
  }
  request.kind == IoRequest::Kind::read ? carry_out_read(request) : carry_out_write(request);
}

void SimDisk::carry_out_read(const IoRequest& request) {
  std::uint64_t offset = request.offset;
  if (misdirected_read_.is_due(offset)) {
    offset = std::min(*misdirected_read_.other, content_.size() - request.size);
    if (offset != request.offset) faults_met_.insert(++faults_);
  }
  const auto end = faulty_sectors_.lower_bound(offset + request.size);
  for (auto at = faulty_sectors_.lower_bound(round_down(offset, kSectorBytes)); at != end; ++at) {
    faults_met_.insert(at->second);
  }
  std::memcpy(request.data, content_.data() + offset, request.size);
}

void SimDisk::carry_out_write(const IoRequest& request) {
  std::uint64_t offset = request.offset;
  const Extent meant{offset, request.size};
  faulty_sectors_.erase(faulty_sectors_.lower_bound(offset),
                        faulty_sectors_.lower_bound(offset + request.size));
  if (misdirected_write_.is_due(offset)) {
    if (!misdirected_write_.other) return note_fault({meant});
    offset = std::min(*misdirected_write_.other, content_.size() - request.size);
    if (offset != request.offset) note_fault({meant, {offset, request.size}});
  }
  std::byte* const place = content_.data() + offset;
  if (!overwritten_.empty()) std::memcpy(overwritten_.data() + offset, place, request.size);
  std::memcpy(place, request.data, request.size);
  unsynced_.push_back({offset, {request.data, request.data + request.size}, ++writes_});
}

void SimDisk::note_fault(std::initializer_list<Extent> places) {
  ++faults_;
  for (const Extent& place : places) {
    for (std::uint64_t at = place.offset; at < place.end(); at += kSectorBytes) {
      faulty_sectors_[at] = faults_;
    }
  }
}

void SimDisk::do_submit(IoBatch& batch) {
  MutexLock lock(mutex_);
  if (!late_) {
    for (IoRequest& request : batch.requests) carry_out(request);
    return;
  }
  auto under_way = std::make_shared<UnderWay>(*this);
  for (IoRequest& request : batch.requests) under_way->requests.push_back(&request);
  under_way_.push_back(under_way.get());
  batch.under_way = batch.requests.size();
  batch.engine_state = std::move(under_way);
}

void SimDisk::do_wait(IoBatch& batch, std::size_t at_least) {
  MutexLock lock(mutex_);
  if (!late_ || !batch.engine_state) return;
  auto& under_way = *static_cast<UnderWay*>(batch.engine_state.get());
  auto& requests = under_way.requests;
  std::size_t count = at_least + (*late_)() % (requests.size() - at_least + 1);
  if (count > 0 && requests.front()->kind == IoRequest::Kind::sync) {
    if (!cut_) sync_through(under_way.writes);
    requests.front()->os_error = cut_ ? EIO : 0;
    requests.front()->done = true;
    requests.clear();
    batch.under_way = 0;
    return;
  }
  for (; count > 0; --count) {
    std::swap(requests[(*late_)() % requests.size()], requests.back());
    carry_out(*requests.back());
    requests.pop_back();
    --batch.under_way;
  }
}

std::vector<SimDisk::Write> SimDisk::volatile_writes() const {
  std::vector<Write> writes = unsynced_;
  for (const UnderWay* batch : under_way_) {
    for (const IoRequest* request : batch->requests) {
      if (request->kind == IoRequest::Kind::write) {
        writes.push_back({request->offset, {request->data, request->data + request->size}, 0});
      }
    }
  }
  return writes;
}

int SimDisk::do_sync() {
  MutexLock lock(mutex_);
  if (cut_) return EIO;
  sync_through(writes_);
  return 0;
}

void SimDisk::sync_through(std::uint64_t write) {
  std::erase_if(unsynced_, [&](const Write& done) REQUIRES(mutex_) {
    if (done.number > write) return false;
    std::memcpy(durable_.data() + done.offset, done.bytes.data(), done.bytes.size());
    return true;
  });
}

void SimDisk::do_start_sync(IoBatch& batch) {
  {
    MutexLock lock(mutex_);
    if (late_) {
      auto under_way = std::make_shared<UnderWay>(*this);
      under_way->requests.push_back(&batch.requests.front());
      under_way->writes = writes_;
      under_way_.push_back(under_way.get());
      batch.under_way = 1;
      batch.engine_state = std::move(under_way);
      return;
    }
  }
  batch.requests.front().os_error = do_sync();
  batch.requests.front().done = true;
}

// --- Power cuts ---

std::vector<std::byte> SimDisk::crash(std::mt19937_64& random, CrashPolicy policy) const {
  MutexLock lock(mutex_);
  std::vector<std::byte> image = durable_;
  if (policy == CrashPolicy::lose_all) return image;
  for (const Write& write : volatile_writes()) {
    std::byte* const place = image.data() + write.offset;
    if (policy == CrashPolicy::keep_all) {
      std::memcpy(place, write.bytes.data(), write.bytes.size());
      continue;
    }
    const bool by_sector = policy != CrashPolicy::any_whole;
    const std::uint64_t fate = random() % (by_sector ? 3 : 2);
    if (fate == 0) continue;
    const bool torn = fate == 2;
    const std::size_t sectors = write.bytes.size() / kSectorBytes;
    const std::size_t shorn =
        torn && policy == CrashPolicy::any_shorn ? random() % sectors : sectors;
    std::uint64_t coins = 0;
    for (std::size_t sector = 0; sector < sectors; ++sector) {
      if (torn && sector % 64 == 0) coins = random();
      const std::size_t at = sector * kSectorBytes;
      std::size_t size = kSectorBytes;
      if (sector == shorn) {
        size = random() % kSectorBytes;
      } else if (torn && (coins >> (sector % 64) & 1) == 0) {
        if (policy != CrashPolicy::any_garbage || random() % 2 == 0) continue;
        for (std::size_t i = 0; i < kSectorBytes; ++i) place[at + i] = std::byte(random());
        continue;
      }
      std::memcpy(place + at, write.bytes.data() + at, size);
    }
  }
  return image;
}

std::vector<OpenSector> SimDisk::open_sectors() const {
  MutexLock lock(mutex_);
  std::map<std::uint64_t, OpenSector> sectors;
  for (const Write& write : unsynced_) {
    for (std::size_t at = 0; at < write.bytes.size(); at += kSectorBytes) {
      OpenSector& sector = sectors[write.offset + at];
      if (sector.contents.empty()) {
        sector = {write.offset + at, {durable_.data() + write.offset + at}};
      }
      const std::byte* const bytes = write.bytes.data() + at;
      if (std::memcmp(sector.contents.back(), bytes, kSectorBytes) != 0) {
        sector.contents.push_back(bytes);
      }
    }
  }
  std::vector<OpenSector> result;
  for (auto& [offset, sector] : sectors) {
    if (sector.contents.size() > 1) result.push_back(std::move(sector));
  }
  return result;
}

// --- On command ---

void SimDisk::complete_late(std::uint64_t seed) {
  MutexLock lock(mutex_);
  late_.emplace(seed);
  info_.background_sync = true;
}

void SimDisk::cut() {
  MutexLock lock(mutex_);
  cut_ = true;
}

void SimDisk::forget_unsynced() {
  MutexLock lock(mutex_);
  unsynced_.clear();
}

void SimDisk::misdirect_write(std::uint64_t k, std::optional<std::uint64_t> to, Extent zone) {
  MutexLock lock(mutex_);
  misdirected_write_ = {k, to, zone};
}

void SimDisk::misdirect_read(std::uint64_t k, std::uint64_t from, Extent zone) {
  MutexLock lock(mutex_);
  misdirected_read_ = {k, from, zone};
}

void SimDisk::keep_overwritten() {
  MutexLock lock(mutex_);
  overwritten_ = content_;
}

bool SimDisk::rot(std::uint64_t sector, Rot rot, std::mt19937_64& random) {
  MutexLock lock(mutex_);
  std::array<std::byte, kSectorBytes> bytes{};
  std::byte* const place = content_.data() + sector;
  switch (rot) {
    case Rot::bit:
      std::memcpy(bytes.data(), place, kSectorBytes);
      bytes[random() % kSectorBytes] ^= std::byte(1 << random() % 8);
      break;
    case Rot::zeros:
      break;
    case Rot::ones:
      bytes.fill(std::byte{0xFF});
      break;
    case Rot::garbage:
      for (std::byte& byte : bytes) byte = std::byte(random());
      break;
    case Rot::stale:
      RAWCACHE_ASSERT(!overwritten_.empty());
      std::memcpy(bytes.data(), overwritten_.data() + sector, kSectorBytes);
      break;
  }
  if (std::memcmp(bytes.data(), place, kSectorBytes) == 0) return false;
  std::memcpy(place, bytes.data(), kSectorBytes);
  std::memcpy(durable_.data() + sector, bytes.data(), kSectorBytes);
  note_fault({{sector, kSectorBytes}});
  return true;
}

std::uint64_t SimDisk::faults_met() const {
  MutexLock lock(mutex_);
  return faults_met_.size();
}

void SimDisk::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  MutexLock lock(mutex_);
  std::ranges::copy(bytes, content_.begin() + static_cast<std::ptrdiff_t>(offset));
  std::ranges::copy(bytes, durable_.begin() + static_cast<std::ptrdiff_t>(offset));
}

std::vector<std::byte> SimDisk::content() const {
  MutexLock lock(mutex_);
  return content_;
}

std::vector<std::byte> SimDisk::durable_content() const {
  MutexLock lock(mutex_);
  return durable_;
}

std::size_t SimDisk::unsynced_writes() const {
  MutexLock lock(mutex_);
  return unsynced_.size();
}

}  // namespace rawcache::testing
