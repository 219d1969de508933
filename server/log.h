// Log: the server's messages, to standard error or a file, with the priorities that journald reads.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "base/mutex.h"

namespace rawcache::server {

class Log {
 public:
  enum class Level : int { error = 3, warning = 4, notice = 5, info = 6 };

  /// Empty path: standard error. False: it cannot be opened, and standard error is used.
  bool open(const std::string& path);
  ~Log();
  /// One line. Any thread.
  void say(Level level, std::string_view text);

 private:
  Mutex mutex_;
  std::FILE* file_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace rawcache::server
