// Scratch directories, loop devices and mounts that go away with their objects.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace rawcache::testing {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::error_code error;
    std::string path = std::filesystem::temp_directory_path(error).string() + "/rawcache.XXXXXX";
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~ScratchDirectory() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Runs a command; returns the first line that it prints, or "" if it fails.
inline std::string first_line_of(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return {};
  std::array<char, 512> line{};
  const bool got = std::fgets(line.data(), line.size(), pipe) != nullptr;
  std::string text = got ? line.data() : "";
  if (::pclose(pipe) != 0) return {};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// A loop device over a file; path() is empty where that is not possible.
class LoopDevice {
 public:
  LoopDevice(const std::string& file, const std::string& options) {
    if (::geteuid() == 0) path_ = first_line_of("losetup -f --show " + options + " " + file);
  }
  ~LoopDevice() {
    if (!path_.empty()) first_line_of("losetup -d " + path_);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A mounted file system; ok() is false where that is not possible.
class Mount {
 public:
  Mount(const std::string& source, const std::string& place, const std::string& type,
        const std::string& data = {})
      : place_(place) {
    std::error_code error;
    std::filesystem::create_directories(place, error);
    ok_ = ::mount(source.c_str(), place.c_str(), type.c_str(), 0, data.c_str()) == 0;
  }
  ~Mount() {
    if (ok_) ::umount2(place_.c_str(), MNT_DETACH);
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  bool ok() const { return ok_; }

 private:
  std::string place_;
  bool ok_ = false;
};

}  // namespace rawcache::testing
