#include "server/auth.h"

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace rawcache::server {

namespace {

/// Longer lines are mistakes.
constexpr std::size_t kUserBytesMax = 1024;

/// Without saying by its time where they differ.
bool same(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(i < b.size() ? b[i] : '\0');
  }
  return difference == 0;
}

}  // namespace

Result<void> Users::load(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::unexpected(Error(Errc::no_such_file, path, errno));
  std::vector<std::string> users;
  std::string line;
  while (std::getline(file, line)) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || colon == 0 || line.size() > kUserBytesMax) {
      return std::unexpected(Error(Errc::invalid_options, path + ": a line is not user:password"));
    }
    line[colon] = ' ';
    users.push_back(line);
  }
  if (users.empty()) return std::unexpected(Error(Errc::invalid_options, path + ": no users"));
  MutexLock lock(mutex_);
  users_ = std::move(users);
  return {};
}

bool Users::knows(std::string_view user_and_password) const {
  if (user_and_password.size() > kUserBytesMax) return false;
  MutexLock lock(mutex_);
  bool known = false;
  for (const std::string& user : users_) known |= same(user_and_password, user);
  return known;
}

}  // namespace rawcache::server
