// Users: who may use the server, from a file of lines "user:password".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "rawcache/result.h"

namespace rawcache::server {

class Users {
 public:
  /// Reads the file, in place of what was known. Error: nothing changed. Any thread.
  Result<void> load(const std::string& path);
  /// Whether "user password" is one of them; takes the same time for all that are wrong.
  bool knows(std::string_view user_and_password) const;

 private:
  mutable Mutex mutex_;
  std::vector<std::string> users_ GUARDED_BY(mutex_);
};

}  // namespace rawcache::server
