#include "disk/uring_disk.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>
#include <vector>

#include "base/mutant.h"
#include "base/mutex.h"
#include "disk/posix_disk.h"
#include "disk/uring_ring.h"

namespace rawcache {

namespace {

// More requests in flight than this only wait in the device's queue, of which one of virtio has 256
// places; nor do more bytes help reads, which are waited for. Of writes the rest would go out only
// when somebody looks after them.
constexpr std::size_t kDepth = 128;
constexpr std::size_t kReadBytesInFlight = std::size_t{6} << 20;
constexpr std::size_t kWriteBytesInFlight = std::size_t{16} << 20;
static_assert(kDepth <= Ring::kEntries);
/// The kernel tells the device of requests when it has taken all of a system call. So the device
/// begins with the first ones while the kernel takes the others.
constexpr std::size_t kSentAtOnce = 16;
static_assert(kDepth % kSentAtOnce == 0);

constexpr std::size_t kInlineBytes = 16384;  // a single request up to this
/// Writes of so many bytes together are handed to a thread of the kernel's, which sends them to the
/// device while the caller fills the next buffer; less is sent sooner by the caller itself.
constexpr std::size_t kHandedOverBytes = std::size_t{2} << 20;
constexpr std::size_t kTransferBytes = std::size_t{1}
                                       << 30;  // of one submission; the kernel's is 2 GiB
constexpr int kRetriesMax = 8;

/// By plain system calls.
int carry_out(int fd, const IoRequest& request) {
  return request.kind == IoRequest::Kind::sync ? sync_data(fd) : transfer(fd, request);
}

// The thread sanitizer does not see what the kernel orders.
void before_kernel([[maybe_unused]] void* batch) {
#if defined(RAWCACHE_TSAN)
  __tsan_release(batch);
#endif
}
void after_kernel([[maybe_unused]] void* batch) {
#if defined(RAWCACHE_TSAN)
  __tsan_acquire(batch);
#endif
}

}  // namespace

/// A batch under way. It has copies of the requests, because the caller's may be gone before it is.
class UringDisk::Flight {
 public:
  Flight(std::shared_ptr<RingPool> rings, std::unique_ptr<Ring> ring, const IoBatch& batch)
      : rings_(std::move(rings)), ring_(std::move(ring)) {
    items_.reserve(batch.requests.size());
    std::size_t written_bytes = 0;
    for (const IoRequest& request : batch.requests) {
      items_.push_back({.rest = request});
      if (request.kind == IoRequest::Kind::write) written_bytes += request.size;
    }
    handed_over_ = written_bytes >= kHandedOverBytes;
    in_turn_ = batch.in_turn;
  }

  ~Flight() {
    next_ = items_.size();
    retry_.clear();
    while (ring_ != nullptr && in_kernel() != 0) {
      wait_for_completion();
      reap();
      retry_.clear();
    }
    // What the kernel never took would go out with the ring's next batch.
    if (ring_ != nullptr && io_uring_sq_ready(ring_->get()) != 0) ring_.reset();
    rings_->release(std::move(ring_));
  }

  /// Hands the kernel as much as fits, or as it takes.
  void start() {
    for (std::size_t most = kSentAtOnce; more() && most <= kDepth; most += kSentAtOnce) {
      prepare(most);
      enter(0);
      if (ring_ == nullptr || io_uring_sq_ready(ring_->get()) != 0 || outstanding_ < most) return;
    }
  }

  void wait(IoBatch& batch, std::size_t at_least) {
    std::size_t told = tell(batch);
    while (ring_ != nullptr) {
      reap();
      prepare();
      told += tell(batch);
      if (told >= at_least) break;
      // While there is more to send, a quarter of the window is waited for: one system call then
      // refills it, and the device does not run dry meanwhile.
      const std::size_t patience =
          more() ? std::max<std::size_t>(outstanding_ / 4, 1) : outstanding_;
      enter(std::min(at_least - told, patience));
      told += tell(batch);
    }
    if (ring_ != nullptr && io_uring_sq_ready(ring_->get()) != 0) enter(0);
  }

 private:
  struct Item {
    IoRequest rest;        ///< what is still to be transferred
    std::size_t sent = 0;  ///< bytes in the present submission
    bool submitted = false;
    int retries = 0;
    bool finished = false;
  };

  bool more() const { return next_ < items_.size() || !retry_.empty(); }
  std::size_t in_kernel() { return outstanding_ - io_uring_sq_ready(ring_->get()); }

  /// Fills the submission queue up to the window, of so many requests at most.
  void prepare(std::size_t depth = kDepth) {
    io_uring_sqe* last = nullptr;
    while (more() && outstanding_ < depth) {
      const std::size_t index = retry_.empty() ? next_ : retry_.back();
      Item& item = items_[index];
      const std::size_t size = std::min(item.rest.size, kTransferBytes);
      const bool reads = item.rest.kind == IoRequest::Kind::read;
      const std::size_t window = reads ? kReadBytesInFlight : kWriteBytesInFlight;
      if (outstanding_ != 0 && outstanding_bytes_ + size > window) break;
      io_uring_sqe* sqe = io_uring_get_sqe(ring_->get());
      if (sqe == nullptr) break;
      prepare(sqe, item.rest, size);
      last = sqe;
      sqe->user_data = index;
      item.sent = size;
      item.submitted = true;
      ++outstanding_;
      outstanding_bytes_ += size;
      if (retry_.empty()) {
        ++next_;
      } else {
        retry_.pop_back();
      }
    }
    if (last != nullptr) last->flags &= static_cast<std::uint8_t>(~IOSQE_IO_LINK);
  }

  void prepare(io_uring_sqe* sqe, const IoRequest& request, std::size_t size) {
    const auto bytes = static_cast<unsigned>(size);
    const int buffer = ring_->buffer_of(request.data, size);
    if (request.kind == IoRequest::Kind::sync) {
      io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
    } else if (request.kind == IoRequest::Kind::read) {
      if (buffer >= 0) {
        io_uring_prep_read_fixed(sqe, 0, request.data, bytes, request.offset, buffer);
      } else {
        io_uring_prep_read(sqe, 0, request.data, bytes, request.offset);
      }
    } else {
      if (buffer >= 0) {
        io_uring_prep_write_fixed(sqe, 0, request.data, bytes, request.offset, buffer);
      } else {
        io_uring_prep_write(sqe, 0, request.data, bytes, request.offset);
      }
    }
    ring_->set_file(sqe);
    if (request.kind != IoRequest::Kind::write) return;
    if (handed_over_) sqe->flags |= IOSQE_ASYNC;
    // The kernel starts the next one by itself. If one fails or falls short, those behind it come
    // back cancelled, and are sent again.
    if (in_turn_) sqe->flags |= IOSQE_IO_LINK;
  }

  /// Submits what is prepared and waits for `completions` of all that is outstanding. May return
  /// early.
  void enter(std::size_t completions) {
    before_kernel(this);
    const int rc = completions == 0
                       ? io_uring_submit(ring_->get())
                       : io_uring_submit_and_wait(ring_->get(), static_cast<unsigned>(completions));
    after_kernel(this);
    if (rc >= 0 || rc == -EINTR) return;
    // EAGAIN, EBUSY, ENOMEM: the kernel lacks something that a completion gives back. If it has
    // none of ours in hand there is nothing to wait for, and whatever the reason, plain system
    // calls remain.
    if (in_kernel() == 0) {
      go_on_without_ring();
    } else if (completions != 0) {
      wait_for_completion();
    }
  }

  void wait_for_completion() {
    io_uring_cqe* cqe = nullptr;
    const int rc = io_uring_wait_cqe(ring_->get(), &cqe);
    after_kernel(this);
    if (rc < 0 && rc != -EINTR) {
      const timespec pause{0,
                           100'000};  // must not return before the kernel is done with the memory
      ::nanosleep(&pause, nullptr);
    }
  }

  void go_on_without_ring() {
    ring_.reset();  // with the submissions that it still holds
    retry_.clear();
    for (Item& item : items_) {
      leave_window(item);
      if (!item.finished) finish(item, carry_out(rings_->fd(), item.rest));
    }
    next_ = items_.size();
  }

  /// Takes the completions that are there.
  void reap() {
    std::array<io_uring_cqe*, kDepth> done;
    const unsigned count = io_uring_peek_batch_cqe(ring_->get(), done.data(), kDepth);
    for (unsigned i = 0; i < count; ++i) {
      complete(static_cast<std::size_t>(done[i]->user_data), done[i]->res);
    }
    if (count == 0) return;
    io_uring_cq_advance(ring_->get(), count);
    after_kernel(this);
  }

  void complete(std::size_t index, int result) {
    Item& item = items_[index];
    leave_window(item);
    if (result > 0) {
      const auto moved = static_cast<std::size_t>(result);
      item.rest.data += moved;
      item.rest.offset += moved;
      item.rest.size -= moved;
      item.retries = 0;
      if (item.rest.size != 0 && !mutated(Mutant::kShortCompletionAccepted)) {
        retry_.push_back(index);
      } else {
        finish(item, 0);
      }
    } else if (result == -EINTR || result == -EAGAIN || result == -ECANCELED ||
               (result == -EFAULT && in_turn_)) {
      // ECANCELED: the thread that submitted it has ended, or one before it failed; EFAULT: the
      // thread had ended when its turn came.
      if (++item.retries <= kRetriesMax) {
        retry_.push_back(index);
      } else {
        finish(item, carry_out(rings_->fd(), item.rest));
      }
    } else {
      const bool end_of_file = result == 0 && item.rest.kind != IoRequest::Kind::sync;
      finish(item, end_of_file ? EIO : -result);
    }
  }

  void leave_window(Item& item) {
    if (!item.submitted) return;
    --outstanding_;
    outstanding_bytes_ -= item.sent;
    item.submitted = false;
  }

  void finish(Item& item, int error) {
    item.rest.os_error = error;
    item.finished = true;
    finished_.push_back(static_cast<std::size_t>(&item - items_.data()));
  }

  std::size_t tell(IoBatch& batch) {
    for (const std::size_t index : finished_) {
      batch.requests[index].os_error = items_[index].rest.os_error;
      batch.requests[index].done = true;
    }
    const std::size_t told = finished_.size();
    batch.under_way -= told;
    finished_.clear();
    return told;
  }

  const std::shared_ptr<RingPool> rings_;
  std::unique_ptr<Ring> ring_;  ///< null once the kernel has refused it; all is finished then
  std::vector<Item> items_;
  bool handed_over_ = false;           ///< its writes
  bool in_turn_ = false;               ///< likewise
  std::size_t next_ = 0;               ///< the first item never submitted
  std::vector<std::size_t> retry_;     ///< items to be submitted once more
  std::vector<std::size_t> finished_;  ///< items finished and not yet told to the caller
  std::size_t outstanding_ = 0;        ///< submissions prepared and not completed
  std::size_t outstanding_bytes_ = 0;
};

Result<std::unique_ptr<UringDisk>> UringDisk::create(FileDescriptor& fd, DiskInfo info) {
  auto rings = std::make_shared<RingPool>(std::move(fd));
  if (const int error = rings->probe(); error != 0) {
    fd = rings->release_file();
    return std::unexpected(Error(Errc::not_supported, "io_uring refused by the kernel", error));
  }
  info.background_sync = true;
  return std::unique_ptr<UringDisk>(new UringDisk(std::move(rings), std::move(info)));
}

UringDisk::UringDisk(std::shared_ptr<RingPool> rings, DiskInfo info)
    : info_(std::move(info)), rings_(std::move(rings)) {}

UringDisk::~UringDisk() = default;

int UringDisk::memory_error() const { return rings_->memory_error(); }

void UringDisk::do_submit(IoBatch& batch) {
  const bool plain = batch.requests.size() == 1 && batch.requests.front().size <= kInlineBytes;
  start(batch, plain ? nullptr : rings_->acquire());
}

bool UringDisk::do_one(IoRequest& request) {
  if (request.size > kInlineBytes) return false;
  request.os_error = carry_out(rings_->fd(), request);
  return true;
}

void UringDisk::do_start_sync(IoBatch& batch) { start(batch, rings_->acquire()); }

void UringDisk::start(IoBatch& batch, std::unique_ptr<Ring> ring) {
  if (ring == nullptr) {
    for (IoRequest& request : batch.requests) {
      request.os_error = carry_out(rings_->fd(), request);
      request.done = true;
    }
    return;
  }
  auto flight = std::make_shared<Flight>(rings_, std::move(ring), batch);
  batch.engine_state = flight;
  batch.under_way = batch.requests.size();
  flight->start();
}

void UringDisk::do_wait(IoBatch& batch, std::size_t at_least) {
  static_cast<Flight*>(batch.engine_state.get())->wait(batch, at_least);
}

int UringDisk::do_sync() { return sync_data(rings_->fd()); }

void UringDisk::do_use_memory(std::span<std::byte> memory) { rings_->use_memory(memory); }

}  // namespace rawcache
