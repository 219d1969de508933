#include "disk/system_calls.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(RAWCACHE_HAVE_URING)
#include <liburing.h>
#endif

#include <algorithm>
#include <cstdarg>
#include <utility>

namespace rawcache::testing {

Script reads, writes, syncs, opens, locks, modes, allocations, file_syncs, file_system_syncs,
    states, looks, flags, controls, memory;
Script submissions, completions, rings, registered_files, registered_memory;
std::atomic<unsigned> links;
std::optional<Alignments> alignments;
std::function<void()> before_opening;

void reset_scripts() {
  for (Script* script :
       {&reads, &writes, &syncs, &opens, &locks, &modes, &allocations, &file_syncs,
        &file_system_syncs, &states, &looks, &flags, &controls, &memory, &submissions, &completions,
        &rings, &registered_files, &registered_memory}) {
    script->reset();
  }
  alignments.reset();
  before_opening = {};
}

}  // namespace rawcache::testing

using namespace rawcache::testing;  // NOLINT: the functions below have no namespace

#if defined(RAWCACHE_HAVE_URING)
namespace {

/// Of what has been prepared and not been submitted.
void count_links(const io_uring& ring) {
  const io_uring_sq& queue = ring.sq;
  for (unsigned i = queue.sqe_head; i != queue.sqe_tail; ++i) {
    if ((queue.sqes[i & *queue.kring_mask].flags & IOSQE_IO_LINK) != 0) ++links;
  }
}

}  // namespace
#endif

// The linker puts these in the place of those that they are named after (tests/CMakeLists.txt).
extern "C" {

ssize_t __real_pread(int fd, void* data, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void* data, size_t size, off_t at) {
  return reads.fails() ? -1 : __real_pread(fd, data, std::min(size, reads.bytes_max.load()), at);
}

ssize_t __real_pwrite(int fd, const void* data, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void* data, size_t size, off_t at) {
  return writes.fails() ? -1 : __real_pwrite(fd, data, std::min(size, writes.bytes_max.load()), at);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd) { return syncs.fails() ? -1 : __real_fdatasync(fd); }

int __real_fsync(int fd);
int __wrap_fsync(int fd) { return file_syncs.fails() ? -1 : __real_fsync(fd); }

int __real_syncfs(int fd);
int __wrap_syncfs(int fd) { return file_system_syncs.fails() ? -1 : __real_syncfs(fd); }

int __real_open(const char* path, int flags, ...);
int __wrap_open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(more, unsigned) : 0;
  va_end(more);
  if (const auto act = std::exchange(before_opening, {})) act();
  return opens.fails() ? -1 : __real_open(path, flags, mode);
}

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation) { return locks.fails() ? -1 : __real_flock(fd, operation); }

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode) { return modes.fails() ? -1 : __real_fchmod(fd, mode); }

int __real_fstat(int fd, struct stat* status);
int __wrap_fstat(int fd, struct stat* status) {
  return states.fails() ? -1 : __real_fstat(fd, status);
}

int __real_statx(int fd, const char* path, int how, unsigned mask, struct statx* status);
int __wrap_statx(int fd, const char* path, int how, unsigned mask, struct statx* status) {
  const int looked = looks.fails() ? -1 : __real_statx(fd, path, how, mask, status);
#if defined(STATX_DIOALIGN)
  if (looked == 0 && alignments) {
    status->stx_mask |= STATX_DIOALIGN;
    status->stx_dio_offset_align = alignments->io;
    status->stx_dio_mem_align = alignments->memory;
  }
#endif
  return looked;
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  const int value = command == F_SETFL ? va_arg(more, int) : 0;
  va_end(more);
  return flags.fails() ? -1 : __real_fcntl(fd, command, value);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void* const answer = va_arg(more, void*);
  va_end(more);
  return controls.fails() ? -1 : __real_ioctl(fd, request, answer);
}

int __real_posix_memalign(void** at, std::size_t alignment, std::size_t size);
int __wrap_posix_memalign(void** at, std::size_t alignment, std::size_t size) {
  return memory.fails() ? ENOMEM : __real_posix_memalign(at, alignment, size);
}

int __real_posix_fallocate(int fd, off_t offset, off_t size);
int __wrap_posix_fallocate(int fd, off_t offset, off_t size) {
  return allocations.fails() ? errno : __real_posix_fallocate(fd, offset, size);
}

#if defined(RAWCACHE_HAVE_URING)

/// Changes what each request that is done says, when it is taken from the ring.
unsigned __real_io_uring_peek_batch_cqe(io_uring* ring, io_uring_cqe** done, unsigned count);
unsigned __wrap_io_uring_peek_batch_cqe(io_uring* ring, io_uring_cqe** done, unsigned count) {
  const unsigned taken = __real_io_uring_peek_batch_cqe(ring, done, count);
  for (unsigned i = 0; i < taken; ++i) {
    if (done[i]->res < 0) continue;
    const auto moved = static_cast<std::size_t>(done[i]->res);
    done[i]->res = completions.fails()
                       ? -completions.os_error
                       : static_cast<int>(std::min(moved, completions.bytes_max.load()));
  }
  return taken;
}

int __real_io_uring_queue_init(unsigned entries, io_uring* ring, unsigned how);
int __wrap_io_uring_queue_init(unsigned entries, io_uring* ring, unsigned how) {
  return rings.fails() ? -rings.os_error : __real_io_uring_queue_init(entries, ring, how);
}

int __real_io_uring_register_files(io_uring* ring, const int* files, unsigned count);
int __wrap_io_uring_register_files(io_uring* ring, const int* files, unsigned count) {
  if (registered_files.fails()) return -registered_files.os_error;
  return __real_io_uring_register_files(ring, files, count);
}

int __real_io_uring_register_buffers(io_uring* ring, const iovec* pieces, unsigned count);
int __wrap_io_uring_register_buffers(io_uring* ring, const iovec* pieces, unsigned count) {
  if (registered_memory.fails()) return -registered_memory.os_error;
  return __real_io_uring_register_buffers(ring, pieces, count);
}

int __real_io_uring_submit(io_uring* ring);
int __wrap_io_uring_submit(io_uring* ring) {
  count_links(*ring);
  if (submissions.fails()) return -submissions.os_error;
  return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wanted);
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wanted) {
  count_links(*ring);
  if (submissions.fails()) return -submissions.os_error;
  return __real_io_uring_submit_and_wait(ring, wanted);
}

#endif

}  // extern "C"
