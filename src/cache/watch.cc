// begin_watch, end_watch: what a load watches while it fetches.
#include "cache/cache_impl.h"

namespace rawcache {

void RawDiskCache::Impl::begin_watch(std::string_view key, WriteWatch::Watched& watched) {
  watched.key_hash = hash_key(key, superblock_.id);
  MutexLock lock(log_mutex_);
  watch_.add(watched);
}

void RawDiskCache::Impl::end_watch(const WriteWatch::Watched& watched) {
  MutexLock lock(log_mutex_);
  watch_.remove(watched);
}

}  // namespace rawcache
