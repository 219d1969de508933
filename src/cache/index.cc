#include "cache/index.h"

#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

constexpr unsigned kSizeClassBits = SlotLayout::kSizeClassBits;
constexpr unsigned kHitBits = SlotLayout::kHitBits;
static_assert(Index::kHitsMax == (1u << kHitBits) - 1);
constexpr unsigned kTagBitsMax = 32;

/// The checkpoint has room for entries_max; callers look at full() before they add, several at a
/// time.
constexpr std::uint64_t kReserveShare = 32;

/// A page grows when more than 7 of 8 slots are in use: 8 / (7/8) = 9.1 bytes per entry just
/// before, and probes still end in the first or second line.
constexpr bool too_full(std::uint64_t used, std::uint64_t lines) { return used > lines * 7; }

/// Every growth copies the page, so it grows by an eighth: 10.3 bytes per entry just after. Two
/// lines once it has four.
constexpr std::uint32_t grown_lines(std::uint32_t lines) {
  return lines + (lines < 4 ? 1 : std::max(2u, lines / 8));
}

}  // namespace

SlotLayout SlotLayout::of(const Superblock& superblock) {
  SlotLayout layout;
  layout.unit_shift = static_cast<unsigned>(std::countr_zero(superblock.entry_alignment));
  const std::uint64_t end =
      superblock.segments_offset + std::uint64_t{superblock.segments} * superblock.segment_bytes;
  layout.location_bits = static_cast<unsigned>(std::bit_width(end >> layout.unit_shift));
  RAWCACHE_ASSERT(layout.location_bits + kSizeClassBits + kHitBits < 64);
  layout.tag_bits = std::min(kTagBitsMax, 64 - layout.location_bits - kSizeClassBits - kHitBits);
  return layout;
}

std::uint64_t SlotLayout::pack(std::uint32_t tag, Location location) const {
  return std::uint64_t{tag} << tag_shift() | std::uint64_t{location.size_class} << location_bits |
         location.offset >> unit_shift;
}

std::uint32_t SlotLayout::tag(std::uint64_t slot) const {
  return static_cast<std::uint32_t>(slot >> tag_shift());
}

Location SlotLayout::location(std::uint64_t slot) const {
  return {(slot & ((std::uint64_t{1} << location_bits) - 1)) << unit_shift,
          static_cast<std::uint8_t>(slot >> location_bits)};
}

unsigned SlotLayout::hits(std::uint64_t slot, unsigned location_bits) {
  return static_cast<unsigned>(slot >> (location_bits + kSizeClassBits) & Index::kHitsMax);
}

Index::Index(const Superblock& superblock)
    : layout_(SlotLayout::of(superblock)),
      entries_max_(superblock.entries_max - superblock.entries_max / kReserveShare),
      segments_offset_(superblock.segments_offset),
      segment_bytes_(superblock.segment_bytes),
      segments_(superblock.segments),
      uses_(std::make_unique<Use[]>(superblock.segments)),
      pages_(superblock.index_pages),
      stripe_memory_(std::make_unique<std::array<Stripe, kStripes>>()),
      stripes_(*stripe_memory_) {}

Result<std::unique_ptr<Index>> Index::create(const Superblock& superblock, bool presized) try {
  std::unique_ptr<Index> index(new Index(superblock));
  if (presized) {
    // entries_max holds a reserve of a quarter over what is expected.
    const std::uint64_t expected = superblock.entries_max / 5 * 4;
    const std::uint64_t per_page = divide_up(expected, superblock.index_pages);
    const auto lines = static_cast<std::uint32_t>(divide_up(per_page, 7));
    for (Page& page : index->pages_) {
      if (!index->grow(page, lines)) return std::unexpected(Error(Errc::out_of_memory, "index"));
    }
  }
  return index;
} catch (const std::bad_alloc&) {
  return std::unexpected(Error(Errc::out_of_memory, "index"));
}

Index::~Index() {
  for (Page& page : pages_) std::free(page.slots);
}

std::uint32_t Index::page_of(std::uint64_t hash) const {
  return scale_hash(static_cast<std::uint32_t>(hash >> 32), pages());
}

std::uint32_t Index::tag_of(std::uint64_t hash) const {
  return static_cast<std::uint32_t>(hash & ((std::uint64_t{1} << layout_.tag_bits) - 1));
}

std::uint32_t Index::home_line(std::uint32_t tag, std::uint32_t lines) const {
  return scale_hash(static_cast<std::uint32_t>(std::uint64_t{tag} << (32 - layout_.tag_bits)),
                    lines);
}

Index::Probe Index::probe(const Page& page, std::uint32_t tag) const {
  if (page.lines == 0) return {};
  const unsigned tag_shift = layout_.tag_shift();
  std::uint32_t line = home_line(tag, page.lines);
  for (std::uint32_t probed = 0; probed < page.lines; ++probed) {
    std::uint64_t* const slots = page.slots + std::size_t{line} * kLineSlots;
    std::uint64_t* empty = nullptr;
    for (unsigned i = 0; i < kLineSlots; ++i) {
      if (slots[i] == 0) {
        if (empty == nullptr) empty = &slots[i];
      } else if (slots[i] >> tag_shift == tag || mutated(Mutant::kTagNotCompared)) {
        return {.found = &slots[i], .empty = nullptr};
      }
    }
    if (empty != nullptr) return {.found = nullptr, .empty = empty};
    if (++line == page.lines) line = 0;
  }
  return {};
}

std::uint64_t* Index::find_slot(const Page& page, std::uint32_t tag) const {
  return probe(page, tag).found;
}

// Adds a slot to what its segment holds, or takes it away.
void Index::count(std::uint64_t slot, bool in) {
  const Location location = layout_.location(slot);
  const std::uint64_t segment = (location.offset - segments_offset_) / segment_bytes_;
  if (segment >= segments_) return;  // a damaged checkpoint's
  Use& use = uses_[segment];
  const std::uint64_t bytes = size_class_bytes(location.size_class);
  const std::uint64_t change = in ? bytes : -bytes;
  use.live.fetch_add(change, std::memory_order_relaxed);
  if (SlotLayout::hits(slot, layout_.location_bits) > 0) {
    use.hot.fetch_add(change, std::memory_order_relaxed);
  }
}

void Index::set_hits(std::uint64_t& slot, unsigned hits) {
  const unsigned shift = layout_.location_bits + kSizeClassBits;
  const bool was_hot = SlotLayout::hits(slot, layout_.location_bits) > 0;
  slot = (slot & ~(kHitsMax << shift)) | std::uint64_t{hits} << shift;
  if (was_hot == (hits > 0)) return;
  const Location location = layout_.location(slot);
  const std::uint64_t segment = (location.offset - segments_offset_) / segment_bytes_;
  if (segment >= segments_) return;  // a damaged checkpoint's
  const std::uint64_t bytes = size_class_bytes(location.size_class);
  uses_[segment].hot.fetch_add(was_hot ? -bytes : bytes, std::memory_order_relaxed);
}

// Puts a slot into a page that has only been put into so far: its lines are filled from their first
// slot on, so that three looks find the first empty one.
void Index::add_to_fresh(Page& page, std::uint64_t slot) const {
  std::uint32_t line = home_line(layout_.tag(slot), page.lines);
  std::uint64_t* slots = page.slots + std::size_t{line} * kLineSlots;
  while (slots[kLineSlots - 1] != 0) {
    line = line + 1 == page.lines ? 0 : line + 1;
    slots = page.slots + std::size_t{line} * kLineSlots;
  }
  static_assert(kLineSlots == 8);
  unsigned used = slots[3] != 0 ? 4 : 0;
  if (slots[used + 1] != 0) used += 2;
  if (slots[used] != 0) used += 1;
  slots[used] = slot;
  ++page.used;
}

bool Index::grow(Page& page, std::uint32_t lines) {
  void* memory = nullptr;
  const std::size_t bytes = std::size_t{lines} * kLineSlots * sizeof(std::uint64_t);
  if (posix_memalign(&memory, 64, bytes) != 0) return false;
  std::memset(memory, 0, bytes);
  Page grown;
  grown.slots = static_cast<std::uint64_t*>(memory);
  grown.lines = lines;
  for (std::size_t i = 0; i < std::size_t{page.lines} * kLineSlots; ++i) {
    if (page.slots[i] != 0) add_to_fresh(grown, page.slots[i]);
  }
  slots_.fetch_add((std::uint64_t{lines} - page.lines) * kLineSlots, std::memory_order_relaxed);
  page_bytes_.fetch_add(malloc_usable_size(grown.slots) + sizeof(void*), std::memory_order_relaxed);
  if (page.slots != nullptr) {
    page_bytes_.fetch_sub(malloc_usable_size(page.slots) + sizeof(void*),
                          std::memory_order_relaxed);
    std::free(page.slots);
  }
  page.slots = grown.slots.load();
  page.lines = lines;
  page.used = grown.used;
  return true;
}

void Index::remove(Page& page, std::uint64_t* slot) {
  const auto position = static_cast<std::size_t>(slot - page.slots);
  const Cursor gap{static_cast<std::uint32_t>(position / kLineSlots),
                   static_cast<unsigned>(position % kLineSlots)};
  bool was_full = true;
  for (unsigned i = 0; i < kLineSlots; ++i) {
    was_full = was_full && page.slots[std::size_t{gap.line} * kLineSlots + i] != 0;
  }
  count(*slot, false);
  *slot = 0;
  --page.used;
  entries_.fetch_sub(1, std::memory_order_relaxed);
  if (was_full && !mutated(Mutant::kGapNotFilled)) fill_gap(page, gap);
}

// A full line has lost a slot, so probes that used to go on past it now stop there: move back an
// entry that had passed it, and so on for the line that entry came from.
void Index::fill_gap(Page& page, Cursor gap) const {
  const auto distance = [&](std::uint32_t from, std::uint32_t to) {
    return to >= from ? to - from : to + page.lines - from;
  };
  for (;;) {
    std::uint64_t* const hole = page.slots + std::size_t{gap.line} * kLineSlots + gap.slot;
    std::optional<Cursor> moved;
    bool moved_from_full = false;
    for (std::uint32_t step = 1; step < page.lines && !moved; ++step) {
      const std::uint32_t line = (gap.line + step) % page.lines;
      std::uint64_t* const slots = page.slots + std::size_t{line} * kLineSlots;
      const bool full = std::all_of(slots, slots + kLineSlots, [](auto s) { return s != 0; });
      for (unsigned i = 0; i < kLineSlots && !moved; ++i) {
        if (slots[i] == 0) continue;
        const std::uint32_t home = home_line(layout_.tag(slots[i]), page.lines);
        if (distance(home, line) < step) continue;  // its home lies behind the gap
        *hole = slots[i];
        slots[i] = 0;
        moved = Cursor{line, i};
        moved_from_full = full;
      }
      if (!full) break;  // nothing beyond can have passed this line
    }
    if (!moved || !moved_from_full) return;
    gap = *moved;
  }
}

std::optional<Location> Index::find(std::uint64_t hash) const {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  const std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr) return std::nullopt;
  return layout_.location(*slot);
}

std::optional<Index::Found> Index::find_with_hits(std::uint64_t hash) const {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  const std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr) return std::nullopt;
  return Found{layout_.location(*slot), SlotLayout::hits(*slot, layout_.location_bits)};
}

void Index::prefetch(std::uint64_t hash) const {
  // A page that changes meanwhile is prefetched in vain, no more.
  const Page& page = pages_[page_of(hash)];
  const std::uint64_t* const slots = page.slots.load(std::memory_order_relaxed);
  const std::uint32_t lines = page.lines.load(std::memory_order_relaxed);
  if (lines == 0) return;
  __builtin_prefetch(slots + std::size_t{home_line(tag_of(hash), lines)} * kLineSlots);
}

Result<std::optional<Location>> Index::put(std::uint64_t hash, Location location, unsigned hits) {
  const std::uint32_t number = page_of(hash);
  const std::uint32_t tag = tag_of(hash);
  const std::uint64_t packed =
      layout_.pack(tag, location) | std::uint64_t{hits} << (layout_.location_bits + kSizeClassBits);
  MutexLock lock(mutex_of(number));
  Page& page = pages_[number];
  Probe at = probe(page, tag);
  if (at.found != nullptr) {
    const Location before = layout_.location(*at.found);
    count(*at.found, false);
    count(packed, true);
    *at.found = packed;
    return before;
  }
  if (too_full(page.used + 1, page.lines)) {
    if (!grow(page, grown_lines(page.lines))) {
      return std::unexpected(Error(Errc::out_of_memory, "index"));
    }
    at = probe(page, tag);
  }
  *at.empty = packed;  // one slot of eight is
  ++page.used;
  count(packed, true);
  entries_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

bool Index::replace(std::uint64_t hash, Location expected, Location location, unsigned hits) {
  const std::uint32_t number = page_of(hash);
  const std::uint32_t tag = tag_of(hash);
  MutexLock lock(mutex_of(number));
  std::uint64_t* slot = find_slot(pages_[number], tag);
  if (slot == nullptr) return false;
  const bool same = layout_.location(*slot) == expected;
  if (!same && !mutated(Mutant::kReplaceWhateverIsThere)) return false;
  count(*slot, false);
  *slot = layout_.pack(tag, location) | std::uint64_t{hits}
                                            << (layout_.location_bits + kSizeClassBits);
  count(*slot, true);
  return true;
}

std::optional<Location> Index::erase(std::uint64_t hash) {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr) return std::nullopt;
  const Location before = layout_.location(*slot);
  remove(pages_[number], slot);
  return before;
}

bool Index::erase_if_at(std::uint64_t hash, std::uint64_t offset) {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr || layout_.location(*slot).offset != offset) return false;
  remove(pages_[number], slot);
  return true;
}

void Index::touch(std::uint64_t hash, std::uint64_t offset) {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr || layout_.location(*slot).offset != offset) return;
  const unsigned hits = SlotLayout::hits(*slot, layout_.location_bits);
  if (hits == 0) {
    set_hits(*slot, 1);
  } else if (hits < kHitsMax) {
    *slot += std::uint64_t{1} << (layout_.location_bits + kSizeClassBits);
  }
}

void Index::fade(std::uint64_t hash, std::uint64_t offset, unsigned hits) {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr || layout_.location(*slot).offset != offset) return;
  const unsigned before = SlotLayout::hits(*slot, layout_.location_bits);
  set_hits(*slot, before - std::min(before, hits));
}

void Index::fade_range(std::uint64_t begin, std::uint64_t end, unsigned hits) {
  for (std::uint32_t number = 0; number < pages(); ++number) {
    MutexLock lock(mutex_of(number));
    const Page& page = pages_[number];
    for (std::size_t i = 0; i < std::size_t{page.lines} * kLineSlots; ++i) {
      std::uint64_t& slot = page.slots[i];
      const std::uint64_t offset = layout_.location(slot).offset;
      if (slot == 0 || offset < begin || offset >= end) continue;
      const unsigned before = SlotLayout::hits(slot, layout_.location_bits);
      set_hits(slot, before - std::min(before, hits));
    }
  }
}

std::optional<unsigned> Index::hits_at(std::uint64_t hash, std::uint64_t offset) const {
  const std::uint32_t number = page_of(hash);
  MutexLock lock(mutex_of(number));
  const std::uint64_t* slot = find_slot(pages_[number], tag_of(hash));
  if (slot == nullptr || layout_.location(*slot).offset != offset) return std::nullopt;
  return SlotLayout::hits(*slot, layout_.location_bits);
}

std::uint64_t Index::erase_range(std::uint64_t begin, std::uint64_t end) {
  std::uint64_t erased = 0;
  for (std::uint32_t number = 0; number < pages(); ++number) {
    MutexLock lock(mutex_of(number));
    Page& page = pages_[number];
    // A removal may move a slot into a place already visited, so start over after each.
    for (std::size_t i = 0; i < std::size_t{page.lines} * kLineSlots;) {
      const std::uint64_t offset = layout_.location(page.slots[i]).offset;
      if (page.slots[i] != 0 && offset >= begin && offset < end) {
        remove(page, &page.slots[i]);
        ++erased;
        i = mutated(Mutant::kErasedRangeHasHoles) ? i + 1 : 0;
      } else {
        ++i;
      }
    }
  }
  return erased;
}

void Index::clear() {
  for (std::uint32_t number = 0; number < pages(); ++number) {
    MutexLock lock(mutex_of(number));
    Page& page = pages_[number];
    if (page.slots == nullptr) continue;
    std::memset(page.slots, 0, std::size_t{page.lines} * kLineSlots * sizeof(std::uint64_t));
    entries_.fetch_sub(page.used, std::memory_order_relaxed);
    page.used = 0;
  }
  for (std::uint32_t segment = 0; segment < segments_; ++segment) {
    uses_[segment].live.store(0, std::memory_order_relaxed);
    uses_[segment].hot.store(0, std::memory_order_relaxed);
  }
}

void Index::copy_page(std::uint32_t number, std::vector<std::uint64_t>& slots) const {
  MutexLock lock(mutex_of(number));
  const Page& page = pages_[number];
  for (std::size_t i = 0; i < std::size_t{page.lines} * kLineSlots; ++i) {
    if (page.slots[i] != 0) slots.push_back(page.slots[i]);
  }
}

Result<void> Index::load_page(std::uint32_t number, std::span<const std::uint64_t> slots) {
  MutexLock lock(mutex_of(number));
  Page& page = pages_[number];
  const auto lines = static_cast<std::uint32_t>(divide_up(page.used + slots.size(), 7));
  if (lines > page.lines && !grow(page, lines)) {
    return std::unexpected(Error(Errc::out_of_memory, "index"));
  }
  for (const std::uint64_t slot : slots) {
    const Probe at = probe(page, layout_.tag(slot));
    if (at.found != nullptr) continue;
    *at.empty = slot;
    ++page.used;
    count(slot, true);
    entries_.fetch_add(1, std::memory_order_relaxed);
  }
  return {};
}

bool Index::matches(std::uint64_t hash, std::uint32_t page, std::uint64_t slot) const {
  return page_of(hash) == page && tag_of(hash) == layout_.tag(slot);
}

std::uint64_t Index::memory_bytes() const {
  return page_bytes_.load(std::memory_order_relaxed) + pages_.size() * sizeof(Page) +
         segments_ * sizeof(Use) + sizeof(*stripe_memory_) + sizeof(*this);
}

}  // namespace rawcache
