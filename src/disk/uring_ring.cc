#include "disk/uring_ring.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace rawcache {

namespace {
constexpr std::size_t kRegisteredBytesMax = std::size_t{1}
                                            << 30;  // of one buffer: the kernel's limit
}  // namespace

std::unique_ptr<Ring> Ring::create(int fd, int& error) {
  std::unique_ptr<Ring> made(new Ring);
  // No IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN or COOP_TASKRUN: a batch may be waited for in
  // another thread than it was submitted in, which need not enter the kernel again.
  const int rc = io_uring_queue_init(kEntries, &made->ring_, 0);
  if (rc < 0) {
    error = -rc;
    made->ring_.ring_fd = -1;
    return nullptr;
  }
  io_uring_ring_dontfork(&made->ring_);
  made->owner_ = ::getpid();
  made->fd_ = fd;
  made->file_registered_ = io_uring_register_files(&made->ring_, &fd, 1) == 0;
  return made;
}

Ring::~Ring() {
  if (ring_.ring_fd < 0) return;
  if (::getpid() != owner_) {
    ::close(ring_.ring_fd);  // a forked child: its parent goes on with the ring
    return;
  }
  // Explicitly, because the kernel tears a ring down later and elsewhere: the file would stay open,
  // and so locked, and the memory charged for a while after the disk is gone.
  if (file_registered_) io_uring_unregister_files(&ring_);
  if (!buffers_.empty()) io_uring_unregister_buffers(&ring_);
  io_uring_queue_exit(&ring_);
}

int Ring::register_memory(const std::vector<std::span<std::byte>>& memory) {
  if (!buffers_.empty()) io_uring_unregister_buffers(&ring_);
  buffers_.clear();
  std::vector<iovec> pieces;
  for (std::span<std::byte> rest : memory) {
    while (!rest.empty()) {
      const std::size_t size = std::min(rest.size(), kRegisteredBytesMax);
      pieces.push_back({rest.data(), size});
      buffers_.push_back(rest.first(size));
      rest = rest.subspan(size);
    }
  }
  if (pieces.empty()) return 0;
  const int rc =
      io_uring_register_buffers(&ring_, pieces.data(), static_cast<unsigned>(pieces.size()));
  if (rc < 0) buffers_.clear();
  return rc < 0 ? -rc : 0;
}

int Ring::buffer_of(const std::byte* data, std::size_t size) const {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const std::span<std::byte> buffer = buffers_[i];
    if (data >= buffer.data() && data < buffer.data() + buffer.size()) {
      const auto room = static_cast<std::size_t>(buffer.data() + buffer.size() - data);
      return size <= room ? static_cast<int>(i) : -1;
    }
  }
  return -1;
}

void Ring::set_file(io_uring_sqe* sqe) const {
  sqe->fd = file_registered_ ? 0 : fd_;
  if (file_registered_) sqe->flags |= IOSQE_FIXED_FILE;
}

RingPool::RingPool(FileDescriptor fd) : fd_(std::move(fd)), owner_(::getpid()) {}

int RingPool::probe() {
  int error = 0;
  std::unique_ptr<Ring> ring = Ring::create(fd(), error);
  if (ring == nullptr) return error;
  MutexLock lock(mutex_);
  ++rings_;
  idle_.push_back(std::move(ring));
  return 0;
}

std::unique_ptr<Ring> RingPool::acquire() {
  if (::getpid() != owner_) return nullptr;
  std::unique_ptr<Ring> ring;
  std::vector<std::span<std::byte>> memory;
  std::uint64_t version = 0;
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      ring = std::move(idle_.back());
      idle_.pop_back();
      if (ring->memory_version == memory_version_) return ring;
    } else if (rings_ < kRingsMax) {
      ++rings_;
    } else {
      return nullptr;
    }
    // Pinning memory is expensive: what was refused once is not tried for every ring.
    if (memory_error_ == 0) memory = memory_;
    version = memory_version_;
  }
  int error = 0;
  if (ring == nullptr) ring = Ring::create(fd(), error);
  if (ring == nullptr) {
    release(nullptr);
    return nullptr;
  }
  ring->memory_version = version;
  error = ring->register_memory(memory);
  if (error != 0) {
    MutexLock lock(mutex_);
    memory_error_ = error;
  }
  return ring;
}

void RingPool::release(std::unique_ptr<Ring> ring) {
  MutexLock lock(mutex_);
  if (ring != nullptr) {
    idle_.push_back(std::move(ring));
  } else {
    --rings_;
  }
}

void RingPool::use_memory(std::span<std::byte> memory) {
  if (memory.empty()) return;
  MutexLock lock(mutex_);
  memory_.push_back(memory);
  ++memory_version_;
  memory_error_ = 0;
}

int RingPool::memory_error() const {
  MutexLock lock(mutex_);
  return memory_error_;
}

}  // namespace rawcache
