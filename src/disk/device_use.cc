#include "disk/device_use.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace rawcache {

namespace {

std::string sysfs_directory(const std::string& device_number) {
  return "/sys/dev/block/" + device_number;
}

/// Whether `other` is the device itself or a partition of it; both as "major:minor".
bool is_part_of(const std::string& device, const std::string& other) {
  if (other == device) return true;
  std::ifstream partition(sysfs_directory(other) + "/partition");
  if (!partition) return false;
  std::string whole;
  std::ifstream(sysfs_directory(other) + "/../dev") >> whole;
  return whole == device;
}

std::string mount_of(const std::string& device) {
  // Lines: id parent major:minor root mount-point ...
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, number, root, place;
    fields >> id >> parent >> number >> root >> place;
    if (fields && is_part_of(device, number)) return place;
  }
  return {};
}

bool is_swap(const std::string& device) {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  std::getline(swaps, line);  // the headings
  while (std::getline(swaps, line)) {
    struct stat status{};
    const std::string path = line.substr(0, line.find_first_of(" \t"));
    if (::stat(path.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) continue;
    const std::string number =
        std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
    if (is_part_of(device, number)) return true;
  }
  return false;
}

std::string holder_of(const std::string& device) {
  std::error_code error;
  std::filesystem::directory_iterator holders(sysfs_directory(device) + "/holders", error);
  if (error || holders == std::filesystem::directory_iterator()) return {};
  return holders->path().filename().string();
}

}  // namespace

std::string device_use(dev_t device) {
  const std::string number = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  if (const std::string place = mount_of(number); !place.empty()) return "mounted at " + place;
  if (is_swap(number)) return "swap";
  if (const std::string holder = holder_of(number); !holder.empty()) return "held by " + holder;
  return {};
}

}  // namespace rawcache
