// Block devices that somebody else uses, or of which the kernel does not tell all: what is mounted,
// swapped to, held by another device or read-only is not opened, and the message says why. Swap and
// read-only devices are real ones; for partitions and holders, which not every machine can make,
// the kernel's lists are those of the test, in a child with mounts of its own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "disk/child.h"
#include "disk/scratch.h"
#include "disk/system_calls.h"
#include "rawcache/disk.h"

namespace rawcache::testing {
namespace {

class BlockDevice : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = std::uint64_t{4} << 20;

  void SetUp() override {
    write_file("disk", "");
    std::filesystem::resize_file(directory_ / "disk", kBytes);
    loop_ = std::make_unique<LoopDevice>(directory_ / "disk", "");
    if (loop_->path().empty()) GTEST_SKIP() << "no loop devices here (losetup needs root)";
  }
  void TearDown() override { reset_scripts(); }

  void write_file(const std::string& name, const std::string& text) {
    const std::filesystem::path path = directory_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  /// What opening the device says.
  std::string told(const DiskOptions& options = {}) {
    const auto disk = open_disk(loop_->path(), options);
    return disk ? "opened" : disk.error().message();
  }

  ScratchDirectory directory_;
  std::unique_ptr<LoopDevice> loop_;
};

/// Somebody has opened the device for himself. Who, the kernel tells in /proc and /sys/dev/block.
class DeviceInUse : public BlockDevice {
 protected:
  static constexpr const char* kHeadings = "Filename\tType\tSize\tUsed\tPriority\n";

  void SetUp() override {
    BlockDevice::SetUp();
    if (IsSkipped()) return;
    struct stat status{};
    ASSERT_EQ(::stat(loop_->path().c_str(), &status), 0);
    number_ = std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
    std::filesystem::create_directories(directory_ / ("sys/" + number_ + "/holders"));
    write_file("proc/self/mountinfo", "");
    write_file("proc/swaps", kHeadings);
    fd_ = ::open(loop_->path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override {
    if (fd_ >= 0) ::close(fd_);
    BlockDevice::TearDown();
  }

  static bool replace(const std::string& place, const std::string& with) {
    return ::mount(with.c_str(), place.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  void expect_told(const std::string& words) {
    const std::string said = in_child([&]() -> std::string {
      const bool apart = ::unshare(CLONE_NEWNS) == 0 &&
                         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         replace("/sys/dev/block", directory_ / "sys") &&
                         replace("/proc", directory_ / "proc");
      return apart ? told() : "no mounts";
    });
    if (said == "no mounts") GTEST_SKIP() << "no mounts of its own for a child here";
    EXPECT_NE(said.find(loop_->path() + " is " + words), std::string::npos) << said;
  }

  std::string number_;
  int fd_ = -1;
};

TEST_F(DeviceInUse, ByNobodyWhomTheKernelNamesIsInUse) {
  write_file("proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\nno such line\n");
  expect_told("in use");
}

TEST_F(DeviceInUse, WhosePartitionIsMountedIsToldWithThatPlace) {
  write_file("sys/whole/dev", number_ + "\n");
  write_file("sys/whole/part/partition", "1\n");
  write_file("sys/other/dev", "8:0\n");
  write_file("sys/other/part/partition", "1\n");
  std::filesystem::create_symlink("whole/part", directory_ / "sys/259:7");
  std::filesystem::create_symlink("other/part", directory_ / "sys/259:8");
  write_file("proc/self/mountinfo",
             "21 1 259:8 / /other rw - ext4 /dev/x rw\n22 1 259:7 / /data rw - ext4 /dev/y rw\n");
  expect_told("mounted at /data");
}

TEST_F(DeviceInUse, ForSwapIsToldAmongFilesAndDevicesThatAreNot) {
  const std::string node = directory_ / "node";
  ASSERT_EQ(::mknod(node.c_str(), S_IFBLK | 0600, makedev(259, 99)), 0);
  std::string swaps = kHeadings;
  for (const std::string& path : {directory_ / "gone", directory_ / "disk", node, loop_->path()}) {
    swaps += path + "  \tpartition\t1024\t0\t-2\n";
  }
  write_file("proc/swaps", swaps);
  expect_told("swap");
}

TEST_F(DeviceInUse, ByAnotherDeviceIsToldWithItsName) {
  std::filesystem::create_directory(directory_ / ("sys/" + number_ + "/holders/dm-3"));
  expect_told("held by dm-3");
}

TEST_F(BlockDevice, ThatIsSwappedToIsRefusedAndTheMessageSaysSo) {
  if (first_line_of("mkswap " + loop_->path() + " >/dev/null && echo made") != "made") {
    GTEST_SKIP() << "no mkswap here";
  }
  if (::swapon(loop_->path().c_str(), 0) != 0) GTEST_SKIP() << "no swap here";
  const std::string said = told();
  ASSERT_EQ(::swapoff(loop_->path().c_str()), 0);
  EXPECT_NE(said.find(loop_->path() + " is swap"), std::string::npos) << said;
  EXPECT_EQ(told(), "opened");
}

TEST_F(BlockDevice, ThatMayOnlyBeReadIsToldFromOneThatTheUserMayNotOpen) {
  const auto outcome = [](const std::string& path) {
    const auto disk = open_disk(path);
    return disk ? "opened" : std::string(errc_name(disk.error().code()));
  };
  const LoopDevice read_only(directory_ / "disk", "-r");
  ASSERT_NE(read_only.path(), "");
  for (const int os_error : {EACCES, EPERM}) {
    opens.fail(1, os_error);
    EXPECT_EQ(outcome(read_only.path()), "read_only");
    opens.fail(1, os_error);
    EXPECT_EQ(outcome(loop_->path()), "permission_denied");
    opens.fail(2, os_error);
    EXPECT_EQ(outcome(loop_->path()), "permission_denied") << "it cannot be read either";
  }
  opens.fail(1, ENXIO);
  EXPECT_EQ(outcome(loop_->path()), "io_error");
  EXPECT_EQ(outcome(loop_->path()), "opened");
}

TEST_F(BlockDevice, WhoseSizeIsNotToldIsNotOpenedAndWhatElseIsNotToldIsGuessed) {
  controls.fail(1, EIO, 1);
  EXPECT_NE(told(), "opened");
  for (const int after : {0, 2}) {  // whether it is read-only, and how large its blocks are
    controls.fail(1, ENOTTY, after);
    EXPECT_EQ(told(), "opened");
    EXPECT_EQ(controls.failures, 0) << "nobody has asked";
  }
}

TEST_F(BlockDevice, DirectIoIsInItsBlocksWhereTheKernelDoesNotSayWhatItWants) {
  const auto alignment = [&](int states_failing) {
    looks.fail(1, ENOSYS);
    states.fail(states_failing, EIO, 2);
    const auto disk = open_disk(loop_->path(), {.direct = DirectIo::required});
    reset_scripts();
    return disk ? (*disk)->info().io_alignment : 0;
  };
  EXPECT_EQ(alignment(0), 512u);
  EXPECT_EQ(alignment(1), 4096u) << "no disk has larger ones";
}

}  // namespace
}  // namespace rawcache::testing
