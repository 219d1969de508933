// BatchIOManager: a disk with a write buffer in front. Many small writes become few large ones with
// one sync, many reads one submission. It knows offsets and bytes, no keys.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/io_arena.h"
#include "base/mutex.h"
#include "base/shared_mutex.h"
#include "batch/write_buffer.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

/// One answer of BatchIOManager::read. `bytes` are those of the extent asked for, or fewer only
/// where the disk ends; they live in `lease`, which may be larger and shared with other answers.
struct ReadAnswer {
  Result<std::span<const std::byte>> bytes = std::unexpected(Errc::io_error);
  std::shared_ptr<const void> lease;
  std::size_t lease_bytes = 0;  ///< memory that `lease` keeps; tells when copying out is better
};

struct BatchIOCounts {
  std::uint32_t pending_operations = 0;    ///< in the filling buffer and in failed ones
  std::uint32_t in_flight_operations = 0;  ///< submitted, not yet known to be durable
  std::uint64_t pending_bytes = 0;         ///< those of pending_operations
  std::uint32_t sealed_buffers = 0;        ///< not durable yet, under way or not
  std::uint64_t memory_bytes = 0;          ///< of all write buffers
};

/// Sealed buffers that are not durable yet, at most: so many are on their way to the device while
/// another one fills. When all are taken, the oldest is waited for, and synced with whatever else
/// has been written by then.
inline constexpr std::size_t kSealedBuffersMax = 4;

/// What one BatchIOManager::complete, make_room or progress has found to be durable.
struct Completed {
  std::uint64_t operations = 0;
  std::size_t buffers = 0;  ///< as many calls of seal()
  std::uint64_t bytes = 0;
  std::uint64_t busy_ns = 0;  ///< from the start of the first of its writes until now
  std::uint64_t sync_ns = 0;  ///< from the start of syncs until their end was seen
  Result<void> outcome;       ///< an error came after what the rest tells of
};

/// Threads: all functions may be called from any thread. Reads never wait for writes. Of the
/// writing functions can_seal, seal, submit, progress, make_room, complete, halt, take_all, discard
/// belong together and are for one flusher at a time (the caller sees to that); write and flush see
/// to it themselves, and do not mix with the others.
///
/// Life of a write: reserve/write -> (filling) -> seal -> (sealed) -> submit -> (in flight) ->
/// complete -> durable and forgotten. Buffers become durable in the order in which they were
/// sealed, or together. After a failure of any write or of a sync everything sealed goes back to
/// (sealed): nothing is lost, and the next submit writes all of it again before the next sync.
/// Reads see all of it, newest first.
class BatchIOManager {
 public:
  /// `disk` must outlive it. Two buffers are allocated at once, others when they are needed. Gaps
  /// that reads bridge are at most kReadGapBytesMax whatever is asked for. Errors: out_of_memory.
  static Result<std::unique_ptr<BatchIOManager>> create(Disk& disk, const BatchLimits& limits,
                                                        std::shared_ptr<IoArena> arena,
                                                        std::uint64_t read_gap_bytes);
  /// Waits for writes under way; what is not durable is lost.
  ~BatchIOManager();
  BatchIOManager(const BatchIOManager&) = delete;
  BatchIOManager& operator=(const BatchIOManager&) = delete;

  // The simple way: any byte offsets, any sizes.

  /// Buffers a copy of `bytes` at `offset`; if a limit is reached by it, starts a flush without
  /// waiting for it (but for earlier ones while all buffers are taken). Errors: invalid_io: empty
  /// or outside the disk; flush_failed: accepted, but this or an earlier flush failed; buffer_full:
  /// not accepted.
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) EXCLUDES(flush_mutex_);
  /// Makes everything buffered durable: sort, merge, write, one sync (and one more if an earlier
  /// flush was still under way). Returns the operations made durable. Errors: io_error, no_space,
  /// sync_failed, out_of_memory; nothing left the buffer.
  Result<std::uint64_t> flush() EXCLUDES(flush_mutex_);

  // The steps, for a caller that encodes into the buffer and closes batches itself.

  /// Room in the filling buffer (see WriteBuffer::reserve). Empty: seal first. Reads see it at
  /// once, so they must not touch it before it is filled; where `operations` is 0 (headers,
  /// padding) they find zeros until the buffer is sealed. It must be filled before that.
  std::span<std::byte> reserve(std::uint64_t offset, std::size_t size,
                               std::uint32_t operations = 1);
  /// The same for one operation in two steps, so that reads see it only when it has been filled:
  /// commit() buffers what prepare() has handed out. Nothing may be reserved or sealed in between;
  /// what is never committed was never taken.
  std::span<std::byte> prepare(std::uint64_t offset, std::size_t size) NO_THREAD_SAFETY_ANALYSIS;
  void commit() NO_THREAD_SAFETY_ANALYSIS;
  void adopt(std::uint64_t offset, AlignedBuffer memory);
  /// Calls `change`, which changes bytes that are buffered and not under way (they lie in what
  /// reserve or adopt took), while no read looks at them.
  template <typename Change>
  void patch(const Change& change) {
    WriteLock lock(buffer_mutex_);
    change();
  }
  /// A flush is due at this many bytes already (or at the limits).
  void set_target(std::uint64_t bytes);
  std::uint64_t target_bytes() const { return target_bytes_.load(std::memory_order_relaxed); }
  bool flush_due() const { return flush_due_.load(std::memory_order_relaxed); }
  /// Whether seal has a buffer to go on with (allocates it if need be).
  bool can_seal() NO_THREAD_SAFETY_ANALYSIS;
  bool has_sealed() const;
  /// Buffers sealed so far.
  std::uint64_t seals() const { return seals_.load(std::memory_order_relaxed); }
  /// Those of them that are durable, or have been taken or discarded.
  std::uint64_t seals_done() const;
  /// Closes the filling buffer and goes on with a fresh one. False: it was empty, nothing changed.
  /// Errors: buffer_full while can_seal() says no.
  Result<bool> seal();
  /// Starts the writes of what is sealed and not under way, but for those that overlap writes under
  /// way. Blocks that are written only in part are read first and written whole. Never waits for
  /// writes. Errors: io_error (of those reads), out_of_memory, invalid_io (something lies outside
  /// the disk).
  Result<void> submit();
  /// On a disk with syncs in the background: starts the writes that submit or a failure has left,
  /// forgets what has become durable meanwhile and has the next sync started, so that between two
  /// calls the device writes, syncs and a buffer fills, all at once. Never waits. Errors: those of
  /// complete.
  Completed progress();
  /// progress, and makes can_seal() true, if memory allows it. Waits only if all buffers are taken.
  Completed make_room();
  /// Waits for the writes of all sealed buffers (starting those that submit has not), syncs, and
  /// forgets them; without a sync if nothing was sealed. Errors: io_error, no_space,
  /// sync_failed, and those of submit; then nothing is under way any more and everything sealed
  /// will be written again.
  Completed complete();
  /// Waits for what is under way; none of it counts as written.
  void halt();
  /// Gives up everything buffered, sealed (after halt or a failed complete) and filling;
  /// returns it, oldest first, so that the caller can place its content elsewhere. Nothing of it is
  /// read or written any more. As many buffers as may be needed for that follow, with room for
  /// `batch_bytes` if that is more than the limits have. Error: out_of_memory, then nothing has
  /// changed.
  Result<std::vector<WriteBuffer>> take_all(std::uint64_t batch_bytes = 0);
  /// Drops everything, durable or not. Nothing may be under way.
  void discard();

  /// One answer per extent, in order. Pending bytes are served from memory, the rest in merged
  /// reads, all in flight together up to the depth that pays. Extents are cut at the end of the
  /// disk. Errors per extent: io_error, out_of_memory, invalid_io (empty, or outside the disk).
  /// Whole::start: where the start of an extent is buffered, the answer may end where that write
  /// does.
  enum class Whole : bool { start, extent };
  std::vector<ReadAnswer> read(std::span<const Extent> extents, Whole whole = Whole::extent);
  /// The same with each answer handed out as it comes, in any order, while other reads are under
  /// way: what is done with it, it may be moved away, costs no time of the device.
  using OnAnswer = std::function<void(std::size_t extent, ReadAnswer& answer)>;
  void read(std::span<const Extent> extents, Whole whole, const OnAnswer& on_answer);
  /// The same for one, without allocating more than the memory read into.
  ReadAnswer read(const Extent& extent, Whole whole = Whole::extent);
  /// Answers from what is buffered, up to the end of the write that the start of `extent` is in.
  /// False: it is not there, or it is not that simple and read() must see to it.
  bool read_buffered(const Extent& extent, ReadAnswer& answer);

  BatchIOCounts counts() const;

 private:
  struct Slot;  // a write buffer and what becomes of it once sealed
  struct Piece;
  struct Reads;
  enum class Accepted : std::uint8_t { yes, and_flush_due, no_room, no_memory };
  BatchIOManager(Disk& disk, const BatchLimits& limits, std::shared_ptr<IoArena> arena,
                 std::uint64_t read_gap_bytes);

  Accepted accept(std::uint64_t offset, std::span<const std::byte> bytes);
  Result<std::uint64_t> close_filling() REQUIRES(flush_mutex_);
  Result<void> start_flush() REQUIRES(flush_mutex_);
  Result<std::unique_ptr<Slot>> make_slot(std::uint64_t more_bytes) const;
  /// Flushers only: the sealed buffers, oldest first. They change in the flusher's hands alone, so
  /// it looks without the lock.
  struct SealedSlots;
  SealedSlots sealed() const NO_THREAD_SAFETY_ANALYSIS;
  Result<void> start_writes(Slot& slot);
  Result<void> wait_for_writes(std::span<Slot* const> slots);
  Result<std::size_t> written();
  void start_sync(std::size_t buffers);
  Result<void> finish_sync(Completed& completed);
  Result<void> sync_now(std::size_t buffers, Completed& completed);
  void note_synced(std::size_t buffers, Completed& completed);
  Result<void> sync_oldest(std::size_t buffers, Completed& completed);
  Result<void> advance(Completed& completed);
  void forget(std::size_t buffers);
  void recycle(std::unique_ptr<Slot> slot);
  void update_flush_due() REQUIRES(buffer_mutex_);
  void update_pending() REQUIRES(buffer_mutex_);

  ReadAnswer read_once(const Extent& extent, Whole whole);
  void read_once(std::span<const Extent> extents, Whole whole, const OnAnswer& on_answer);
  Result<Extent> inside_disk(const Extent& extent) const;
  Extent widened(const Extent& extent) const;
  bool is_pending(const Extent& extent) const REQUIRES_SHARED(buffer_mutex_);
  std::span<const std::byte> pending_view(const Extent& extent) const
      REQUIRES_SHARED(buffer_mutex_);
  void serve_pending(std::vector<Piece>& pieces, std::span<ReadAnswer> answers, Whole whole);
  void read_merged(std::span<const Piece> pieces, std::span<ReadAnswer> answers,
                   const OnAnswer& on_answer);
  void note_device_read();
  void start_reads(Reads& reads);
  void answer_piece(const Piece& piece, const Reads& reads, std::size_t read, IoLease lease,
                    ReadAnswer& answer);
  static void hand_out(const Piece& piece, const Extent& extent, IoLease lease, ReadAnswer& answer);
  void read_alone(const Piece& piece, ReadAnswer& answer);
  IoLease lease_to_read(std::size_t size);
  IoLease lease_to_copy(std::size_t size);

  Disk& disk_;
  const BatchLimits limits_;
  const std::shared_ptr<IoArena> arena_;
  const std::uint64_t read_gap_bytes_;
  const std::uint32_t alignment_;  ///< of the disk's I/O
  const std::uint64_t disk_end_;   ///< of its last whole block

  Mutex flush_mutex_;  ///< one flusher at a time among write() and flush(); taken before
                       ///< buffer_mutex_
  /// Readers of what is buffered share it.
  mutable SharedMutex buffer_mutex_;
  std::unique_ptr<Slot> filling_ GUARDED_BY(buffer_mutex_);
  std::vector<std::unique_ptr<Slot>> spares_ GUARDED_BY(buffer_mutex_);
  std::deque<std::unique_ptr<Slot>> sealed_ GUARDED_BY(buffer_mutex_);
  // Of the flusher: the sync under way, and how many of the oldest sealed buffers it is for.
  IoBatch sync_;
  std::size_t syncing_ = 0;
  std::chrono::steady_clock::time_point sync_start_;
  std::atomic<std::uint64_t> seals_{0};
  /// Something has been read from the device since the last flush started.
  std::atomic<bool> device_read_{false};
  unsigned flushes_reads_first_ = 0;           ///< of the flusher: so many more make way for reads
  std::atomic<std::uint64_t> edge_writes_{0};  ///< buffers with partly written blocks, started
  /// Something is buffered. Lets reads of a cache that does not write pass without the lock.
  std::atomic<bool> pending_{false};
  std::atomic<std::uint64_t> target_bytes_;
  std::atomic<bool> flush_due_{false};  ///< of the filling buffer
};

}  // namespace rawcache
