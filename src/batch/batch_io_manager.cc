#include "batch/batch_io_manager.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "batch/merge.h"
#include "batch/write_plan.h"

namespace rawcache {

// `state`, `planned` and `plan_bytes` are guarded by buffer_mutex_, and so is the plan once it is
// planned. The buffer is too while it fills; once sealed it is constant until it is durable. The
// rest belongs to the flusher.
struct BatchIOManager::Slot {
  explicit Slot(const BatchLimits& limits, std::uint64_t more_bytes = 0)
      : buffer(limits, more_bytes) {}

  bool under_way() const { return state != State::waiting; }

  /// Blocks that are written only in part are undefined on the device until that write has
  /// succeeded. Until then the bytes beside the buffered ones are found here.
  bool edges_overlap(const Extent& extent) const {
    return planned && std::ranges::any_of(plan.edge_reads(), [&](const IoRequest& edge) {
             return edge.offset < extent.end() && extent.offset < edge.offset + edge.size;
           });
  }
  void read_edges(const Extent& extent, std::span<std::byte> into,
                  std::vector<Extent>& covered) const {
    if (!planned) return;
    for (const IoRequest& edge : plan.edge_reads()) {
      const std::uint64_t begin = std::max(edge.offset, extent.offset);
      const std::uint64_t end = std::min(edge.offset + edge.size, extent.end());
      if (begin >= end) continue;
      std::memcpy(into.data() + (begin - extent.offset), edge.data + (begin - edge.offset),
                  end - begin);
      covered.push_back({begin, end - begin});
    }
  }

  enum class State : std::uint8_t { waiting, starting, in_flight };
  WriteBuffer buffer;
  State state = State::waiting;
  std::uint64_t plan_bytes = 0;
  WritePlan plan;
  bool planned = false;  ///< the plan is made and its blocks have been read
  IoBatch io;
};

/// A part of a request that the device has to serve.
struct BatchIOManager::Piece {
  Extent extent;
  std::uint32_t answer = 0;
  std::byte* copy_to = nullptr;  ///< null: the answer is a view of what was read
};

namespace {

Error failure_of(const IoRequest& request) {
  const bool full = request.os_error == ENOSPC || request.os_error == EDQUOT;
  std::string what = request.kind == IoRequest::Kind::read ? "read of " : "write of ";
  what.append(std::to_string(request.size)).append(" bytes at ");
  what.append(std::to_string(request.offset));
  return {full ? Errc::no_space : Errc::io_error, std::move(what), request.os_error};
}

void fail(ReadAnswer& answer, Error error) {
  answer.bytes = std::unexpected(std::move(error));
  answer.lease.reset();
  answer.lease_bytes = 0;
}

void give(ReadAnswer& answer, const IoLease& lease, std::span<const std::byte> bytes) {
  answer.bytes = bytes;
  answer.lease = lease.owner;
  answer.lease_bytes = lease.bytes.size();
}

}  // namespace

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

// ---- Writing
// ----------------------------------------------------------------------------------------

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

// ---- Reading
// ----------------------------------------------------------------------------------------

Result<Extent> BatchIOManager::inside_disk(const Extent& extent) const {
  if (extent.size == 0 || extent.offset >= disk_end_) {
    return std::unexpected(Error(
        Errc::invalid_io,
        "read of " + std::to_string(extent.size) + " bytes at " + std::to_string(extent.offset)));
  }
  return Extent{extent.offset, std::min(extent.size, disk_end_ - extent.offset)};
}

Extent BatchIOManager::widened(const Extent& extent) const {
  const std::uint64_t begin = round_down(extent.offset, alignment_);
  return {begin, round_up(extent.end(), alignment_) - begin};
}

bool BatchIOManager::is_pending(const Extent& extent) const {
  return filling_->buffer.overlaps(extent) || std::ranges::any_of(sealed_, [&](const auto& slot) {
           return slot->buffer.overlaps(extent) || slot->edges_overlap(extent);
         });
}

ReadAnswer BatchIOManager::read(const Extent& extent, Whole whole) {
  ReadAnswer answer;
  const Result<Extent> inside = inside_disk(extent);
  if (!inside) {
    fail(answer, inside.error());
    return answer;
  }
  bool pending = pending_.load(std::memory_order_acquire);
  if (pending) {
    MutexLock lock(buffer_mutex_);
    pending = is_pending(*inside);
  }
  if (!pending) {
    read_alone({*inside, 0}, answer);
    return answer;
  }
  std::vector<Piece> pieces{{*inside, 0}};
  serve_pending(pieces, {&answer, 1}, whole);
  read_merged(pieces, {&answer, 1});
  return answer;
}

std::vector<ReadAnswer> BatchIOManager::read(std::span<const Extent> extents, Whole whole) {
  std::vector<ReadAnswer> answers(extents.size());
  if (extents.size() == 1) {
    answers[0] = read(extents[0], whole);
    return answers;
  }
  std::vector<Piece> pieces;
  pieces.reserve(extents.size());
  for (std::uint32_t i = 0; i < extents.size(); ++i) {
    if (const Result<Extent> inside = inside_disk(extents[i])) {
      pieces.push_back({*inside, i});
    } else {
      fail(answers[i], inside.error());
    }
  }
  if (pending_.load(std::memory_order_acquire)) serve_pending(pieces, answers, whole);
  read_merged(pieces, answers);
  return answers;
}

/// Answers what is pending from memory. Leaves in `pieces` what the device has to serve: requests
/// of which nothing is pending, and the holes of those of which a part is.
///
/// Both are then safe to read without the lock: bytes that were not pending at this moment are on
/// the disk, because they are forgotten only once they are durable; those that were have been
/// copied.
void BatchIOManager::serve_pending(std::vector<Piece>& pieces, std::span<ReadAnswer> answers,
                                   Whole whole) {
  const auto none_pending = [&](const Piece& piece)
                                REQUIRES(buffer_mutex_) { return !is_pending(piece.extent); };
  std::vector<Piece> wanted;
  {
    MutexLock lock(buffer_mutex_);
    const auto split = std::partition(pieces.begin(), pieces.end(), none_pending);
    wanted.assign(split, pieces.end());
    pieces.erase(split, pieces.end());
  }
  // Memory is found without the lock. What became durable meanwhile is one large hole.
  std::vector<IoLease> leases;
  leases.reserve(wanted.size());
  for (const Piece& piece : wanted) leases.push_back(lease_to_copy(piece.extent.size));

  std::vector<Extent> covered;
  MutexLock lock(buffer_mutex_);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Piece& piece = wanted[i];
    ReadAnswer& answer = answers[piece.answer];
    if (!leases[i]) {
      fail(answer, {Errc::out_of_memory, "reading what is buffered"});
      continue;
    }
    const std::span<std::byte> into = leases[i].bytes.first(piece.extent.size);
    covered.clear();
    for (const auto& slot : sealed_) {
      slot->read_edges(piece.extent, into, covered);
      slot->buffer.read(piece.extent.offset, into, covered);
    }
    filling_->buffer.read(piece.extent.offset, into, covered);
    const std::vector<Extent> holes = uncovered(piece.extent, covered);
    if (whole == Whole::start && !holes.empty() && holes.front().offset > piece.extent.offset) {
      give(answer, leases[i], into.first(holes.front().offset - piece.extent.offset));
      continue;
    }
    give(answer, leases[i], into);
    for (const Extent& hole : holes) {
      pieces.push_back({hole, piece.answer, into.data() + (hole.offset - piece.extent.offset)});
    }
  }
}

/// Hands a piece its bytes out of a read of `extent` into `lease`.
void BatchIOManager::hand_out(const Piece& piece, const Extent& extent, const IoLease& lease,
                              ReadAnswer& answer) {
  const auto bytes = lease.bytes.subspan(piece.extent.offset - extent.offset, piece.extent.size);
  if (piece.copy_to == nullptr) {
    give(answer, lease, bytes);
  } else if (answer.bytes) {  // else another hole could not be read, and the memory is gone
    std::memcpy(piece.copy_to, bytes.data(), bytes.size());
  }
}

void BatchIOManager::read_merged(std::span<const Piece> pieces, std::span<ReadAnswer> answers) {
  if (pieces.empty()) return;
  if (pieces.size() == 1) return read_alone(pieces[0], answers[pieces[0].answer]);
  std::vector<Extent> extents;
  extents.reserve(pieces.size());
  for (const Piece& piece : pieces) extents.push_back(piece.extent);
  const std::vector<MergedRead> merged = merge_reads(extents, read_gap_bytes_, alignment_);

  IoBatch batch;
  std::vector<IoLease> leases(merged.size());
  batch.requests.reserve(merged.size());
  for (std::size_t i = 0; i < merged.size(); ++i) {
    const Extent& extent = merged[i].extent;
    leases[i] = lease_to_read(extent.size);
    if (leases[i]) {
      batch.requests.push_back(
          {.offset = extent.offset, .data = leases[i].bytes.data(), .size = extent.size});
    }
  }
  const Result<void> started = disk_.submit(batch);
  if (started) disk_.wait(batch, batch.under_way);

  std::size_t request = 0;
  for (std::size_t i = 0; i < merged.size(); ++i) {
    const IoRequest* const io = leases[i] ? &batch.requests[request++] : nullptr;
    for (const std::uint32_t index : merged[i].requests) {
      const Piece& piece = pieces[index];
      ReadAnswer& answer = answers[piece.answer];
      if (io == nullptr) {
        fail(answer, {Errc::out_of_memory, "memory for reading"});
      } else if (!started) {
        fail(answer, started.error());
      } else if (io->os_error == 0) {
        hand_out(piece, merged[i].extent, leases[i], answer);
      } else if (merged[i].requests.size() > 1) {
        read_alone(piece, answer);  // one bad sector must not fail its neighbours
      } else {
        fail(answer, failure_of(*io));
      }
    }
  }
}

void BatchIOManager::read_alone(const Piece& piece, ReadAnswer& answer) {
  const Extent extent = widened(piece.extent);
  const IoLease lease = lease_to_read(extent.size);
  if (!lease) return fail(answer, {Errc::out_of_memory, "memory for reading"});
  if (Result<void> read = disk_.read(extent.offset, lease.bytes.first(extent.size)); !read) {
    return fail(answer, read.error());
  }
  hand_out(piece, extent, lease, answer);
}

IoLease BatchIOManager::lease_to_read(std::size_t size) {
  IoLease lease = arena_->lease(size);
  return lease ? lease : arena_->heap_lease(size, true);
}

/// Memory for bytes that are copied: a small answer should not hold a page of the arena.
IoLease BatchIOManager::lease_to_copy(std::size_t size) {
  const bool small = size < IoArena::kPageBytes;
  IoLease lease = small ? arena_->heap_lease(size, false) : arena_->lease(size);
  if (lease) return lease;
  return small ? arena_->lease(size) : arena_->heap_lease(size, false);
}

}  // namespace rawcache
