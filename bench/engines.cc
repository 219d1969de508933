#include <unistd.h>

#include <cstdio>

#include "bench/engine.h"

namespace rawcache::bench {

std::vector<EngineKind> all_engines() {
  std::vector<EngineKind> kinds;
  add_rawcache(kinds);
#ifdef RAWCACHE_BENCH_ROCKSDB
  add_rocksdb(kinds);
#endif
#ifdef RAWCACHE_BENCH_LEVELDB
  add_leveldb(kinds);
#endif
#ifdef RAWCACHE_BENCH_LMDB
  add_lmdb(kinds);
#endif
  add_files(kinds);
#ifdef RAWCACHE_BENCH_URING
  add_device_limit(kinds);
#endif
  return kinds;
}

std::vector<std::string> missing_engines() {
  std::vector<std::string> names;
#ifndef RAWCACHE_BENCH_ROCKSDB
  names.emplace_back("rocksdb");
#endif
#ifndef RAWCACHE_BENCH_LEVELDB
  names.emplace_back("leveldb");
#endif
#ifndef RAWCACHE_BENCH_LMDB
  names.emplace_back("lmdb");
#endif
#ifndef RAWCACHE_BENCH_URING
  names.emplace_back("limit");
#endif
  return names;
}

void fail(std::string_view what, std::string_view why) {
  std::fprintf(stderr, "\n%.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(why.size()), why.data());
  std::fflush(nullptr);
  // Not exit(): other threads are still at work on what destructors would take away.
  ::_exit(1);
}

}  // namespace rawcache::bench
