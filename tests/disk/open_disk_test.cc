// open_disk's promises: each thing that can be wrong with a path is told apart, a disk has one user
// at a time, creation leaves a whole file or none, and what is not as preferred is said. Everything
// is provoked for real; what needs root is skipped without it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "disk/child.h"
#include "disk/scratch.h"
#include "rawcache/disk.h"

namespace rawcache::testing {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class OpenDisk : public ::testing::Test {
 protected:
  std::string file_of(std::uint64_t bytes, const std::string& name = "disk") {
    std::string path = directory_ / name;
    std::ofstream file(path);
    file.close();
    std::filesystem::resize_file(path, bytes);
    return path;
  }

  static bool is_root() { return ::geteuid() == 0; }

  ScratchDirectory directory_;
};

/// The error's name, or "opened".
std::string outcome(const std::string& path, const DiskOptions& options = {}) {
  const Result<std::unique_ptr<Disk>> disk = open_disk(path, options);
  return disk ? "opened" : std::string(errc_name(disk.error().code()));
}

TEST_F(OpenDisk, AMissingPathIsNoSuchFile) {
  EXPECT_EQ(outcome(directory_ / "missing"), "no_such_file");
  EXPECT_EQ(outcome(directory_ / "missing/disk"), "no_such_file");
  EXPECT_EQ(outcome(file_of(kMiB) + "/disk"), "no_such_file");
  EXPECT_EQ(outcome(""), "no_such_file");
  EXPECT_EQ(outcome(file_of(kMiB) + std::string("\0x", 2)), "no_such_file");
  EXPECT_EQ(outcome(directory_ / "missing", {.create_bytes = kMiB, .read_only = true}),
            "no_such_file");
}

TEST_F(OpenDisk, ADirectoryIsToldApart) {
  EXPECT_EQ(outcome(directory_.path()), "is_a_directory");
  EXPECT_EQ(outcome(directory_.path(), {.create_bytes = kMiB}), "is_a_directory");
}

TEST_F(OpenDisk, AFifoASocketAndACharacterDeviceAreRefusedWithoutOpeningThem) {
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(outcome(directory_ / "fifo"), "not_a_file_or_disk");  // opening would wait for a writer
  EXPECT_EQ(outcome(directory_ / "fifo", {.read_only = true}), "not_a_file_or_disk");

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = directory_ / "socket";
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(outcome(path), "not_a_file_or_disk");
  ::close(fd);

  EXPECT_EQ(outcome("/dev/null"), "not_a_file_or_disk");
}

TEST_F(OpenDisk, WithoutPermissionItIsPermissionDenied) {
  const std::string path = file_of(kMiB);
  ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0555), 0);
  EXPECT_EQ(in_child([&]() -> std::string {
              return become_nobody() ? outcome(path) : "still privileged";
            }),
            "permission_denied");
  EXPECT_EQ(in_child([&]() -> std::string {
              return become_nobody() ? outcome(directory_ / "new", {.create_bytes = kMiB}) : "";
            }),
            "permission_denied");
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
}

TEST_F(OpenDisk, AReadOnlyFileSystemIsReadOnly) {
  if (!is_root()) GTEST_SKIP() << "mounting needs root";
  const std::string place = directory_ / "mount";
  const Mount mount("tmpfs", place, "tmpfs", "size=4m");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount a tmpfs here";
  ASSERT_EQ(outcome(place + "/disk", {.create_bytes = kMiB}), "opened");
  ASSERT_EQ(::mount("tmpfs", place.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m"), 0);
  EXPECT_EQ(outcome(place + "/disk"), "read_only");
  EXPECT_EQ(outcome(place + "/new", {.create_bytes = kMiB}), "read_only");
  EXPECT_EQ(outcome(place + "/disk", {.read_only = true}), "opened");
}

TEST_F(OpenDisk, AReadOnlyDeviceIsReadOnly) {
  const LoopDevice loop(file_of(4 * kMiB), "-r");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  EXPECT_EQ(outcome(loop.path()), "read_only");
  EXPECT_EQ(outcome(loop.path(), {.read_only = true}), "opened");
}

TEST_F(OpenDisk, AMountedDeviceIsRefusedAndTheMessageSaysWhereItIsMounted) {
  const std::string file = file_of(16 * kMiB);
  const LoopDevice loop(file, "");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  if (first_line_of("mkfs.ext4 -q " + loop.path() + " && echo made") != "made") {
    GTEST_SKIP() << "no mkfs.ext4 here";
  }
  {
    const Mount mount(loop.path(), directory_ / "mount", "ext4");
    if (!mount.ok()) GTEST_SKIP() << "cannot mount here";
    const Result<std::unique_ptr<Disk>> disk = open_disk(loop.path());
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error(), Errc::mounted);
    EXPECT_NE(disk.error().message().find("mounted at " + directory_ / "mount"), std::string::npos)
        << disk.error().message();
  }
  EXPECT_EQ(outcome(loop.path()), "opened");
}

TEST_F(OpenDisk, ADeviceThatSomeoneElseHoldsExclusivelyIsInUse) {
  const LoopDevice loop(file_of(4 * kMiB), "");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  const int fd = ::open(loop.path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(outcome(loop.path()), "mounted");
  ::close(fd);
  EXPECT_EQ(outcome(loop.path()), "opened");
}

TEST_F(OpenDisk, AFileHasOneUserAtATimeWhateverNameItComesBy) {
  const std::string path = file_of(kMiB);
  std::filesystem::create_symlink(path, directory_ / "symlink");
  std::filesystem::create_hard_link(path, directory_ / "hardlink");
  for (const IoEngine engine : {IoEngine::automatic, IoEngine::posix}) {
    Result<std::unique_ptr<Disk>> disk = open_disk(path, {.engine = engine});
    ASSERT_TRUE(disk);
    const Result<std::unique_ptr<Disk>> second = open_disk(directory_ / "symlink");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), Errc::already_open);
    EXPECT_NE(second.error().message().find("symlink"), std::string::npos);
    EXPECT_EQ(outcome(path, {.create_bytes = kMiB}), "already_open");
    EXPECT_EQ(outcome(directory_ / "hardlink"), "already_open");
    EXPECT_EQ(in_child([&] { return outcome(path); }), "already_open");
    EXPECT_EQ(outcome(path, {.read_only = true}), "opened");
    disk->reset();
    EXPECT_EQ(outcome(path), "opened");
  }
}

TEST_F(OpenDisk, ADeviceHasOneUserAtATimeWhateverNameItComesBy) {
  const LoopDevice loop(file_of(4 * kMiB), "");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  struct stat status{};
  ASSERT_EQ(::stat(loop.path().c_str(), &status), 0);
  const std::string node = directory_ / "node";
  ASSERT_EQ(::mknod(node.c_str(), S_IFBLK | 0600, status.st_rdev), 0);
  Result<std::unique_ptr<Disk>> disk = open_disk(loop.path());
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_TRUE((*disk)->info().block_device);
  EXPECT_EQ((*disk)->info().size_bytes, 4 * kMiB);
  EXPECT_EQ(outcome(loop.path()), "already_open");
  const std::string other = outcome(node);  // a scratch directory may forbid devices
  EXPECT_TRUE(other == "mounted" || other == "permission_denied") << other;
  EXPECT_EQ(outcome(loop.path(), {.read_only = true}), "opened");
  disk->reset();
  EXPECT_EQ(outcome(loop.path()), "opened");
}

TEST_F(OpenDisk, TheLockGoesWithTheDiskAtOnce) {
  const std::string path = file_of(kMiB);
  const LoopDevice loop(file_of(4 * kMiB, "device"), "");
  for (const std::string& place : {path, loop.path()}) {
    if (place.empty()) continue;
    for (int round = 0; round < 50; ++round) {
      Result<std::unique_ptr<Disk>> disk = open_disk(place);
      ASSERT_TRUE(disk) << place << ", round " << round << ": " << disk.error().message();
      AlignedBuffer memory = AlignedBuffer::allocate(65536);
      (*disk)->use_memory(memory.bytes());
      ASSERT_TRUE((*disk)->read(0, memory.bytes()));  // through the ring
      disk->reset();
    }
  }
}

TEST_F(OpenDisk, ACreatedFileIsPrivateWholeAndZero) {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    const std::string path = directory_ / ("new" + std::to_string(mask));
    const mode_t before = ::umask(mask);
    const Result<std::unique_ptr<Disk>> disk = open_disk(path, {.create_bytes = 8 * kMiB});
    ::umask(before);
    ASSERT_TRUE(disk) << disk.error().message();
    EXPECT_EQ((*disk)->info().size_bytes, 8 * kMiB);
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_size, static_cast<off_t>(8 * kMiB));
    EXPECT_GE(status.st_blocks * 512, static_cast<off_t>(8 * kMiB)) << "space is not allocated";
    std::vector<std::byte> bytes(8 * kMiB, std::byte{1});
    ASSERT_TRUE((*disk)->read(0, bytes));
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0}), bytes.end() - bytes.begin());
  }
}

TEST_F(OpenDisk, WhatExistsIsOpenedAsItIs) {
  const std::string path = file_of(3 * kMiB);
  const Result<std::unique_ptr<Disk>> disk = open_disk(path, {.create_bytes = 8 * kMiB});
  ASSERT_TRUE(disk);
  EXPECT_EQ((*disk)->info().size_bytes, 3 * kMiB);
}

TEST_F(OpenDisk, AFailedCreationLeavesNoFile) {
  EXPECT_EQ(outcome(directory_ / "missing/disk", {.create_bytes = kMiB}), "no_such_file");
  EXPECT_EQ(outcome(directory_ / "huge", {.create_bytes = std::uint64_t{1} << 62}), "no_space");
  EXPECT_EQ(outcome(directory_ / "huge", {.create_bytes = ~std::uint64_t{0}}), "no_space");
  EXPECT_FALSE(std::filesystem::exists(directory_ / "huge"));
  std::filesystem::create_symlink(directory_ / "nothing", directory_ / "dangling");
  EXPECT_EQ(outcome(directory_ / "dangling", {.create_bytes = kMiB}), "no_such_file");
  EXPECT_FALSE(std::filesystem::exists(directory_ / "nothing"));
}

TEST_F(OpenDisk, AFullFileSystemIsNoSpaceAndLeavesNoFile) {
  if (!is_root()) GTEST_SKIP() << "mounting needs root";
  const std::string place = directory_ / "mount";
  const Mount mount("tmpfs", place, "tmpfs", "size=1m");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount a tmpfs here";
  EXPECT_EQ(outcome(place + "/disk", {.create_bytes = 4 * kMiB}), "no_space");
  EXPECT_TRUE(std::filesystem::is_empty(place));
  EXPECT_EQ(outcome(place + "/disk", {.create_bytes = kMiB / 2}), "opened");
}

TEST_F(OpenDisk, AtTheLimitOfDescriptorsItIsTooManyFiles) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
  GTEST_SKIP() << "the undefined-behaviour sanitizer needs a descriptor of its own for its checks";
#endif
#endif
  const std::string path = file_of(kMiB);
  const auto at_limit = [&](rlim_t limit, const DiskOptions& options) {
    return in_child([&]() -> std::string {
      const int lowest = ::dup(0);  // the descriptor that is given next
      ::close(lowest);
      const rlimit files{static_cast<rlim_t>(lowest) + limit, static_cast<rlim_t>(lowest) + limit};
      if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return "no limit";
      const Result<std::unique_ptr<Disk>> disk = open_disk(path, options);
      if (!disk) return std::string(errc_name(disk.error().code()));
      return (*disk)->info().engine + ": " + (*disk)->info().fallback_reason;
    });
  };
  EXPECT_EQ(at_limit(0, {}), "too_many_files");
  EXPECT_EQ(at_limit(1, {.engine = IoEngine::posix}), "posix: ");
#if defined(RAWCACHE_HAVE_URING)
  // One descriptor for the file, none for the ring.
  EXPECT_EQ(at_limit(1, {.engine = IoEngine::io_uring}), "too_many_files");
  EXPECT_EQ(at_limit(1, {}), "posix: io_uring refused by the kernel: Too many open files");
#endif
}

TEST_F(OpenDisk, AKernelWithoutIoUringMeansPosixAndThatIsSaid) {
  const std::string path = file_of(kMiB);
  for (const int os_error : {EPERM, ENOSYS, ENOMEM}) {
    const auto refused = [&](const DiskOptions& options) {
      return in_child([&]() -> std::string {
        if (!refuse_system_call(SYS_io_uring_setup, os_error)) return "no filter";
        const Result<std::unique_ptr<Disk>> disk = open_disk(path, options);
        if (!disk)
          return std::string(errc_name(disk.error().code())) + ": " + disk.error().message();
        std::vector<std::byte> bytes(65536);
        if (!(*disk)->read(0, bytes)) return "cannot read";
        return (*disk)->info().engine + ": " + (*disk)->info().fallback_reason;
      });
    };
    if (refused({}) == "no filter") GTEST_SKIP() << "no system call filters here";
    EXPECT_EQ(refused({.engine = IoEngine::posix}), "posix: ");
    const std::string forced = refused({.engine = IoEngine::io_uring});
    EXPECT_TRUE(forced.starts_with("not_supported: ")) << forced;
#if defined(RAWCACHE_HAVE_URING)
    const std::string why = std::generic_category().message(os_error);
    EXPECT_EQ(refused({}), "posix: io_uring refused by the kernel: " + why);
    EXPECT_NE(forced.find(why), std::string::npos) << forced;
#endif
  }
}

TEST_F(OpenDisk, AFileSystemWithoutDirectIoMeansPageCacheAndThatIsSaid) {
  if (!is_root()) GTEST_SKIP() << "mounting needs root";
  const std::string place = directory_ / "mount";
  const Mount mount("ramfs", place, "ramfs");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount a ramfs here";
  EXPECT_EQ(outcome(place + "/new", {.direct = DirectIo::required, .create_bytes = kMiB}),
            "not_supported");
  EXPECT_FALSE(std::filesystem::exists(place + "/new"));
  for (const IoEngine engine : {IoEngine::automatic, IoEngine::posix}) {
    const Result<std::unique_ptr<Disk>> disk =
        open_disk(place + "/disk", {.engine = engine, .create_bytes = kMiB});
    ASSERT_TRUE(disk) << disk.error().message();
    EXPECT_FALSE((*disk)->info().direct);
    EXPECT_EQ((*disk)->info().io_alignment, 512u);
    EXPECT_TRUE((*disk)->info().fallback_reason.starts_with("O_DIRECT"))
        << (*disk)->info().fallback_reason;
    std::vector<std::byte> bytes(512, std::byte{7}), back(512);
    ASSERT_TRUE((*disk)->write(512, bytes));
    ASSERT_TRUE((*disk)->read(512, back));
    EXPECT_EQ(back, bytes);
  }
}

TEST_F(OpenDisk, ThePageCacheMayBeAskedForAndIsNoFallback) {
  const Result<std::unique_ptr<Disk>> disk = open_disk(file_of(kMiB), {.direct = DirectIo::off});
  ASSERT_TRUE(disk);
  EXPECT_FALSE((*disk)->info().direct);
  EXPECT_EQ((*disk)->info().io_alignment, 512u);
  EXPECT_EQ((*disk)->info().fallback_reason, "");
}

TEST_F(OpenDisk, AFileOfAnyLengthOpensAndItsLastPartialUnitIsNotUsed) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, kMiB + 511, kMiB + 512}) {
    for (const DirectIo direct : {DirectIo::automatic, DirectIo::off}) {
      const Result<std::unique_ptr<Disk>> disk = open_disk(file_of(bytes), {.direct = direct});
      ASSERT_TRUE(disk) << disk.error().message();
      const DiskInfo& info = (*disk)->info();
      EXPECT_EQ(info.size_bytes, bytes - bytes % info.io_alignment);
      std::vector<std::byte> unit(info.io_alignment);
      if (info.size_bytes != 0) {
        EXPECT_TRUE((*disk)->read(info.size_bytes - unit.size(), unit));
      }
      EXPECT_EQ((*disk)->read(info.size_bytes, unit).error(), Errc::invalid_io);
    }
  }
}

TEST_F(OpenDisk, ADeviceWithLargeBlocksWantsThemInBothModes) {
  const LoopDevice loop(file_of(4 * kMiB), "-b 4096");
  if (loop.path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  for (const DirectIo direct : {DirectIo::required, DirectIo::off}) {
    const Result<std::unique_ptr<Disk>> disk = open_disk(loop.path(), {.direct = direct});
    ASSERT_TRUE(disk) << disk.error().message();
    EXPECT_EQ((*disk)->info().io_alignment, 4096u);
    std::vector<std::byte> bytes(4096);
    EXPECT_TRUE((*disk)->read(4096, bytes));
  }
}

TEST_F(OpenDisk, AReadOnlyDiskReadsAndItsWritesFail) {
  const std::string path = file_of(kMiB);
  for (const IoEngine engine : {IoEngine::automatic, IoEngine::posix}) {
    const Result<std::unique_ptr<Disk>> disk =
        open_disk(path, {.engine = engine, .read_only = true});
    ASSERT_TRUE(disk);
    std::vector<std::byte> bytes(4096);
    EXPECT_TRUE((*disk)->read(0, bytes));
    const Result<void> written = (*disk)->write(0, bytes);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error(), Errc::io_error);
    EXPECT_EQ(written.error().os_error(), EBADF);
    EXPECT_EQ(written.error().detail(), "write of 4096 bytes at 0 of " + path);
  }
}

}  // namespace
}  // namespace rawcache::testing
