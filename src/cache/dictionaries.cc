#include "cache/dictionaries.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/mutant.h"

namespace rawcache {

Dictionaries::Dictionaries(const Superblock& superblock, int level)
    : superblock_(superblock),
      area_(dictionary_area(superblock.block_bytes)),
      level_(level),
      slots_(area_.slots) {}

Place Dictionaries::place_of(std::uint32_t slot, int copy) const {
  return {superblock_.id, dictionary_offset(superblock_.block_bytes, slot, copy), 0};
}

std::uint32_t Dictionaries::load(Disk& disk) {
  if (area_.slots == 0) return 0;
  AlignedBuffer buffer = AlignedBuffer::allocate_or_throw(area_.slot_bytes);
  std::uint32_t unreadable = 0;
  for (std::uint32_t slot = 0; slot < area_.slots; ++slot) {
    Held newest;
    int failures = 0;
    for (int copy = 0; copy < 2; ++copy) {
      const Place place = place_of(slot, copy);
      if (!disk.read(place.offset, buffer.bytes())) {
        ++failures;
        continue;
      }
      const auto view = decode_dictionary(buffer.bytes(), place);
      // A crash while a slot was written anew leaves two versions.
      if (!view || view->version <= newest.version) continue;
      if (auto dictionary = Dictionary::create(view->bytes, level_)) {
        newest = {view->version, std::move(dictionary)};
      }
    }
    if (failures == 2) ++unreadable;
    MutexLock lock(mutex_);
    slots_[slot] = std::move(newest);
  }
  return unreadable;
}

Dictionaries::Slot Dictionaries::newest() const {
  MutexLock lock(mutex_);
  const auto found = std::ranges::max_element(slots_, {}, &Held::version);
  if (found == slots_.end()) return {};
  return {static_cast<std::uint32_t>(found - slots_.begin()), found->dictionary};
}

std::shared_ptr<const Dictionary> Dictionaries::find(std::uint32_t slot, std::uint32_t id) const {
  MutexLock lock(mutex_);
  if (slot >= slots_.size()) return nullptr;
  const auto& held = slots_[slot].dictionary;
  const bool same = held && (held->id() == id || mutated(Mutant::kDictionaryNotCompared));
  return same ? held : nullptr;
}

std::size_t Dictionaries::count() const {
  MutexLock lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(slots_, [](const Held& held) { return held.version != 0; }));
}

std::size_t Dictionaries::bytes_max() const {
  return area_.slots == 0 ? 0 : area_.dictionary_bytes_max();
}

Result<void> Dictionaries::add(Disk& disk, std::span<const std::byte> bytes) {
  std::shared_ptr<const Dictionary> added = Dictionary::create(bytes, level_);
  if (!added) return std::unexpected(Error(Errc::not_supported, "the dictionary is of no use"));
  AlignedBuffer buffer = AlignedBuffer::allocate(area_.slot_bytes);
  if (buffer.empty()) return std::unexpected(Error(Errc::out_of_memory, "dictionary"));
  std::uint32_t slot = 0;
  std::uint32_t version = 0;
  {
    MutexLock lock(mutex_);
    version = std::ranges::max(slots_, {}, &Held::version).version + 1;
    const auto oldest = std::ranges::min_element(slots_, {}, &Held::version);
    slot = static_cast<std::uint32_t>(oldest - slots_.begin());
    *oldest = {};  // from here on nobody knows what lies there
  }
  for (int copy = 0; copy < 2; ++copy) {
    const Place place = place_of(slot, copy);
    encode_dictionary(buffer.bytes(), version, bytes, place);
    if (auto written = disk.write(place.offset, buffer.bytes()); !written) return written;
  }
  if (auto synced = disk.sync(); !synced) return synced;
  MutexLock lock(mutex_);
  slots_[slot] = {version, std::move(added)};
  return {};
}

}  // namespace rawcache
