#include "crash/volatile_file.h"

#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iterator>
#include <random>
#include <thread>
#include <vector>

#include "base/math.h"
#include "crash/power_cut.h"

namespace rawcache::testing {

struct VolatileFile::Control {
  std::atomic<std::uint64_t> cut_in;  ///< writes and syncs; 0: not by itself
  std::atomic<pid_t> victim;
  std::atomic<std::uint64_t> seed;  ///< of the next restart
};

namespace {

constexpr std::string_view kFile = "/disk";
/// Reading it restarts the device.
constexpr std::string_view kSwitch = "/restart";

// --- The server: one thread, so that I/O has one order ---

struct Server {
  std::atomic<std::uint64_t>* cut_in = nullptr;
  std::atomic<pid_t>* victim = nullptr;
  std::atomic<std::uint64_t>* seed = nullptr;
  std::unique_ptr<SimDisk> disk;
  std::uint64_t bytes = 0;
  std::uint64_t generation = 1;  ///< of the power; files opened under an older one are dead
  bool is_cut = false;

  /// True if this write or sync still gets through.
  bool alive(std::uint64_t opened_under) {
    if (opened_under != generation || is_cut) return false;
    if (cut_in->load() != 0 && cut_in->fetch_sub(1) == 1) {
      is_cut = true;
      if (const pid_t process = victim->load(); process > 0) ::kill(process, SIGKILL);
    }
    return !is_cut;
  }

  void restart() {
    std::mt19937_64 random(seed->load());
    disk = std::make_unique<SimDisk>(disk->crash(random, any_policy(random)));
    cut_in->store(0);
    is_cut = false;
    ++generation;
  }
};

Server& server() { return *static_cast<Server*>(fuse_get_context()->private_data); }

int get_attributes(const char* path, struct stat* attributes, fuse_file_info*) {
  *attributes = {};
  if (std::strcmp(path, "/") == 0) {
    attributes->st_mode = S_IFDIR | 0700;
    attributes->st_nlink = 2;
    return 0;
  }
  if (path != kFile && path != kSwitch) return -ENOENT;
  attributes->st_mode = S_IFREG | 0600;
  attributes->st_nlink = 1;
  attributes->st_size = path == kFile ? static_cast<off_t>(server().bytes) : 1;
  attributes->st_blksize = 4096;
  attributes->st_blocks = attributes->st_size / 512;
  return 0;
}

int open_file(const char* path, fuse_file_info* file) {
  if (path != kFile && path != kSwitch) return -ENOENT;
  file->direct_io = 1;  // nothing may stay in the kernel's page cache over a power cut
  file->fh = server().generation;
  return 0;
}

int read_file(const char* path, char* into, std::size_t size, off_t offset, fuse_file_info* file) {
  Server& device = server();
  if (path == kSwitch) {
    if (offset != 0 || size == 0) return 0;
    device.restart();
    *into = '1';
    return 1;
  }
  if (file->fh != device.generation || device.is_cut) return -EIO;
  const auto begin = static_cast<std::uint64_t>(offset);
  if (begin >= device.bytes) return 0;
  const std::uint64_t end = std::min(device.bytes, begin + size);
  const std::uint64_t first = begin / SimDisk::kSectorBytes * SimDisk::kSectorBytes;
  std::vector<std::byte> sectors(round_up(end, SimDisk::kSectorBytes) - first);
  if (!device.disk->read(first, sectors)) return -EIO;
  std::memcpy(into, sectors.data() + (begin - first), end - begin);
  return static_cast<int>(end - begin);
}

int write_file(const char* path, const char* from, std::size_t size, off_t offset,
               fuse_file_info* file) {
  Server& device = server();
  if (path != kFile) return -EPERM;
  if (!device.alive(file->fh)) return -EIO;
  const auto bytes = std::as_bytes(std::span(from, size));
  return device.disk->write(static_cast<std::uint64_t>(offset), bytes) ? static_cast<int>(size)
                                                                       : -EINVAL;
}

int sync_file(const char*, int, fuse_file_info* file) {
  Server& device = server();
  return device.alive(file->fh) && device.disk->sync() ? 0 : -EIO;
}

int allocate(const char*, int, off_t, off_t, fuse_file_info*) { return 0; }

[[noreturn]] void serve(const std::string& directory, Server state) {
  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.open = open_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.fsync = sync_file;
  operations.fallocate = allocate;
  std::string program = "volatile_file";
  char* argv[] = {program.data(), nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(1, argv);
  fuse* session = fuse_new(&arguments, &operations, sizeof operations, &state);
  if (session == nullptr || fuse_mount(session, directory.c_str()) != 0) ::_exit(1);
  fuse_loop(session);
  fuse_unmount(session);
  ::_exit(0);
}

}  // namespace

VolatileFile::VolatileFile(std::string directory, Control* control)
    : directory_(std::move(directory)), path_(directory_ + std::string(kFile)), control_(control) {}

std::unique_ptr<VolatileFile> VolatileFile::mount(const std::string& directory, std::uint64_t bytes,
                                                  std::string& why_not) {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    why_not = "/dev/fuse may not be used here";
    return nullptr;
  }
  void* const memory =
      ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    why_not = "no shared memory";
    return nullptr;
  }
  std::unique_ptr<VolatileFile> file(new VolatileFile(directory, new (memory) Control{}));
  std::fflush(nullptr);
  file->server_ = ::fork();
  if (file->server_ == 0) {
    Server state;
    state.cut_in = &file->control_->cut_in;
    state.victim = &file->control_->victim;
    state.seed = &file->control_->seed;
    state.disk = std::make_unique<SimDisk>(bytes);
    state.bytes = bytes;
    serve(directory, std::move(state));
  }
  for (int i = 0; i < 2000 && file->server_ > 0; ++i) {
    if (::access(file->path_.c_str(), F_OK) == 0) return file;
    if (::waitpid(file->server_, nullptr, WNOHANG) != 0) file->server_ = 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  why_not = "a FUSE file system cannot be mounted here";
  return nullptr;
}

VolatileFile::~VolatileFile() {
  ::umount2(directory_.c_str(), MNT_DETACH);
  if (server_ > 0) {
    ::kill(server_, SIGKILL);  // its memory is all there is; open files give errors
    ::waitpid(server_, nullptr, 0);
  }
  ::munmap(control_, sizeof(Control));
}

void VolatileFile::cut_at(std::uint64_t k) { control_->cut_in = k; }
void VolatileFile::set_victim(pid_t process) { control_->victim = process; }

bool VolatileFile::restart(std::uint64_t seed) {
  control_->victim = 0;
  control_->seed = seed;
  const int file = ::open((directory_ + std::string(kSwitch)).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char byte = 0;
  const bool done = ::read(file, &byte, 1) == 1;
  ::close(file);
  return done;
}

}  // namespace rawcache::testing
