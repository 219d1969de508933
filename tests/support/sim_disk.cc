#include "support/sim_disk.h"

#include <cstring>
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

void SimDisk::do_submit(IoBatch& batch) {
  MutexLock lock(mutex_);
  for (IoRequest& request : batch.requests) {
    std::byte* place = content_.data() + request.offset;
    if (request.kind == IoRequest::Kind::read) {
      std::memcpy(request.data, place, request.size);
    } else {
      std::memcpy(place, request.data, request.size);
      unsynced_.push_back({request.offset, {request.data, request.data + request.size}});
    }
    request.done = true;
  }
}

int SimDisk::do_sync() {
  MutexLock lock(mutex_);
  for (const Write& write : unsynced_) {
    std::memcpy(durable_.data() + write.offset, write.bytes.data(), write.bytes.size());
  }
  unsynced_.clear();
  return 0;
}

std::vector<std::byte> SimDisk::crash(std::mt19937_64& random, CrashPolicy policy) const {
  MutexLock lock(mutex_);
  if (policy == CrashPolicy::lose_all) return durable_;
  if (policy == CrashPolicy::keep_all) return content_;
  std::vector<std::byte> image = durable_;
  for (const Write& write : unsynced_) {
    const std::uint64_t fate = random() % (policy == CrashPolicy::any_torn ? 3 : 2);
    if (fate == 0) continue;
    std::uint64_t coins = 0;
    for (std::size_t at = 0; at < write.bytes.size(); at += kSectorBytes) {
      const std::size_t sector = at / kSectorBytes;
      if (fate == 2 && sector % 64 == 0) coins = random();
      if (fate == 2 && (coins >> (sector % 64) & 1) == 0) continue;
      std::memcpy(image.data() + write.offset + at, write.bytes.data() + at, kSectorBytes);
    }
  }
  return image;
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
