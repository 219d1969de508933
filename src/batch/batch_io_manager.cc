#include "batch/batch_io_manager.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "batch/buffer_slot.h"
#include "batch/merge.h"

namespace rawcache {

Error failure_of(const IoRequest& request) {
  const bool full = request.os_error == ENOSPC || request.os_error == EDQUOT;
  std::string what = request.kind == IoRequest::Kind::read ? "read of " : "write of ";
  what.append(std::to_string(request.size)).append(" bytes at ");
  what.append(std::to_string(request.offset));
  return {full ? Errc::no_space : Errc::io_error, std::move(what), request.os_error};
}

Result<std::unique_ptr<BatchIOManager>> BatchIOManager::create(Disk& disk,
                                                               const BatchLimits& limits,
                                                               std::shared_ptr<IoArena> arena,
                                                               std::uint64_t read_gap_bytes) {
  std::unique_ptr<BatchIOManager> manager(
      new BatchIOManager(disk, limits, std::move(arena), read_gap_bytes));
  MutexLock lock(manager->buffer_mutex_);
  for (std::unique_ptr<Slot>* slot : {&manager->filling_, &manager->spare_}) {
    *slot = std::make_unique<Slot>(limits);
    if (!(*slot)->buffer.ok()) {
      return std::unexpected(Error(
          Errc::out_of_memory, "write buffer of " + std::to_string(limits.max_bytes) + " bytes"));
    }
  }
  return manager;
}

BatchIOManager::BatchIOManager(Disk& disk, const BatchLimits& limits,
                               std::shared_ptr<IoArena> arena, std::uint64_t read_gap_bytes)
    : disk_(disk),
      limits_(limits),
      arena_(std::move(arena)),
      read_gap_bytes_(std::min(read_gap_bytes, kReadGapBytesMax)),
      alignment_(disk.info().io_alignment),
      disk_end_(round_down(disk.info().size_bytes, alignment_)) {}

BatchIOManager::~BatchIOManager() {
  // The device must be done with the memory before it is freed.
  for (const std::unique_ptr<Slot>& slot : sealed_) disk_.wait(slot->io, slot->io.under_way);
}

BatchIOManager::Accepted BatchIOManager::accept(std::uint64_t offset,
                                                std::span<const std::byte> bytes) {
  MutexLock lock(buffer_mutex_);
  WriteBuffer& buffer = filling_->buffer;
  const bool was_empty = buffer.empty();
  const std::span<std::byte> room = buffer.reserve(offset, bytes.size());
  if (room.empty()) return was_empty ? Accepted::no_memory : Accepted::no_room;
  std::memcpy(room.data(), bytes.data(), bytes.size());
  update_pending();
  return buffer.flush_due() ? Accepted::and_flush_due : Accepted::yes;
}

Result<void> BatchIOManager::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty() || offset > disk_end_ || bytes.size() > disk_end_ - offset) {
    return std::unexpected(Error(Errc::invalid_io, "write of " + std::to_string(bytes.size()) +
                                                       " bytes at " + std::to_string(offset)));
  }
  Accepted accepted = accept(offset, bytes);
  if (accepted == Accepted::yes) return {};

  MutexLock turn(flush_mutex_);
  Result<void> flushed;
  // Another thread may have flushed while this one waited for its turn.
  if (accepted == Accepted::no_room) accepted = accept(offset, bytes);
  while (accepted == Accepted::no_room) {
    flushed = start_flush();
    accepted = accept(offset, bytes);
    if (!flushed) break;
  }
  if (accepted == Accepted::no_room || accepted == Accepted::no_memory) {
    std::string why = flushed ? "no memory for it" : flushed.error().message();
    return std::unexpected(Error(Errc::buffer_full, std::move(why)));
  }
  if (flushed && flush_due()) flushed = start_flush();
  if (flushed) return {};
  return std::unexpected(
      Error(Errc::flush_failed, flushed.error().message(), flushed.error().os_error()));
}

/// Completes what is under way, then sends off what is buffered.
Result<void> BatchIOManager::start_flush() {
  if (Result<std::uint64_t> earlier = complete(); !earlier) return std::unexpected(earlier.error());
  if (Result<void> closed = seal(); !closed) return closed;
  return submit();
}

Result<std::uint64_t> BatchIOManager::flush() {
  MutexLock turn(flush_mutex_);
  const Result<std::uint64_t> earlier = complete();
  if (!earlier) return earlier;
  if (Result<void> closed = seal(); !closed) return std::unexpected(closed.error());
  const Result<std::uint64_t> rest = complete();
  if (!rest) return rest;
  return *earlier + *rest;
}

std::span<std::byte> BatchIOManager::reserve(std::uint64_t offset, std::size_t size,
                                             std::uint32_t operations) {
  MutexLock lock(buffer_mutex_);
  return reserve_and_hide(offset, size, operations, operations == 0);
}

std::span<std::byte> BatchIOManager::reserve_hidden(std::uint64_t offset, std::size_t size,
                                                    std::uint32_t operations) {
  MutexLock lock(buffer_mutex_);
  filling_->buffer.reveal(std::exchange(unpublished_, {}));
  const std::span<std::byte> room = reserve_and_hide(offset, size, operations, true);
  // Headers and padding stay hidden until they are sealed.
  if (!room.empty() && operations != 0) unpublished_ = {offset, size};
  return room;
}

std::span<std::byte> BatchIOManager::reserve_and_hide(std::uint64_t offset, std::size_t size,
                                                      std::uint32_t operations, bool hide) {
  const std::span<std::byte> room = filling_->buffer.reserve(offset, size, operations);
  if (!room.empty() && hide) filling_->buffer.hide({offset, size});
  update_pending();
  return room;
}

void BatchIOManager::publish() {
  MutexLock lock(buffer_mutex_);
  filling_->buffer.reveal(std::exchange(unpublished_, {}));
}

void BatchIOManager::adopt(std::uint64_t offset, AlignedBuffer memory) {
  MutexLock lock(buffer_mutex_);
  filling_->buffer.adopt(offset, std::move(memory));
  update_pending();
}

void BatchIOManager::patch(std::span<std::byte> at, std::span<const std::byte> bytes) {
  RAWCACHE_ASSERT(bytes.size() <= at.size());
  MutexLock lock(buffer_mutex_);
  std::memcpy(at.data(), bytes.data(), bytes.size());
}

bool BatchIOManager::flush_due() const {
  MutexLock lock(buffer_mutex_);
  return filling_->buffer.flush_due();
}

bool BatchIOManager::can_seal() const {
  MutexLock lock(buffer_mutex_);
  return sealed_.empty() && !recycling_;
}

Result<void> BatchIOManager::seal() {
  MutexLock lock(buffer_mutex_);
  if (filling_->buffer.empty()) return {};
  if (!sealed_.empty() || recycling_) {
    return std::unexpected(Error(Errc::buffer_full, "an earlier buffer is not durable yet"));
  }
  RAWCACHE_ASSERT(spare_ != nullptr);
  filling_->buffer.reveal_all();
  unpublished_ = {};
  sealed_.push_back(std::exchange(filling_, std::move(spare_)));
  return {};
}

Result<void> BatchIOManager::submit() {
  if (const Result<Slot*> started = start_sealed(); !started)
    return std::unexpected(started.error());
  return {};
}

/// Sees to it that what is sealed is under way and returns it; null if nothing is sealed.
Result<BatchIOManager::Slot*> BatchIOManager::start_sealed() {
  Slot* slot = nullptr;
  {
    MutexLock lock(buffer_mutex_);
    if (sealed_.empty()) return nullptr;
    slot = sealed_.front().get();
    if (slot->under_way()) return slot;
    slot->state = Slot::State::starting;
  }
  const Result<void> started = start_writes(*slot);
  MutexLock lock(buffer_mutex_);
  slot->state = started ? Slot::State::in_flight : Slot::State::waiting;
  slot->plan_bytes = slot->plan.memory_bytes();
  if (!started) return std::unexpected(started.error());
  return slot;
}

Result<void> BatchIOManager::start_writes(Slot& slot) {
  // A plan is kept for the next try: after a failed write the other bytes of a block that was
  // written in part may be gone from the disk, and the plan still has them.
  if (!slot.planned) {
    if (!slot.plan.make(slot.buffer.writes(), alignment_, disk_.info().memory_alignment)) {
      return std::unexpected(Error(Errc::out_of_memory, "gathering small writes"));
    }
    if (!slot.plan.edge_reads().empty()) {
      IoBatch reads;
      reads.requests = slot.plan.edge_reads();
      if (Result<void> read = disk_.run(reads); !read) return read;
    }
  }
  {
    MutexLock lock(buffer_mutex_);
    slot.planned = true;
    // Again at every try, because the caller may have changed the bytes in between.
    slot.plan.gather();
  }
  slot.io = {};
  slot.io.requests = slot.plan.writes();
  return disk_.submit(slot.io);
}

Result<std::uint64_t> BatchIOManager::complete() {
  const Result<Slot*> started = start_sealed();
  if (!started) return std::unexpected(started.error());
  if (*started == nullptr) return 0;
  if (Result<void> finished = finish_writes(**started); !finished) {
    MutexLock lock(buffer_mutex_);
    (*started)->state = Slot::State::waiting;
    return std::unexpected(finished.error());
  }

  std::unique_ptr<Slot> durable;
  {
    MutexLock lock(buffer_mutex_);
    durable = std::move(sealed_.front());
    sealed_.pop_front();
    recycling_ = true;
    update_pending();
  }
  // No reader can find it any more: readers look and copy under the lock.
  const std::uint64_t operations = durable->buffer.operations();
  durable->buffer.clear();
  durable->plan.clear();
  durable->planned = false;
  durable->state = Slot::State::waiting;
  MutexLock lock(buffer_mutex_);
  spare_ = std::move(durable);
  recycling_ = false;
  return operations;
}

Result<void> BatchIOManager::finish_writes(Slot& slot) {
  disk_.wait(slot.io, slot.io.under_way);
  for (const IoRequest& request : slot.io.requests) {
    if (request.os_error != 0) return std::unexpected(failure_of(request));
  }
  return disk_.sync();
}

Result<std::vector<WriteBuffer>> BatchIOManager::take_all(std::uint64_t more_bytes) {
  auto filling = std::make_unique<Slot>(limits_, more_bytes);
  auto spare = std::make_unique<Slot>(limits_, more_bytes);
  if (!filling->buffer.ok() || !spare->buffer.ok()) {
    return std::unexpected(Error(Errc::out_of_memory, "write buffer"));
  }
  std::vector<WriteBuffer> taken;
  MutexLock lock(buffer_mutex_);
  for (const std::unique_ptr<Slot>& slot : sealed_) {
    RAWCACHE_ASSERT(!slot->under_way());
    taken.push_back(std::move(slot->buffer));
  }
  sealed_.clear();
  taken.push_back(std::move(filling_->buffer));
  filling_ = std::move(filling);
  spare_ = std::move(spare);
  unpublished_ = {};
  update_pending();
  return taken;
}

void BatchIOManager::discard() {
  MutexLock lock(buffer_mutex_);
  filling_->buffer.clear();
  unpublished_ = {};
  if (!sealed_.empty() && !sealed_.front()->under_way()) {
    spare_ = std::move(sealed_.front());
    sealed_.pop_front();
    spare_->buffer.clear();
    spare_->plan.clear();
    spare_->planned = false;
  }
  update_pending();
}

void BatchIOManager::update_pending() {
  pending_.store(!filling_->buffer.empty() || !sealed_.empty(), std::memory_order_release);
}

BatchIOCounts BatchIOManager::counts() const {
  BatchIOCounts counts;
  MutexLock lock(buffer_mutex_);
  const auto add = [&](const Slot& slot) {
    counts.memory_bytes += slot.buffer.memory_bytes() + slot.plan_bytes;
    if (slot.under_way()) {
      counts.in_flight_operations += slot.buffer.operations();
    } else {
      counts.pending_operations += slot.buffer.operations();
      counts.pending_bytes += slot.buffer.bytes();
    }
  };
  add(*filling_);
  if (spare_ != nullptr) add(*spare_);
  for (const std::unique_ptr<Slot>& slot : sealed_) add(*slot);
  return counts;
}

}  // namespace rawcache
