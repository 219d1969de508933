// Index: key hash -> where the newest entry of that key lies. 8 bytes per slot.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "format/superblock.h"
#include "rawcache/result.h"

namespace rawcache {

/// Where an entry lies, as exactly as a slot knows it.
struct Location {
  std::uint64_t offset = 0;     ///< bytes from the start of the disk; never 0
  std::uint8_t size_class = 0;  ///< bounds the entry's size from above
  friend bool operator==(const Location&, const Location&) = default;
};

/// How a slot packs tag, hits, size class and location. Fixed by the superblock.
struct SlotLayout {
  static constexpr unsigned kSizeClassBits = 8;
  static constexpr unsigned kHitBits = 2;
  unsigned location_bits = 0;
  unsigned tag_bits = 0;
  unsigned unit_shift = 0;  ///< log2 of the entry alignment

  static SlotLayout of(const Superblock& superblock);
  /// The tag is what lies above.
  unsigned tag_shift() const { return location_bits + kSizeClassBits + kHitBits; }
  std::uint64_t pack(std::uint32_t tag, Location location) const;
  std::uint32_t tag(std::uint64_t slot) const;
  Location location(std::uint64_t slot) const;
  static unsigned hits(std::uint64_t slot, unsigned location_bits);
};

/// Keys are known by a 64-bit hash only: the high half picks the page, the low bits are the tag.
/// Two keys that share page and tag share a slot and evict each other. Pages grow alone, by an
/// eighth, so nothing doubles and nothing is read to grow. Threads: all functions from
/// any thread; each locks one stripe of pages for nanoseconds.
class Index {
 public:
  /// `presized`: allocate pages for entries_max at once instead of as they fill.
  /// Errors: out_of_memory.
  static Result<std::unique_ptr<Index>> create(const Superblock& superblock, bool presized);
  ~Index();

  std::optional<Location> find(std::uint64_t hash) const;
  struct Found {
    Location location;
    unsigned hits = 0;
  };
  std::optional<Found> find_with_hits(std::uint64_t hash) const;
  /// Its hits, if the slot points at `offset`.
  std::optional<unsigned> hits_at(std::uint64_t hash, std::uint64_t offset) const;
  /// Fetches the page's memory ahead of a find or put.
  void prefetch(std::uint64_t hash) const;
  /// Fetches what prefetch has to look at.
  void prefetch_page(std::uint64_t hash) const { __builtin_prefetch(&pages_[page_of(hash)]); }

  /// Sets the slot, with this many hits; returns the location it held before. Error: out_of_memory
  /// (nothing changed).
  Result<std::optional<Location>> put(std::uint64_t hash, Location location, unsigned hits = 0);
  /// Sets the slot only if it holds `expected`.
  bool replace(std::uint64_t hash, Location expected, Location location, unsigned hits = 0);
  /// Empties the slot; returns what it held.
  std::optional<Location> erase(std::uint64_t hash);
  /// Empties the slot only if it points at `offset`.
  bool erase_if_at(std::uint64_t hash, std::uint64_t offset);
  static constexpr std::uint64_t kHitsMax = 3;
  /// Counts a hit (at most kHitsMax are kept) if the slot still points at `offset`.
  void touch(std::uint64_t hash, std::uint64_t offset);
  /// Takes away up to this many hits if the slot points at `offset`.
  void fade(std::uint64_t hash, std::uint64_t offset, unsigned hits);
  /// The same for every slot whose location lies in [begin, end). Walks everything.
  void fade_range(std::uint64_t begin, std::uint64_t end, unsigned hits);
  /// Empties every slot whose location lies in [begin, end). Returns how many. Walks everything.
  std::uint64_t erase_range(std::uint64_t begin, std::uint64_t end);
  void clear();

  /// What the segment's live entries amount to, bytes (their size classes).
  std::uint64_t live_bytes(std::uint32_t segment) const {
    return uses_[segment].live.load(std::memory_order_relaxed);
  }
  /// Those of them that have hits.
  std::uint64_t hot_bytes(std::uint32_t segment) const {
    return uses_[segment].hot.load(std::memory_order_relaxed);
  }

  // Page by page, for checkpoints and walks.
  std::uint32_t pages() const { return static_cast<std::uint32_t>(pages_.size()); }
  /// Appends the raw slots in use of a page.
  void copy_page(std::uint32_t page, std::vector<std::uint64_t>& slots) const;
  /// Adds raw slots, as copied before, to a page. Error: out_of_memory; slots already present are
  /// kept.
  Result<void> load_page(std::uint32_t page, std::span<const std::uint64_t> slots);
  const SlotLayout& layout() const { return layout_; }
  /// Whether a key of this hash would be found in this page under the slot's tag.
  bool matches(std::uint64_t hash, std::uint32_t page, std::uint64_t slot) const;

  std::uint64_t entries() const { return entries_.load(std::memory_order_relaxed); }
  std::uint64_t entries_max() const { return entries_max_; }
  bool full() const { return entries() >= entries_max_; }
  std::uint64_t slots() const { return slots_.load(std::memory_order_relaxed); }
  /// Memory, bytes, allocator overhead included.
  std::uint64_t memory_bytes() const;

 private:
  static constexpr unsigned kLineSlots = 8;  ///< one cache line
  static constexpr std::size_t kStripes = 256;

  struct Page {
    /// lines * kLineSlots, 64-byte aligned; 0 is an empty slot. prefetch reads these two without
    /// the lock.
    std::atomic<std::uint64_t*> slots = nullptr;
    std::atomic<std::uint32_t> lines = 0;
    std::uint32_t used = 0;
  };
  /// A slot within a page.
  struct Cursor {
    std::uint32_t line = 0;
    unsigned slot = 0;
  };
  struct Use {
    std::atomic<std::uint64_t> live{0};
    std::atomic<std::uint64_t> hot{0};
  };
  struct alignas(64) Stripe {
    mutable Mutex mutex;
  };

  Index(const Superblock& superblock);

  std::uint32_t page_of(std::uint64_t hash) const;
  std::uint32_t tag_of(std::uint64_t hash) const;
  Mutex& mutex_of(std::uint32_t page) const { return stripes_[page % kStripes].mutex; }
  std::uint32_t home_line(std::uint32_t tag, std::uint32_t lines) const;
  /// Where a tag is, or where it belongs. Both null: the page is full.
  struct Probe {
    std::uint64_t* found = nullptr;
    std::uint64_t* empty = nullptr;
  };
  Probe probe(const Page& page, std::uint32_t tag) const;
  std::uint64_t* find_slot(const Page& page, std::uint32_t tag) const;
  void count(std::uint64_t slot, bool in);
  void set_hits(std::uint64_t& slot, unsigned hits);
  void add_to_fresh(Page& page, std::uint64_t slot) const;
  bool grow(Page& page, std::uint32_t lines);
  void remove(Page& page, std::uint64_t* slot);
  void fill_gap(Page& page, Cursor gap) const;

  const SlotLayout layout_;
  const std::uint64_t entries_max_;
  const std::uint64_t segments_offset_;
  const std::uint64_t segment_bytes_;
  const std::uint32_t segments_;
  std::unique_ptr<Use[]> uses_;
  std::vector<Page> pages_;  ///< each guarded by its stripe
  std::unique_ptr<std::array<Stripe, kStripes>> stripe_memory_;
  std::array<Stripe, kStripes>& stripes_;
  std::atomic<std::uint64_t> entries_{0};
  std::atomic<std::uint64_t> slots_{0};
  std::atomic<std::uint64_t> page_bytes_{0};
};

}  // namespace rawcache
