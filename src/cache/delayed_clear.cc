// clear_at: a clear that is noted in the superblock now, and carried out by the first call that
// finds it due.
#include <new>

#include "cache/cache_impl.h"

namespace rawcache {

Result<void> RawDiskCache::Impl::clear_at(std::int64_t time) try {
  if (closed_.load(std::memory_order_relaxed)) return std::unexpected(Errc::closed);
  if (time <= now()) return clear();
  MutexLock lock(checkpoint_mutex_);
  const FlushTurn turn(turns_);
  if (auto settled = settle_superblock(); !settled) return settled;
  (void)complete_in_turn(turn, Wait::for_everything);
  superblock_uncertain_ = true;
  Superblock noted = written_.superblock;
  noted.clear_at = static_cast<std::uint64_t>(time);
  auto written = replace_superblock(*disk_, written_, noted);
  if (!written) return std::unexpected(written.error());
  superblock_uncertain_ = false;
  written_ = *written;
  clear_at_.store(time, std::memory_order_relaxed);
  write_other_superblock();
  return {};
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

bool RawDiskCache::Impl::clear_is_due() {
  const std::int64_t time = clear_at_.load(std::memory_order_relaxed);
  return time != 0 && now() >= time;
}

// Those who find it due together wait for one of them, so that nothing is stored before it and
// lost.
Result<void> RawDiskCache::Impl::carry_out_clear() {
  if (!clear_is_due()) return {};
  MutexLock lock(checkpoint_mutex_);
  if (!clear_is_due()) return {};
  return clear_locked();
}

}  // namespace rawcache
