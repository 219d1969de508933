// Oracle: which contents of a cache are legal, given the calls that were made and what they
// returned.
//
// The cache keeps one log, so there is a simple and strict rule: what is found after a crash is the
// result of the first n calls, for one n that ends a batch and is at least the last call known to
// be durable. Entries may be missing only as a whole prefix of the log (fifo eviction), and only
// after that many segments have been opened since. A failed call may have happened or not, but only
// after a crash; a refused one never. A value that waits in memory may be found or not; it lies in
// the log, if it ever does, behind what was stored meanwhile. One that was not admitted is like a
// remove.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rawcache::testing {

/// The name of a key by its number; lengths differ.
std::string key_name(std::uint32_t key);

/// A value that says which key and version it is, of about this many bytes, never two alike.
std::string make_value(std::uint32_t key, std::uint64_t version, std::size_t size);
/// The version of a value that make_value made for this key, every byte checked; nullopt: no such.
std::optional<std::uint64_t> version_of(std::uint32_t key, std::string_view value);

/// The version found under each key; 0: none.
using Content = std::vector<std::uint64_t>;

class Oracle {
 public:
  enum class Kind : std::uint8_t { store, remove, clear };
  enum class Fate : std::uint8_t {
    under_way,  ///< the call has not returned
    accepted,
    failed,              ///< withdrawn now; after a crash it may be there
    failed_or_kept_out,  ///< ... or, not admitted, have removed what was under the key
    refused,             ///< never happened
    waits,               ///< in memory; written later, if at all
    not_admitted,
  };
  /// What is told, in the order in which it happens. Small, so that it fits shared memory.
  struct Event {
    enum class Type : std::uint8_t {
      issued,             ///< a call is made: kind, key. Versions count these, from 1.
      ended,              ///< the last call returned: fate
      batch_ends_before,  ///< a batch may have ended before the last call
      batch_ends_after,   ///< ... or after it
      durable,            ///< everything so far is
      segment_opened,     ///< by a write to the disk
    };
    Type type = Type::issued;
    Kind kind = Kind::store;
    Fate fate = Fate::under_way;
    std::uint32_t key = 0;
  };
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// `segments_kept`: an entry may be evicted once as many segments have been opened after it.
  /// 0: at any time.
  Oracle(std::uint32_t keys, std::uint64_t segments_kept)
      : segments_kept_(segments_kept), base_(keys), histories_(keys) {}

  void tell(const Event& event);

  std::uint32_t keys() const { return static_cast<std::uint32_t>(base_.size()); }
  std::uint64_t last_version() const { return base_version_ + ops_.size(); }
  void set_segments_kept(std::uint64_t segments) { segments_kept_ = segments; }
  /// Failed clears since the content was certain. Each may have happened after a crash, and all
  /// combinations of a few are tried.
  std::uint64_t failed_clears() const;

  /// A moment in the story, to be judged when more is known about where batches end.
  struct Moment {
    std::uint64_t issued = 0;
    std::uint64_t durable = 0;
    std::uint64_t segments = 0;
  };
  Moment now() const { return {last_version(), durable_, segments_}; }

  // Each returns what is wrong, or "".

  /// The cache runs. Evictions may be ahead of the disk by `ahead` segments that are still
  /// buffered.
  std::string check_running(const Content& found, std::uint64_t ahead = 0) const;
  std::string check_running(std::uint32_t key, std::uint64_t found, std::uint64_t ahead = 0) const;
  /// After a crash at that moment.
  std::string check_after_crash(const Content& found, const Moment& moment) const;
  /// Some of the disk has rotted: anything may be missing, but nothing may be old.
  std::string check_after_rot(const Content& found) const;

  /// The content as found is the truth from now on, all of it durable.
  void restart(const Content& found);

 private:
  struct Op {
    Kind kind = Kind::store;
    Fate fate = Fate::under_way;
    bool may_end_batch = false;
    std::uint32_t key = 0;
    std::uint64_t segments = 0;  ///< opened when it was issued
  };
  struct Base {
    std::uint64_t version = 0;
    std::uint64_t segments = 0;
    bool has_waited = false;  ///< then its place in the log is a later one
  };
  /// One of the contents to compare with.
  struct Supposition {
    std::uint64_t through = 0;   ///< the last call that happened
    bool failed_may_be = false;  ///< failed calls may have happened
    std::uint64_t clears = 0;    ///< bit n: the nth failed clear happened
    std::uint64_t segments = 0;  ///< opened so far
    bool anything_lost = false;
  };
  /// What can be under a key: versions, newest first; 0: nothing.
  using Candidates = std::vector<std::uint64_t>;

  const Op& op(std::uint64_t version) const { return ops_[version - base_version_ - 1]; }
  std::uint64_t segments_at(std::uint32_t key, std::uint64_t version) const;
  bool has_waited(std::uint32_t key, std::uint64_t version) const;
  bool is_applied_clear(std::uint64_t version, const Supposition& supposed) const;
  Candidates candidates(std::uint32_t key, const Supposition& supposed) const;
  bool evictable(std::uint32_t key, std::uint64_t version, const Supposition& supposed) const;
  std::string compare(const Content& found, const Supposition& supposed) const;
  std::string check_suppositions(const Content& found, Supposition supposed) const;

  std::uint64_t segments_kept_;
  std::vector<Base> base_;
  std::uint64_t base_version_ = 0;
  std::vector<Op> ops_;
  std::vector<std::vector<std::uint64_t>> histories_;  ///< versions of each key, ascending
  std::vector<std::uint64_t> clears_;
  std::uint64_t durable_ = 0;
  std::uint64_t segments_ = 0;
};

}  // namespace rawcache::testing
