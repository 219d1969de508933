// Dictionaries: those that lie on the device, ready for use. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "format/dictionary.h"
#include "format/superblock.h"
#include "rawcache/disk.h"
#include "rawcache/result.h"

namespace rawcache {

/// Threads: any, but `load` and `add` are for one at a time.
class Dictionaries {
 public:
  /// `level`: that values are compressed with.
  Dictionaries(const Superblock& superblock, int level);

  /// Takes what lies in the slots. What is damaged or of no use is left out: values that were
  /// compressed with it are misses then. Returns how many slots could not be read in
  /// either copy.
  std::uint32_t load(Disk& disk);

  struct Slot {
    std::uint32_t slot = 0;
    std::shared_ptr<const Dictionary> dictionary;  ///< null: none
  };
  /// The newest.
  Slot newest() const;
  /// Null if the slot holds another one by now, or none.
  std::shared_ptr<const Dictionary> find(std::uint32_t slot, std::uint32_t id) const;
  std::size_t count() const;

  /// Size that the next one may have; 0: this cache has no room for any.
  std::size_t bytes_max() const;
  /// Writes the dictionary into a slot that is free, or else into that of the oldest, in both
  /// copies, syncs, and uses it from now on. Errors: io_error, sync_failed, out_of_memory;
  /// not_supported if no codec takes it.
  Result<void> add(Disk& disk, std::span<const std::byte> bytes);

 private:
  struct Held {
    std::uint32_t version = 0;  ///< 0: none
    std::shared_ptr<const Dictionary> dictionary;
  };
  Place place_of(std::uint32_t slot, int copy) const;

  const Superblock& superblock_;
  const DictionaryArea area_;
  const int level_;
  mutable Mutex mutex_;
  std::vector<Held> slots_ GUARDED_BY(mutex_);
};

}  // namespace rawcache
