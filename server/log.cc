#include "server/log.h"

#include <sys/stat.h>

#include <ctime>

namespace rawcache::server {

bool Log::open(const std::string& path) {
  std::FILE* file = nullptr;
  if (!path.empty()) {
    const mode_t before = umask(0077);
    file = std::fopen(path.c_str(), "ae");
    umask(before);
  }
  MutexLock lock(mutex_);
  if (file_ != nullptr) std::fclose(file_);
  file_ = file;
  return path.empty() || file != nullptr;
}

Log::~Log() { (void)open({}); }

void Log::say(Level level, std::string_view text) {
  MutexLock lock(mutex_);
  if (file_ == nullptr) {
    std::fprintf(stderr, "<%d>%.*s\n", static_cast<int>(level), static_cast<int>(text.size()),
                 text.data());
    return;
  }
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
  std::fprintf(file_, "%s %d %.*s\n", stamp, static_cast<int>(level), static_cast<int>(text.size()),
               text.data());
  std::fflush(file_);
}

}  // namespace rawcache::server
