// A file on a file system of our own (FUSE) that forgets what was not synced: a device with a
// volatile write cache under real processes, whose power can be cut.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace rawcache::testing {

/// Served by a child process until it is destroyed. One thread uses it.
class VolatileFile {
 public:
  /// Mounts a file system on a directory that exists. null where that is not possible; then
  /// `why_not` says why.
  static std::unique_ptr<VolatileFile> mount(const std::string& directory, std::uint64_t bytes,
                                             std::string& why_not);
  ~VolatileFile();
  VolatileFile(const VolatileFile&) = delete;
  VolatileFile& operator=(const VolatileFile&) = delete;

  /// The file. Its content survives as a device's would.
  const std::string& path() const { return path_; }

  /// At the k-th write or sync from now on the power is cut: it and all after it fail, and the
  /// process whose turn it is (set_victim) is killed before it learns. 0: not by itself.
  void cut_at(std::uint64_t k);
  void set_victim(pid_t process);

  /// Cuts the power, if that has not happened, and brings it back: of what was not synced, some is
  /// lost and some torn, by the seed. Files opened before give errors from now on. False if the
  /// server is gone.
  bool restart(std::uint64_t seed);

 private:
  struct Control;
  VolatileFile(std::string directory, Control* control);

  const std::string directory_;
  const std::string path_;
  Control* const control_;  ///< shared with the server
  pid_t server_ = 0;
};

}  // namespace rawcache::testing
