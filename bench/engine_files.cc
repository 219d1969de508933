// A directory of files, one for each entry.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "bench/engine.h"

namespace rawcache::bench {

namespace {

/// Directories: the first digits of the key.
constexpr std::size_t kFolderDigits = 2;
/// More would only measure how a file system makes inodes.
constexpr std::uint64_t kFilesMax = 30'000;

void check(bool ok, const char* what) {
  if (!ok) fail(std::string("files: ") + what, std::strerror(errno));
}

class FilesEngine final : public Engine {
 public:
  void open(const Settings& settings) override {
    root_ = settings.folder + "/files/";
    if (settings.fresh) {
      std::filesystem::remove_all(root_);
      check(::mkdir(root_.c_str(), 0700) == 0, "mkdir");
      for (unsigned i = 0; i < 1u << (4 * kFolderDigits); ++i) {
        char name[kFolderDigits + 1];
        std::snprintf(name, sizeof name, "%02x", i);
        check(::mkdir((root_ + name).c_str(), 0700) == 0, "mkdir");
      }
    }
    folder_ = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(folder_ >= 0, "open folder");
  }

  void close() override { ::close(folder_); }

  /// What is new is written in its place, what is not beside it and renamed over it, so that a
  /// reader sees the one or the other.
  void put_batch(std::span<const Entry> entries) override {
    for (const Entry& entry : entries) {
      const std::string path = path_of(entry.key);
      int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      if (file >= 0) {
        write_and_close(file, entry.value, /*durable=*/false);
        continue;
      }
      const std::string other = path + '.' + std::to_string(turn_++);
      file = ::open(other.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      check(file >= 0, "open");
      write_and_close(file, entry.value, /*durable=*/false);
      check(::rename(other.c_str(), path.c_str()) == 0, "rename");
    }
  }

  /// In its place: one sync instead of the two that a new file and its directory need.
  void put_durable(const Entry& entry) override {
    const int file = ::open(path_of(entry.key).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    check(file >= 0, "open");
    write_and_close(file, entry.value, /*durable=*/true);
  }

  void flush() override { check(::syncfs(folder_) == 0, "syncfs"); }

  void get(const Key& key, Sink& sink) override {
    thread_local std::vector<char> buffer;
    const int file = ::open(path_of(key.view()).c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat status{};
    check(::fstat(file, &status) == 0, "stat");
    buffer.resize(static_cast<std::size_t>(status.st_size));
    std::size_t done = 0;
    while (done < buffer.size()) {
      const ssize_t got = ::read(file, buffer.data() + done, buffer.size() - done);
      check(got >= 0, "read");
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    ::close(file);
    sink.take(key, {buffer.data(), done});
  }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    for (const Key& key : keys) get(key, sink);
  }

 private:
  std::string path_of(std::string_view key) const {
    std::string path = root_;
    path.append(key.substr(0, kFolderDigits)).push_back('/');
    path.append(key);
    return path;
  }

  static void write_and_close(int file, std::span<const std::byte> value, bool durable) {
    for (std::size_t done = 0; done < value.size();) {
      const ssize_t put = ::write(file, value.data() + done, value.size() - done);
      check(put > 0, "write");
      done += static_cast<std::size_t>(put);
    }
    if (durable) check(::fsync(file) == 0, "fsync");
    check(::close(file) == 0, "close");
  }

  std::string root_;
  int folder_ = -1;
  std::atomic<std::uint64_t> turn_{0};
};

}  // namespace

void add_files(std::vector<EngineKind>& kinds) {
  kinds.push_back({.name = "files",
                   .description = "256 directories, at most 30,000 files",
                   .entries_max = kFilesMax,
                   .make = [] { return std::make_unique<FilesEngine>(); }});
}

}  // namespace rawcache::bench
