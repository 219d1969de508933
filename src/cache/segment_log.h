// SegmentLog: the segments, which of them is being filled and up to where, and which come next.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "format/batch.h"
#include "format/checkpoint.h"
#include "format/segment.h"
#include "format/superblock.h"

namespace rawcache {

/// A segment that has just been filled, and what its footer has to say.
struct SealedSegment {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;  ///< of its start on the disk
  FooterTrailer trailer{};
  FooterRecords records;
};

/// Book-keeping only: no I/O, no bytes. Not synchronised (the cache's log lock guards it), but for
/// generation(), which readers call at any time.
class SegmentLog {
 public:
  explicit SegmentLog(const Superblock& superblock);

  /// The stream that the functions of the open segment mean from now on.
  void select(Stream stream) { stream_ = stream; }
  Stream selected() const { return stream_; }

  // The open segment.

  bool has_open() const { return at().segment != kNoSegment; }
  std::uint32_t open_segment() const { return at().segment; }
  /// The segment that was filled before the open one, or kNoSegment.
  std::uint32_t previous_segment() const { return at().previous; }
  /// Disk offset at which the next byte of the log goes.
  std::uint64_t head() const { return segment_offset(at().segment) + at().position; }
  /// Whether `bytes` more, padded to a block, leave room for the footer with one more record.
  bool fits(std::uint64_t bytes) const;
  /// Takes `bytes` at the head; returns their disk offset.
  std::uint64_t take(std::uint64_t bytes);
  /// Bytes from the head to the next block border.
  std::uint64_t bytes_to_block() const;
  /// Memory for one more record. Throws std::bad_alloc.
  void make_room_for_record();
  /// Notes an entry at a disk offset in the open segment, `entry.offset` aside.
  void record(FooterRecord entry, std::uint64_t offset) {
    entry.offset = static_cast<std::uint32_t>(offset - segment_offset(at().segment));
    at().records.add(entry);
  }
  /// Makes withdrawn ones of the records of the open segments whose entry's disk offset this is
  /// true of.
  void withdraw_records(const std::function<bool(std::uint64_t offset)>& is_withdrawn);
  /// Notes that batch `sequence` has bytes in the open segment.
  void note_batch(std::uint64_t sequence);

  /// Closes the open segment; `next` is where the log goes on. The result is to become its footer.
  /// Throws std::bad_alloc, then nothing has changed.
  SealedSegment seal(std::uint32_t next, std::uint64_t next_sequence);
  /// Closes the open segment, if there is one, without a footer, because its place may be bad. What
  /// is in the stream from batch `first_volatile_batch` on is placed elsewhere.
  void abandon(std::uint64_t first_volatile_batch);
  /// Opens a free segment under the next generation; `first_batch` is the sequence of the batch
  /// that begins or goes on there.
  void open(std::uint32_t segment, std::uint64_t first_batch);
  /// Goes on in a segment after recovery.
  void resume(std::uint32_t segment, std::uint32_t previous, std::uint64_t position,
              std::span<const FooterRecord> records);
  /// The same when no segment was open; `previous` was filled last, or kNoSegment.
  void resume_after(std::uint32_t previous) { at().previous = previous; }

  // The others.

  /// A free segment that may be reused when the durable checkpoint replays from `replay_from`.
  std::optional<std::uint32_t> usable_free(std::uint64_t replay_from) const;
  std::uint64_t usable_free_count(std::uint64_t replay_from) const;
  /// The same once everything is durable.
  std::uint64_t usable_after_flush(std::uint64_t replay_from) const;
  /// A copy has been made from the segment: it is not reused before batch `batch` is durable.
  void note_copy(std::uint32_t segment, std::uint64_t batch) { copies_through_[segment] = batch; }
  /// A sealed segment becomes free.
  void release(std::uint32_t segment);
  /// The first batch that is not durable, for usable_free.
  void note_volatile(std::uint64_t batch) { first_volatile_ = batch; }
  /// Copies in batches from `first_volatile` on have been placed anew, up to `batch`.
  void copies_moved(std::uint64_t first_volatile, std::uint64_t batch);
  /// Counts a sealed segment to a stream for eviction, at the end of its queue.
  void label(std::uint32_t segment, Stream label);
  /// All segments become free and reusable; the log goes on in another one.
  void clear();

  std::uint64_t free_count() const { return free_count_; }
  const std::vector<SegmentRecord>& table() const { return table_; }
  void restore(std::vector<SegmentRecord> table, std::uint32_t next_generation);

  std::uint32_t segments() const { return static_cast<std::uint32_t>(table_.size()); }
  std::uint64_t segment_bytes() const { return segment_bytes_; }
  std::uint64_t segment_offset(std::uint32_t segment) const {
    return segments_offset_ + std::uint64_t{segment} * segment_bytes_;
  }
  /// The segment that a disk offset lies in; the offset must lie in one.
  std::uint32_t segment_of(std::uint64_t offset) const {
    return static_cast<std::uint32_t>((offset - segments_offset_) / segment_bytes_);
  }
  /// Any thread.
  std::uint32_t generation(std::uint32_t segment) const {
    return generations_[segment].load(std::memory_order_acquire);
  }
  /// Whether hits on what lies in the segment do not count yet. Any thread.
  bool is_young(std::uint32_t segment, std::uint64_t appended) const {
    return appended < young_until_[segment].load(std::memory_order_relaxed);
  }
  /// appended_bytes() when the segment was opened; 0 if it was before the cache was.
  std::uint64_t opened_at(std::uint32_t segment) const { return opened_at_[segment]; }
  /// Bytes of the log ever used up, waste at segment ends included.
  std::uint64_t appended_bytes() const { return appended_bytes_; }

 private:
  /// Where a stream is.
  struct Head {
    std::uint32_t segment = kNoSegment;
    std::uint32_t previous = kNoSegment;
    std::uint64_t position = 0;  ///< bytes from the open segment's start
    FooterRecords records;       ///< of the open segment
  };
  Head& at() { return heads_[static_cast<std::size_t>(stream_)]; }
  const Head& at() const { return heads_[static_cast<std::size_t>(stream_)]; }

  void set_generation(std::uint32_t segment, std::uint32_t generation);
  bool is_usable(std::uint32_t segment, std::uint64_t replay_from) const;
  void to_end_of_queue(std::uint32_t segment);
  void close_open();

  const std::uint64_t segments_offset_;
  const std::uint64_t segment_bytes_;
  const std::uint32_t block_bytes_;

  std::vector<SegmentRecord> table_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> generations_;
  std::vector<std::uint64_t> opened_at_;  ///< appended bytes
  std::unique_ptr<std::atomic<std::uint64_t>[]> young_until_;
  std::uint32_t next_generation_ = 1;
  std::vector<std::uint32_t> previous_of_;     ///< of segments opened since the cache was
  std::vector<std::uint64_t> copies_through_;  ///< batches; 0: nothing was copied
  std::array<Head, kStreams> heads_;
  Stream stream_ = Stream::small;
  std::uint64_t first_volatile_ = ~std::uint64_t{0};
  std::uint64_t next_queue_position_ = 1;
  std::uint64_t free_count_ = 0;
  std::uint64_t appended_bytes_ = 0;
};

}  // namespace rawcache
