#include "bench/memory_group.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "bench/engine.h"

namespace rawcache::bench {

namespace {

void write_number(const std::string& path, std::uint64_t number) {
  std::ofstream file(path);
  if (!(file << number << std::flush)) fail(path, "cannot be written");
}

}  // namespace

MemoryGroup::MemoryGroup(const std::string& folder, std::uint64_t limit_bytes) {
  if (folder.empty()) return;
  path_ = folder + "/rawcache-bench." + std::to_string(::getpid());
  if (::mkdir(path_.c_str(), 0755) != 0 && errno != EEXIST) fail(path_, std::strerror(errno));
  const std::string limit = path_ + "/memory.max";
  const bool version_2 = ::access(limit.c_str(), F_OK) == 0;
  write_number(version_2 ? limit : path_ + "/memory.limit_in_bytes", limit_bytes);
}

MemoryGroup::~MemoryGroup() {
  if (!path_.empty()) ::rmdir(path_.c_str());
}

void MemoryGroup::enter() const {
  if (!path_.empty()) write_number(path_ + "/cgroup.procs", 0);  // 0: who writes
}

}  // namespace rawcache::bench
