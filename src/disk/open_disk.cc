// open_disk: finds out what lies at a path, locks it and chooses engine and mode.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <system_error>
#include <thread>
#include <utility>

#include "base/math.h"
#include "base/mutant.h"
#include "disk/device_use.h"
#include "disk/direct_io.h"
#include "disk/file_descriptor.h"
#include "disk/posix_disk.h"
#if defined(RAWCACHE_HAVE_URING)
#include "disk/uring_disk.h"
#endif

namespace rawcache {

namespace {

Errc errc_of(int os_error) {
  switch (os_error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return Errc::no_such_file;
    case EISDIR:
      return Errc::is_a_directory;
    case EACCES:
    case EPERM:
      return Errc::permission_denied;
    case EROFS:
      return Errc::read_only;
    case EBUSY:
    case ETXTBSY:  // a swap file
      return Errc::mounted;
    case EMFILE:
    case ENFILE:
      return Errc::too_many_files;
    case ENOMEM:
      return Errc::out_of_memory;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Errc::no_space;
    default:
      return Errc::io_error;
  }
}

std::unexpected<Error> failure(const std::string& path, int os_error) {
  return std::unexpected(Error(errc_of(os_error), path, os_error));
}

bool is_device_read_only(int fd) {
  int read_only = 0;
  return ::ioctl(fd, BLKROGET, &read_only) == 0 && read_only != 0;
}

FileDescriptor open_file(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY, 0600);
  } while (fd < 0 && errno == EINTR);
  return FileDescriptor(fd);
}

/// How long to wait for a lock. The kernel lets go of a killed process's file only when the I/O
/// that it had under way is done, which takes some 30 ms and which the next cache must wait for;
/// and udev locks a block device for a moment when it has changed.
constexpr std::chrono::milliseconds kLockPause(5);
constexpr int kLockTries = 200;

/// Takes the lock that keeps other caches out. False if someone else has it.
Result<bool> try_lock(int fd, const std::string& path) {
  if (mutated(Mutant::kFileNotLocked)) return true;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return failure(path, errno);
  }
  return true;
}

Result<void> lock(int fd, const std::string& path) {
  for (int tries = kLockTries; tries > 0; --tries) {
    Result<bool> locked = try_lock(fd, path);
    if (!locked) return std::unexpected(locked.error());
    if (*locked) return {};
    std::this_thread::sleep_for(kLockPause);
  }
  return std::unexpected(Error(Errc::already_open, path));
}

/// Why a block device could not be opened exclusively.
Error busy_error(const std::string& path, dev_t device) {
  const std::string use = device_use(device);
  if (!use.empty()) return {Errc::mounted, path + " is " + use, EBUSY};
  if (const FileDescriptor fd = open_file(path, O_RDONLY); fd) {
    const Result<bool> locked = try_lock(fd.get(), path);
    if (locked && !*locked) return {Errc::already_open, path, EBUSY};
  }
  return {Errc::mounted, path + " is in use", EBUSY};
}

/// The path exists.
Result<FileDescriptor> open_existing(const std::string& path, const struct stat& status,
                                     bool read_only) {
  if (S_ISDIR(status.st_mode)) return std::unexpected(Error(Errc::is_a_directory, path));
  const bool block_device = S_ISBLK(status.st_mode);
  if (!block_device && !S_ISREG(status.st_mode)) {
    return std::unexpected(Error(Errc::not_a_file_or_disk, path));
  }
  const int exclusive = block_device ? O_EXCL : 0;
  FileDescriptor fd = open_file(path, read_only ? O_RDONLY : O_RDWR | exclusive);
  for (int tries = kLockTries; !fd && errno == EBUSY; --tries) {
    Error error = busy_error(path, status.st_rdev);
    if (tries == 0 || error != Errc::already_open) return std::unexpected(std::move(error));
    std::this_thread::sleep_for(kLockPause);
    fd = open_file(path, O_RDWR | exclusive);
  }
  if (!fd) {
    const int os_error = errno;
    if (block_device && (os_error == EACCES || os_error == EPERM)) {
      const FileDescriptor readable = open_file(path, O_RDONLY);
      if (readable && is_device_read_only(readable.get())) return failure(path, EROFS);
    }
    return failure(path, os_error);
  }
  struct stat opened{};
  if (::fstat(fd.get(), &opened) != 0) return failure(path, errno);
  if ((opened.st_mode & S_IFMT) != (status.st_mode & S_IFMT)) {
    return std::unexpected(Error(Errc::io_error, path + " was replaced while it was opened"));
  }
  if (read_only) return fd;
  if (block_device && is_device_read_only(fd.get())) return failure(path, EROFS);
  if (Result<void> locked = lock(fd.get(), path); !locked) {
    return std::unexpected(locked.error());
  }
  return fd;
}

int allocate_space(int fd, std::uint64_t bytes) {
  if (bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return EFBIG;
  const auto size = static_cast<off_t>(bytes);
  int os_error = 0;
  do {
    // Without help of the file system it writes to every block, which is as good.
    os_error = ::posix_fallocate(fd, 0, size);
  } while (os_error == EINTR);
  return os_error;
}

/// Makes the file's name durable.
int sync_directory_of(const std::string& path, int fd) {
  const std::size_t slash = path.find_last_of('/');
  std::string directory = ".";
  if (slash != std::string::npos) directory = slash == 0 ? "/" : path.substr(0, slash);
  const FileDescriptor opened = open_file(directory, O_RDONLY | O_DIRECTORY);
  if (opened && ::fsync(opened.get()) == 0) return 0;
  if (opened && errno != EINVAL) return errno;
  return ::syncfs(fd) == 0 ? 0 : errno;  // a directory that may not be read or synced by itself
}

int fill_new_file(const std::string& path, int fd, std::uint64_t bytes) {
  if (::fchmod(fd, 0600) != 0) return errno;  // whatever the umask
  if (const int os_error = allocate_space(fd, bytes); os_error != 0) return os_error;
  if (::fsync(fd) != 0) return errno;
  return sync_directory_of(path, fd);
}

/// Nothing is at the path. An empty descriptor: now there is.
Result<FileDescriptor> create_file(const std::string& path, std::uint64_t bytes) {
  FileDescriptor fd = open_file(path, O_RDWR | O_CREAT | O_EXCL);
  if (!fd && errno == EEXIST) return FileDescriptor();
  if (!fd) return failure(path, errno);
  if (Result<void> locked = lock(fd.get(), path); !locked) {
    // Whoever has it locked by now has found a file that is whole but for its size, and will say
    // so.
    if (locked.error() != Errc::already_open) ::unlink(path.c_str());
    return std::unexpected(locked.error());
  }
  if (const int os_error = fill_new_file(path, fd.get(), bytes); os_error != 0) {
    ::unlink(path.c_str());
    return failure(path, os_error);
  }
  return fd;
}

Result<FileDescriptor> open_or_create(const std::string& path, const DiskOptions& options,
                                      bool& is_new) {
  // Twice: someone else may create the file between the look and our own attempt.
  for (int attempt = 0; attempt < 2; ++attempt) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) return open_existing(path, status, options.read_only);
    const int os_error = errno;
    if (os_error != ENOENT || options.create_bytes == 0 || options.read_only) {
      return failure(path, os_error);
    }
    Result<FileDescriptor> created = create_file(path, options.create_bytes);
    is_new = created && *created;
    if (!created || is_new) return created;
  }
  return std::unexpected(
      Error(Errc::no_such_file, path + " is a symbolic link to nothing", ENOENT));
}

std::string with_reason(std::string text, int os_error) {
  if (os_error != 0) text.append(": ").append(std::generic_category().message(os_error));
  return text;
}

void add_fallback(DiskInfo& info, const std::string& reason) {
  if (!info.fallback_reason.empty()) info.fallback_reason.append("; ");
  info.fallback_reason.append(reason);
}

/// Size, alignment and O_DIRECT.
Result<void> examine(int fd, const DiskOptions& options, DiskInfo& info) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return failure(info.path, errno);
  info.block_device = S_ISBLK(status.st_mode);
  info.size_bytes = static_cast<std::uint64_t>(status.st_size);
  if (info.block_device && ::ioctl(fd, BLKGETSIZE64, &info.size_bytes) != 0) {
    return failure(info.path, errno);
  }
  if (options.direct != DirectIo::off) {
    const DirectIoMode mode = enable_direct_io(fd);
    if (!mode.direct && options.direct == DirectIo::required) {
      return std::unexpected(
          Error(Errc::not_supported, info.path + ": " + mode.refusal, mode.os_error));
    }
    if (!mode.direct) add_fallback(info, with_reason(mode.refusal, mode.os_error));
    info.direct = mode.direct;
    info.io_alignment = mode.io_alignment;
    info.memory_alignment = mode.memory_alignment;
  }
  // The page cache would take less, but the same device should look the same in both modes.
  if (info.block_device) info.io_alignment = std::max(info.io_alignment, logical_block_bytes(fd));
  info.size_bytes = round_down(info.size_bytes, info.io_alignment);
  return {};
}

Result<std::unique_ptr<Disk>> make_engine(FileDescriptor fd, IoEngine engine, DiskInfo info) {
  if (engine != IoEngine::posix) {
#if defined(RAWCACHE_HAVE_URING)
    info.engine = "io_uring";
    Result<std::unique_ptr<UringDisk>> disk = UringDisk::create(fd, info);
    if (disk) return std::unique_ptr<Disk>(std::move(*disk));
    const Error error = disk.error();
#else
    const Error error(Errc::not_supported, "built without io_uring");
#endif
    if (engine == IoEngine::io_uring) {
      const bool no_files = error.os_error() == EMFILE || error.os_error() == ENFILE;
      return std::unexpected(Error(no_files ? Errc::too_many_files : Errc::not_supported,
                                   info.path + ": " + error.detail(), error.os_error()));
    }
    add_fallback(info, with_reason(error.detail(), error.os_error()));
  }
  info.engine = "posix";
  return std::make_unique<PosixDisk>(std::move(fd), std::move(info));
}

}  // namespace

Result<std::unique_ptr<Disk>> open_disk(std::string_view path, const DiskOptions& options) {
  DiskInfo info;
  info.path = path;
  if (info.path.find('\0') != std::string::npos) {
    return std::unexpected(Error(Errc::no_such_file, info.path));
  }
  bool is_new = false;
  Result<FileDescriptor> fd = open_or_create(info.path, options, is_new);
  if (!fd) return std::unexpected(fd.error());
  const std::string created = is_new ? info.path : std::string();
  Result<std::unique_ptr<Disk>> disk = std::unexpected(Errc::io_error);
  if (Result<void> examined = examine(fd->get(), options, info); examined) {
    disk = make_engine(std::move(*fd), options.engine, std::move(info));
  } else {
    disk = std::unexpected(examined.error());
  }
  if (!disk && !created.empty()) ::unlink(created.c_str());
  return disk;
}

}  // namespace rawcache
