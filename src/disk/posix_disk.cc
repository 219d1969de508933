#include "disk/posix_disk.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <deque>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutant.h"
#include "base/mutex.h"

namespace rawcache {

int transfer(int fd, const IoRequest& request) {
  constexpr int kRetriesMax = 1000;  // of EAGAIN, a millisecond apart
  std::size_t done = 0;
  int retries = 0;
  while (done < request.size) {
    const auto at = static_cast<off_t>(request.offset + done);
    const ssize_t moved = request.kind == IoRequest::Kind::read
                              ? ::pread(fd, request.data + done, request.size - done, at)
                              : ::pwrite(fd, request.data + done, request.size - done, at);
    if (moved > 0) {
      done +=
          mutated(Mutant::kShortTransferAccepted) ? request.size : static_cast<std::size_t>(moved);
    } else if (moved == 0) {
      return EIO;
    } else if (errno == EAGAIN && ++retries < kRetriesMax) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

int sync_data(int fd) {
  while (::fdatasync(fd) != 0) {
    if (errno != EINTR || mutated(Mutant::kInterruptIsAnError)) return errno;
  }
  return 0;
}

/// A batch in the hands of the pool. It has copies of the requests, because the caller's may be
/// gone while a worker still looks at the next one. All but `pool` is guarded by the pool's mutex.
struct PosixDisk::Work {
  explicit Work(std::shared_ptr<Pool> its_pool) : pool(std::move(its_pool)) {}
  ~Work();

  const std::shared_ptr<Pool> pool;
  std::vector<IoRequest> requests;
  std::size_t next = 0;               ///< the first request that nobody has begun
  std::size_t running = 0;            ///< begun and not finished
  std::vector<std::size_t> finished;  ///< finished and not yet told to the caller
  CondVar progress;
};

class PosixDisk::Pool {
 public:
  Pool(FileDescriptor fd, unsigned workers_max) : fd_(std::move(fd)), workers_max_(workers_max) {}

  ~Pool() {
    std::vector<std::thread> workers;
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      workers.swap(workers_);
      work_added_.notify_all();
    }
    for (std::thread& worker : workers) worker.join();
  }

  static std::shared_ptr<Pool> create(FileDescriptor fd, unsigned workers_max) {
    return {new Pool(std::move(fd), workers_max), [](Pool* pool) {
              if (::getpid() == pool->owner_) {
                delete pool;
              } else {
                // A forked child has none of the threads, and what they wait for cannot be
                // destroyed.
                pool->fd_ = FileDescriptor();
              }
            }};
  }

  int fd() const { return fd_.get(); }

  void start(Work& work, const std::vector<IoRequest>& requests) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    work.requests = requests;
    queue_.push_back(&work);
    if (workers_.size() < std::min(workers_max_, requests.size())) {
      add_workers(std::min(workers_max_, requests.size()) - workers_.size());
    }
    work_added_.notify_all();
  }

  void wait(Work& work, IoBatch& batch, std::size_t at_least) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::size_t told = tell(work, batch);
    while (told < at_least) {
      if (work.next < work.requests.size()) {
        carry_out_next(work);
      } else if (work.finished.empty()) {
        work.progress.wait(mutex_);
      }
      told += tell(work, batch);
    }
  }

  /// Forgets what was not begun and waits for the rest.
  void abandon(Work& work) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::erase(queue_, &work);
    work.next = work.requests.size();
    while (work.running != 0) work.progress.wait(mutex_);
  }

 private:
  void add_workers(std::size_t count) REQUIRES(mutex_) {
    sigset_t all, before;  // signals are for the application's own threads
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; count != 0; --count) {
      try {
        workers_.emplace_back([this] { serve(); });
      } catch (const std::system_error&) {
        break;  // fewer threads, at worst the waiting caller alone, do the same work
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void serve() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!stopping_) {
      if (queue_.empty()) {
        work_added_.wait(mutex_);
        continue;
      }
      // Batches take turns, so that a long one does not keep a short one waiting.
      Work& work = *queue_.front();
      queue_.pop_front();
      queue_.push_back(&work);
      carry_out_next(work);
    }
  }

  void carry_out_next(Work& work) REQUIRES(mutex_) {
    const std::size_t index = work.next++;
    if (work.next == work.requests.size()) std::erase(queue_, &work);
    ++work.running;
    IoRequest& request = work.requests[index];
    mutex_.unlock();
    const int error = transfer(fd_.get(), request);
    mutex_.lock();
    request.os_error = error;
    --work.running;
    work.finished.push_back(index);
    work.progress.notify_all();  // under the lock: afterwards the work may be gone
  }

  static std::size_t tell(Work& work, IoBatch& batch) {
    for (const std::size_t index : work.finished) {
      batch.requests[index].os_error = work.requests[index].os_error;
      batch.requests[index].done = true;
    }
    const std::size_t told = work.finished.size();
    batch.under_way -= told;
    work.finished.clear();
    return told;
  }

  FileDescriptor fd_;
  const std::size_t workers_max_;
  const pid_t owner_ = ::getpid();
  Mutex mutex_;
  CondVar work_added_;
  std::deque<Work*> queue_ GUARDED_BY(mutex_);  ///< those with requests that nobody has begun
  std::vector<std::thread> workers_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
};

PosixDisk::Work::~Work() { pool->abandon(*this); }

PosixDisk::PosixDisk(FileDescriptor fd, DiskInfo info, unsigned workers)
    : info_(std::move(info)), pool_(Pool::create(std::move(fd), workers)) {}

PosixDisk::~PosixDisk() = default;

bool PosixDisk::do_one(IoRequest& request) {
  request.os_error = transfer(pool_->fd(), request);
  return true;
}

void PosixDisk::do_submit(IoBatch& batch) {
  if (batch.requests.size() < kSpreadRequests) {
    for (IoRequest& request : batch.requests) {
      request.os_error = transfer(pool_->fd(), request);
      request.done = true;
    }
    return;
  }
  auto work = std::make_shared<Work>(pool_);
  batch.engine_state = work;
  batch.under_way = batch.requests.size();
  pool_->start(*work, batch.requests);
}

void PosixDisk::do_wait(IoBatch& batch, std::size_t at_least) {
  pool_->wait(*static_cast<Work*>(batch.engine_state.get()), batch, at_least);
}

int PosixDisk::do_sync() { return sync_data(pool_->fd()); }

}  // namespace rawcache
