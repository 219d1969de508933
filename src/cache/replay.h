// Recovery: the work behind recover(). recovery.cc judges the checkpoints, replay.cc finds and
// replays what the log holds since.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "cache/checkpoint_io.h"
#include "cache/index.h"
#include "cache/recovery.h"
#include "cache/segment_scan.h"
#include "format/batch.h"
#include "format/segment.h"

namespace rawcache {

/// A segment that has been written since the checkpoint.
struct Life {
  std::uint32_t segment = 0;
  std::uint32_t generation = 0;
  std::uint64_t first_batch = 0;
  std::uint64_t last_batch = 0;
  std::uint32_t previous_segment = kNoSegment;
  Stream stream = Stream::small;
  bool reopened = false;  ///< what the checkpoint knows of this segment is gone
  std::optional<FooterTrailer> trailer;
  std::optional<SegmentScan> scan;
};

/// An entry to be replayed. The sequence decides between entries of one key; a copy has that of
/// what it was made from, and the later life wins.
struct Noted {
  std::uint64_t key_hash;
  std::uint64_t sequence;
  std::uint64_t place;  ///< location as a slot of the index holds it; the tag is the kind
};

class Recovery {
 public:
  Recovery(Disk& disk, const Superblock& superblock, Index& index)
      : disk_(disk), superblock_(superblock), index_(index) {}

  Result<Recovered> run(bool rebuild);

 private:
  bool from_checkpoint(int area, bool must_be_contiguous);
  bool load_table(CheckpointReader& reader);
  bool load_pages(CheckpointReader& reader);
  Result<void> from_log_alone();

  Result<void> find_lives();
  Result<void> add_suspect(std::uint32_t segment);
  void add_life(std::uint32_t segment, const BatchHeader& header);
  std::optional<FooterTrailer> trailer_of(const Life& life) const;
  bool chain_reaches_checkpoint() const;
  Result<void> scan(Life& life);
  Result<void> scan_what_is_not_vouched_for();
  Result<void> replay();
  Result<void> gather();
  /// Bytes from a segment's start: up to the one its content is in the checkpoint, from the other
  /// on it is not.
  struct Border {
    std::uint64_t contained_through = 0;
    std::uint64_t new_from = 0;
  };
  Result<Border> checkpoint_border(const Life& life);
  void gather_footer(const Life& life, const std::vector<FooterRecord>& records,
                     const Border& border);
  void gather_scan(const Life& life);
  bool stream_reaches_checkpoint(Stream stream) const;
  void judge_batches();
  bool committed(std::uint64_t batch) const;
  std::uint64_t newest_unbroken_batch() const;
  void note(std::uint64_t key_hash, std::uint64_t sequence, Location location, EntryKind kind);
  void sort_noted();
  Result<void> apply(const Noted& noted);
  void finish();
  void note_header(const BatchHeader& header);
  /// The segment that a stream was in last; nullopt if the checkpoint and the log know none.
  std::optional<std::uint32_t> last_of(Stream stream) const;
  /// Of the last segment of a stream.
  bool has_lost_its_end(const Life& life) const;
  /// A footer that knows of batches which do not count, or of fewer than the segment will hold.
  bool has_footer_to_erase(const Life& life, bool goes_on) const;
  bool is_last(const Life& life) const { return last_of(life.stream) == life.segment; }
  bool vouched_for(const Life& life) const {
    return life.trailer && life.trailer->last_batch <= stated_durable_;
  }

  Disk& disk_;
  const Superblock& superblock_;
  Index& index_;
  Recovered out_;
  std::vector<std::optional<BatchHeader>> survey_;
  std::map<std::uint32_t, Life> lives_;
  std::vector<std::uint32_t> order_;  ///< segments of lives_, oldest first
  std::set<std::uint32_t> suspects_seen_;
  std::uint64_t stated_durable_ = 0;
  std::uint64_t checkpoint_sequence_ = 0;  ///< of the first entry stored after it
  /// A batch of which parts have been found whole; it is so when it has all of them.
  struct Batch {
    std::uint32_t whole_parts = 0;
    std::uint32_t parts = 0;
    std::uint32_t since_previous = 0;
  };
  std::map<std::uint64_t, Batch> batches_;  ///< by sequence
  std::set<std::uint64_t> given_up_;        ///< their sequences
  std::set<std::uint64_t> counted_;         ///< committed, beyond stated_durable_
  std::optional<Error> failure_;
  std::array<std::uint32_t, kStreams> checkpoint_open_{kNoSegment, kNoSegment};
  std::array<std::uint32_t, kStreams> checkpoint_previous_{kNoSegment, kNoSegment};
  std::vector<Noted> noted_;
  bool rebuilding_ = false;
};

}  // namespace rawcache
