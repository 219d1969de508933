#include "bench/meter.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace rawcache::bench {

namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::size_t kFilesLookedAtMax = 2000;

/// The number that follows a name in a file of lines "name: number".
std::uint64_t number_after(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  std::uint64_t number = 0;
  while (file >> word) {
    if (word == name && file >> number) return number;
  }
  return 0;
}

double machine_cpu_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  double used = 0;
  file >> word;
  for (int i = 0; i < 8; ++i) {
    double ticks = 0;
    file >> ticks;
    if (i != 3 && i != 4) used += ticks;  // idle, waiting for I/O
  }
  return used / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::uint64_t cached_pages(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (file < 0 || ::fstat(file, &status) != 0 || status.st_size == 0) {
    ::close(file);
    return 0;
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident((size + page - 1) / page);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  ::close(file);
  if (mapping == MAP_FAILED) return 0;
  if (::mincore(mapping, size, resident.data()) != 0) resident.clear();
  ::munmap(mapping, size);
  return static_cast<std::uint64_t>(
      std::ranges::count_if(resident, [](unsigned char flags) { return (flags & 1) != 0; }));
}

void add_device(const std::string& folder, Usage& usage) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return;
  std::ifstream file("/sys/dev/block/" + std::to_string(major(status.st_dev)) + ":" +
                     std::to_string(minor(status.st_dev)) + "/stat");
  std::uint64_t ignored = 0, read_sectors = 0, written_sectors = 0;
  file >> ignored >> ignored >> read_sectors >> ignored >> ignored >> ignored >> written_sectors;
  usage.device_read_bytes = read_sectors * kSectorBytes;
  usage.device_written_bytes = written_sectors * kSectorBytes;
}

}  // namespace

std::uint64_t now_ns() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

Usage Usage::now(const std::string& folder) {
  Usage usage;
  rusage own{};
  ::getrusage(RUSAGE_SELF, &own);
  for (const timeval& t : {own.ru_utime, own.ru_stime}) {
    usage.cpu_s += static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  }
  usage.machine_cpu_s = machine_cpu_seconds();
  usage.process_written_bytes = number_after("/proc/self/io", "write_bytes:");
  usage.process_read_bytes = number_after("/proc/self/io", "read_bytes:");
  usage.memory_bytes = number_after("/proc/self/status", "RssAnon:") << 10;
  add_device(folder, usage);
  usage.time_ns = now_ns();
  return usage;
}

std::uint64_t disk_bytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder, error)) {
    struct stat status{};
    if (::lstat(file.path().c_str(), &status) == 0) {
      bytes += static_cast<std::uint64_t>(status.st_blocks) * kSectorBytes;
    }
  }
  return bytes;
}

std::uint64_t page_cache_bytes(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder, error)) {
    if (file.is_regular_file(error)) files.push_back(file.path());
  }
  const std::size_t step = files.size() / kFilesLookedAtMax + 1;
  std::uint64_t pages = 0;
  for (std::size_t i = 0; i < files.size(); i += step) pages += cached_pages(files[i]);
  return pages * step * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

const char* drop_caches(const std::string& folder) {
  ::sync();
  if (std::ofstream file("/proc/sys/vm/drop_caches"); file) {
    file << 3;
    file.flush();
    if (file) return "drop_caches";
  }
  std::error_code error;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder, error)) {
    const int descriptor = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }
  return "fadvise";
}

void settle(const std::string& folder, std::uint64_t limit_ns) {
  using namespace std::chrono_literals;
  constexpr auto kLook = 50ms;
  constexpr int kQuietLooks = 3;
  const std::uint64_t start = now_ns();
  Usage last = Usage::now(folder);
  for (int quiet = 0; quiet < kQuietLooks && now_ns() - start < limit_ns;) {
    std::this_thread::sleep_for(kLook);
    const Usage usage = Usage::now(folder);
    const bool idle = usage.process_written_bytes == last.process_written_bytes &&
                      usage.cpu_s - last.cpu_s < 0.005;
    quiet = idle ? quiet + 1 : 0;
    last = usage;
  }
}

}  // namespace rawcache::bench
