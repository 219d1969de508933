#include "batch/batch_io_manager.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"
#include "batch/buffer_slot.h"
#include "batch/merge.h"

namespace rawcache {
namespace {

/// So many flushes make way for reads after the device was read from last: one read may take as
/// long as several flushes that do not.
constexpr unsigned kFlushesReadsFirst = 4;

}  // namespace

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
  auto filling = manager->make_slot(0);
  auto spare = manager->make_slot(0);
  for (const auto* slot : {&filling, &spare}) {
    if (!*slot) return std::unexpected(slot->error());
  }
  WriteLock lock(manager->buffer_mutex_);
  manager->spares_.reserve(kSealedBuffersMax + 2);  // all that there can be
  manager->filling_ = std::move(*filling);
  manager->spares_.push_back(std::move(*spare));
  return manager;
}

Result<std::unique_ptr<BatchIOManager::Slot>> BatchIOManager::make_slot(
    std::uint64_t more_bytes) const try {
  auto slot = std::make_unique<Slot>(limits_, more_bytes);
  if (slot->buffer.ok()) return slot;
  return std::unexpected(Error(Errc::out_of_memory,
                               "write buffer of " + std::to_string(limits_.max_bytes) + " bytes"));
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

BatchIOManager::BatchIOManager(Disk& disk, const BatchLimits& limits,
                               std::shared_ptr<IoArena> arena, std::uint64_t read_gap_bytes)
    : disk_(disk),
      limits_(limits),
      arena_(std::move(arena)),
      read_gap_bytes_(std::min(read_gap_bytes, kReadGapBytesMax)),
      alignment_(disk.info().io_alignment),
      disk_end_(round_down(disk.info().size_bytes, alignment_)),
      target_bytes_(limits.max_bytes) {}

BatchIOManager::~BatchIOManager() {
  // The device must be done with the memory before it is freed.
  for (const std::unique_ptr<Slot>& slot : sealed_) disk_.wait(slot->io, slot->io.under_way);
  disk_.wait(sync_, sync_.under_way);
}

BatchIOManager::Accepted BatchIOManager::accept(std::uint64_t offset,
                                                std::span<const std::byte> bytes) {
  WriteLock lock(buffer_mutex_);
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

/// Closes what is buffered; when all buffers are taken, completes some of them first. Returns the
/// operations found durable by that.
Result<std::uint64_t> BatchIOManager::close_filling() {
  const Completed some = make_room();
  if (!some.outcome) return std::unexpected(some.outcome.error());
  if (const Result<bool> closed = seal(); !closed) return std::unexpected(closed.error());
  return some.operations;
}

Result<void> BatchIOManager::start_flush() {
  if (const auto closed = close_filling(); !closed) return std::unexpected(closed.error());
  const Result<void> submitted = submit();
  if (!submitted) halt();
  return submitted;
}

Result<std::uint64_t> BatchIOManager::flush() {
  MutexLock turn(flush_mutex_);
  const Result<std::uint64_t> earlier = close_filling();
  if (!earlier) return earlier;
  const Completed rest = complete();
  if (!rest.outcome) return std::unexpected(rest.outcome.error());
  return *earlier + rest.operations;
}

std::span<std::byte> BatchIOManager::reserve(std::uint64_t offset, std::size_t size,
                                             std::uint32_t operations) {
  WriteLock lock(buffer_mutex_);
  const std::span<std::byte> room = filling_->buffer.reserve(offset, size, operations);
  if (!room.empty() && operations == 0) filling_->buffer.hide({offset, size});
  update_pending();
  return room;
}

// What is looked at without the lock here is changed by the caller alone.
std::span<std::byte> BatchIOManager::prepare(std::uint64_t offset, std::size_t size) {
  const std::span<std::byte> behind = filling_->buffer.prepare_behind(offset, size);
  if (!behind.empty()) return behind;
  WriteLock lock(buffer_mutex_);
  return filling_->buffer.prepare(offset, size);
}

void BatchIOManager::commit() {
  if (filling_->buffer.commit_behind()) {
    update_flush_due();
    return;
  }
  WriteLock lock(buffer_mutex_);
  filling_->buffer.commit();
  update_pending();
}

void BatchIOManager::adopt(std::uint64_t offset, AlignedBuffer memory) {
  WriteLock lock(buffer_mutex_);
  filling_->buffer.adopt(offset, std::move(memory));
  update_pending();
}

bool BatchIOManager::can_seal() {
  if (sealed_.size() >= kSealedBuffersMax) return false;
  if (!spares_.empty()) return true;
  auto another = make_slot(0);
  if (!another) return false;
  WriteLock lock(buffer_mutex_);
  spares_.push_back(std::move(*another));
  return true;
}

bool BatchIOManager::has_sealed() const {
  ReadLock lock(buffer_mutex_);
  return !sealed_.empty();
}

std::uint64_t BatchIOManager::seals_done() const {
  ReadLock lock(buffer_mutex_);
  return seals() - sealed_.size();
}

Result<bool> BatchIOManager::seal() {
  const bool possible = can_seal();
  WriteLock lock(buffer_mutex_);
  if (filling_->buffer.empty()) return false;
  if (!possible) {
    return std::unexpected(Error(Errc::buffer_full, "earlier buffers are not durable yet"));
  }
  sealed_.emplace_back();  // before anything changes: there may be no memory for it
  filling_->buffer.close();
  sealed_.back() = std::exchange(filling_, std::move(spares_.back()));
  spares_.pop_back();
  update_pending();
  seals_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

BatchIOManager::SealedSlots BatchIOManager::sealed() const {
  SealedSlots sealed;
  for (const std::unique_ptr<Slot>& slot : sealed_) sealed.slots[sealed.count++] = slot.get();
  return sealed;
}

Result<void> BatchIOManager::submit() {
  const SealedSlots waiting = sealed();
  const std::span<Slot* const> slots = waiting.all();
  for (auto slot = slots.begin(); slot != slots.end(); ++slot) {
    if ((*slot)->under_way()) continue;
    // Writes of the same blocks must not pass each other, nor the reading of what they share.
    const auto overlaps = [&](const Slot* earlier) {
      return (*slot)->touches(*earlier, alignment_);
    };
    if (std::any_of(slots.begin(), slot, overlaps) && !mutated(Mutant::kWritesPassEachOther)) {
      break;
    }
    (*slot)->state.set(Slot::State::starting);
    (*slot)->begun = std::chrono::steady_clock::now();
    const Result<void> started = start_writes(**slot);
    (*slot)->state.set(started ? Slot::State::in_flight : Slot::State::waiting);
    (*slot)->plan_bytes.set((*slot)->plan.memory_bytes());
    if (!started) return started;
  }
  return {};
}

// Without memory for its plan or its requests nothing has started.
Result<void> BatchIOManager::start_writes(Slot& slot) try {
  // A plan is kept for the next try: after a failed write the other bytes of a block that was
  // written in part may be gone from the disk, and the plan still has them.
  if (!slot.planned) {
    if (!slot.plan.make(slot.buffer.writes(), alignment_, disk_.info().memory_alignment)) {
      return std::unexpected(Error(Errc::out_of_memory, "gathering small writes"));
    }
    if (!slot.plan.edge_reads().empty() && !mutated(Mutant::kEdgesNotRead)) {
      IoBatch reads;
      reads.requests = slot.plan.edge_reads();
      if (Result<void> read = disk_.run(reads); !read) return read;
    }
  }
  slot.planned = true;
  // Gathered again at every try, because the caller may have changed the bytes in between.
  if (slot.plan.edge_reads().empty()) {
    slot.plan.gather();
  } else {
    WriteLock lock(buffer_mutex_);
    slot.has_edges = true;
    slot.plan.gather();
    edge_writes_.fetch_add(1, std::memory_order_release);
  }
  const bool read = device_read_.exchange(false, std::memory_order_relaxed);
  flushes_reads_first_ = read ? kFlushesReadsFirst : std::max(flushes_reads_first_, 1u) - 1;
  slot.io.requests = slot.plan.writes();
  slot.io.in_turn = flushes_reads_first_ > 0;
  return disk_.submit(slot.io);
} catch (const std::bad_alloc&) {
  slot.io = {};  // a disk may have begun before it found no memory
  return std::unexpected(Errc::out_of_memory);
}

void BatchIOManager::forget(std::size_t buffers) {
  std::array<std::unique_ptr<Slot>, kSealedBuffersMax> durable;
  {
    WriteLock lock(buffer_mutex_);
    for (std::size_t i = 0; i < buffers; ++i) {
      durable[i] = std::move(sealed_.front());
      sealed_.pop_front();
    }
    update_pending();
  }
  // No reader can find them any more: readers look and copy under the lock.
  for (std::size_t i = 0; i < buffers; ++i) recycle(std::move(durable[i]));
}

void BatchIOManager::recycle(std::unique_ptr<Slot> slot) {
  slot->buffer.clear();
  slot->plan.clear();
  slot->planned = false;
  slot->has_edges = false;
  slot->state.set(Slot::State::waiting);
  // One that was made larger than others is not kept.
  if (slot->buffer.memory_bytes() > limits_.max_bytes + WriteBuffer::kReserveBytes) return;
  WriteLock lock(buffer_mutex_);
  spares_.push_back(std::move(slot));
}

void BatchIOManager::halt() {
  disk_.wait(sync_, sync_.under_way);
  syncing_ = 0;
  const SealedSlots waiting = sealed();
  for (Slot* slot : waiting.all()) {
    if (slot->under_way()) disk_.wait(slot->io, slot->io.under_way);
    if (!mutated(Mutant::kOnlySyncedAgain)) slot->state.set(Slot::State::waiting);
  }
}

Result<std::vector<WriteBuffer>> BatchIOManager::take_all(std::uint64_t batch_bytes) try {
  const std::uint64_t more_bytes = std::max(batch_bytes, limits_.max_bytes) - limits_.max_bytes;
  std::vector<std::unique_ptr<Slot>> fresh;
  fresh.reserve(kSealedBuffersMax + 2);
  for (std::size_t needed = sealed().count + 2; needed > 0; --needed) {
    auto slot = make_slot(more_bytes);
    if (!slot) return std::unexpected(slot.error());
    fresh.push_back(std::move(*slot));
  }
  std::vector<WriteBuffer> taken;
  taken.reserve(kSealedBuffersMax + 1);
  WriteLock lock(buffer_mutex_);
  for (const std::unique_ptr<Slot>& slot : sealed_) {
    RAWCACHE_ASSERT(!slot->under_way());
    taken.push_back(std::move(slot->buffer));
  }
  sealed_.clear();
  taken.push_back(std::move(filling_->buffer));
  filling_ = std::move(fresh.back());
  fresh.pop_back();
  spares_ = std::move(fresh);
  update_pending();
  return taken;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

void BatchIOManager::discard() {
  {
    WriteLock lock(buffer_mutex_);
    RAWCACHE_ASSERT(std::ranges::none_of(sealed_, [](auto& slot) { return slot->under_way(); }));
    filling_->buffer.clear();
  }
  forget(sealed().count);
}

void BatchIOManager::set_target(std::uint64_t bytes) {
  target_bytes_.store(bytes, std::memory_order_relaxed);
}

void BatchIOManager::update_flush_due() {
  const WriteBuffer& buffer = filling_->buffer;
  flush_due_.store(buffer.flush_due() || buffer.bytes() >= target_bytes(),
                   std::memory_order_relaxed);
}

void BatchIOManager::update_pending() {
  update_flush_due();
  pending_.store(!filling_->buffer.empty() || !sealed_.empty(), std::memory_order_release);
}

BatchIOCounts BatchIOManager::counts() const {
  BatchIOCounts counts;
  ReadLock lock(buffer_mutex_);
  const auto add = [&](const Slot& slot) {
    counts.memory_bytes += slot.buffer.memory_bytes() + slot.plan_bytes.get();
    if (slot.under_way()) {
      counts.in_flight_operations += slot.buffer.operations();
    } else {
      counts.pending_operations += slot.buffer.operations();
      counts.pending_bytes += slot.buffer.bytes();
    }
  };
  add(*filling_);
  for (const std::unique_ptr<Slot>& slot : spares_) add(*slot);
  for (const std::unique_ptr<Slot>& slot : sealed_) add(*slot);
  counts.sealed_buffers = static_cast<std::uint32_t>(sealed_.size());
  return counts;
}

}  // namespace rawcache
