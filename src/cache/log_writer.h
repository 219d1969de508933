// LogWriter: turns entries into batches at the head of the log. Places, encodes, closes batches,
// and takes back what failed.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "batch/batch_io_manager.h"
#include "cache/index.h"
#include "cache/segment_log.h"
#include "format/batch.h"
#include "format/entry.h"
#include "format/superblock.h"
#include "rawcache/result.h"

namespace rawcache {

/// A store or remove whose caller waits for it to be durable. Lives on the caller's stack until
/// `state` is no longer waiting; everything else is written before that.
struct DirectWrite {
  enum class State : std::uint8_t { waiting, durable, failed };
  std::uint64_t key_hash = 0;
  std::uint64_t sequence = 0;
  std::uint64_t batch = 0;  ///< sequence of the one that it is in
  Location location;        ///< of its entry
  bool remove = false;
  bool urgent = false;                  ///< its caller has the next turn to flush
  std::optional<Location> before;       ///< what the index held, to be put back if it fails
  std::uint32_t before_generation = 0;  ///< of the segment that `before` lies in
  Error error{Errc::io_error};
  std::atomic<State> state{State::waiting};
  bool is_waiting() const { return state.load(std::memory_order_acquire) == State::waiting; }
  /// Without memory for its words an error says only what happened.
  void fail(const Error& why) noexcept;
};

/// The piece of a batch in one segment, in the write buffer.
struct PendingPart {
  std::uint32_t segment = 0;
  std::uint32_t previous_segment = 0;
  Place place;                  ///< of the header
  std::byte* memory = nullptr;  ///< header and entries, contiguous in the write buffer
  std::uint64_t bytes = 0;
  std::uint32_t entries = 0;
  std::uint64_t digest = kDigestStart;

  bool holds(std::uint64_t offset) const {
    return offset >= place.offset && offset < place.offset + bytes;
  }
};

/// A batch that is not durable yet.
struct PendingBatch {
  std::uint64_t sequence = 0;
  std::uint32_t time = 0;
  std::uint32_t since_previous = 0;  ///< sequence - that of the batch before it in the log
  std::vector<PendingPart> parts;
  std::vector<DirectWrite*> direct;
};

/// Not synchronised: the cache's log lock guards every call.
class LogWriter {
 public:
  LogWriter(const Superblock& superblock, BatchIOManager& io, Index& index, SegmentLog& log);

  /// What stands in the way of appending an entry of this size.
  enum class Obstacle : std::uint8_t {
    none,
    buffer,   ///< the write buffer has no room: flush
    segment,  ///< the log needs a segment and none is usable: reclaim
  };
  /// Appends and encodes an entry at the head of the log, in the open batch. Sets entry.sequence.
  /// `direct`, if there is one, waits for that batch from then on.
  /// `replay_from` is that of the durable checkpoint: what may be reused. On an obstacle nothing
  /// changed, and neither did it if std::bad_alloc is thrown.
  struct Appended {
    // Of the location. Small enough to be returned in registers.
    std::uint64_t offset = 0;
    std::uint8_t size_class = 0;
    Obstacle obstacle = Obstacle::none;
    Location location() const { return {offset, size_class}; }
  };
  Appended append(EntryFields& entry, std::uint64_t replay_from, Stream stream = Stream::small,
                  DirectWrite* direct = nullptr);
  /// The stream that an entry of this size had better go to if it could go to main: going there and
  /// back begins two parts, which is too much for a small entry in the middle of a batch.
  Stream main_if_cheap(std::uint64_t entry_bytes) const;
  /// Seals the stream's open segment, full or not. False if no other is usable.
  bool leave_segment(std::uint64_t replay_from, Stream stream);
  /// Takes back the entry appended last, for which `direct` waits no longer.
  void withdraw_last(Location location, const DirectWrite* direct);

  /// Closes the open batch, if there is one, and hands its buffer to the BatchIOManager.
  /// Error: buffer_full while the BatchIOManager has no buffer to go on with.
  Result<void> seal(std::int64_t now);
  bool has_sealed() const { return !sealed_.empty(); }
  bool has_open_batch() const { return open_.has_value(); }

  /// The `buffers` oldest sealed ones have become durable.
  void sealed_durable(std::size_t buffers);
  /// Calls `each` with every direct write whose fate is open.
  template <typename Each>
  void for_each_direct(const Each& each) const {
    const auto in = [&](const PendingBatch& batch) {
      for (const DirectWrite* write : batch.direct) each(*write);
    };
    for (const PendingBatch& batch : sealed_) in(batch);
    if (open_) in(*open_);
  }
  /// They have not, and none is under way: withdraws every direct write, sealed or in the open
  /// batch, with this error.
  void fail(const Error& error);
  /// Places everything that is not durable in a fresh segment and encodes it anew. False if no
  /// segment is usable. Sequences of entries stay. Afterwards there may be sealed batches again.
  /// Once it has begun it cannot be undone: a lack of memory in the middle ends the program.
  bool relocate(std::uint64_t replay_from, std::int64_t now);
  /// Free segments that relocate wants.
  std::uint64_t segments_to_relocate() const;
  /// Forgets everything that is not durable; direct writes end as durable (clear came after them).
  /// Leaves out one batch sequence.
  void discard();

  /// The first batch sequence that is not durable or not begun.
  std::uint64_t first_volatile_batch() const;
  /// The first that is not sealed or not begun.
  std::uint64_t first_unsealed_batch() const { return open_ ? open_->sequence : next_batch_; }
  /// Free segments that append may go on in.
  std::uint64_t usable_free_count(std::uint64_t replay_from);
  std::uint64_t next_batch() const { return next_batch_; }
  std::uint64_t next_sequence() const { return next_sequence_; }
  /// For a value that is not appended yet, if ever.
  std::uint64_t take_sequence() { return next_sequence_++; }
  /// Whether a direct write of this key may still fail, and what was before it come back.
  bool awaits(std::uint64_t key_hash) const;
  std::uint64_t durable_through() const { return durable_through_; }
  void resume(std::uint64_t next_batch, std::uint64_t next_sequence, std::uint64_t durable_through);
  /// Counts events after which a checkpoint that began before them must not be completed.
  std::uint64_t disturbances() const { return disturbances_; }
  std::uint64_t withdrawn() const { return withdrawn_; }

 private:
  /// A footer that waits in a write buffer; kept to be corrected if one of its entries is
  /// withdrawn.
  struct PendingFooter {
    SealedSegment sealed;
    std::span<std::byte> bytes;
  };

  Place place_at(std::uint64_t offset) const;
  bool part_takes(std::uint64_t size) const;
  std::span<std::byte> begin_part(std::uint64_t entry_size, bool direct);
  void close_part();
  void go_on_in(std::uint32_t next);
  void place_footer(SealedSegment sealed);
  void write_footer(const PendingFooter& footer) const;
  void write_headers(PendingBatch& batch);
  void withdraw_direct(PendingBatch& batch, const Error& error);
  void put_back(const DirectWrite& write);
  bool is_overwritten(const DirectWrite& write) const;
  void withdraw_entry_at(PendingBatch& batch, std::uint64_t offset);
  /// Brings digests and footers into line with what has been withdrawn in the batch.
  void settle_withdrawn(PendingBatch& batch);
  void place_again(bool last_is_open, std::uint64_t first_volatile, std::uint64_t replay_from,
                   std::int64_t now) noexcept;
  void append_again(const PendingBatch& batch, std::uint64_t replay_from);
  EntryWalker walker_of(const PendingPart& part) const;
  std::uint64_t largest_batch_bytes() const;

  const Superblock& superblock_;
  const std::uint64_t header_bytes_;  ///< of a batch, up to where its first entry begins
  BatchIOManager& io_;
  Index& index_;
  SegmentLog& log_;

  std::optional<PendingBatch> open_;
  std::deque<PendingBatch> sealed_;
  PendingBatch spare_;  ///< nothing in it but memory for the lists of the next one
  std::vector<PendingFooter> footers_;
  std::uint64_t next_batch_ = 1;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t durable_through_ = 0;
  std::uint64_t previous_batch_ = 0;  ///< sequence of the last one closed
  std::uint64_t disturbances_ = 0;
  std::uint64_t withdrawn_ = 0;
};

}  // namespace rawcache
