// FaultyDisk: passes I/O on to another disk and fails what a test tells it to.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "rawcache/disk.h"

namespace rawcache::testing {

/// Threads: all functions may be called from any thread, also while I/O is under way.
class FaultyDisk final : public Disk {
 public:
  enum class Op : std::uint8_t { read, write, sync };
  static constexpr std::size_t kOps = 3;
  enum class Repeat : std::uint8_t { once, for_ever };
  /// What of a failing request is carried out all the same: of a write on the inner disk, of a read
  /// in the memory that it reads into.
  enum class Reach : std::uint8_t { nothing, half, all };
  /// When a failing request ends: when it is submitted, or never by itself. The latter is given up,
  /// with its error, when its batch is waited for to the end; a hook may let time pass then.
  enum class Pace : std::uint8_t { at_once, never };

  /// Told to the hook. Offset and size are 0 for a sync.
  struct Event {
    Op op = Op::read;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };

  explicit FaultyDisk(std::unique_ptr<Disk> inner) : inner_(std::move(inner)) {}

  Disk& inner() { return *inner_; }

  /// Fails the k-th request of this kind from now on (1: the next one), or that and all later ones.
  /// Replaces what was set for this kind.
  void fail(Op op, std::uint64_t k, int os_error, Repeat repeat = Repeat::once,
            Reach reach = Reach::nothing, Pace pace = Pace::at_once);
  /// Fails every write that touches the range.
  void fail_writes_in(Extent range, int os_error);
  /// Removes every fault.
  void heal();

  /// Called before each request and each sync, in the thread of the caller, without a lock held.
  void set_hook(std::function<void(const Event&)> hook);
  /// Called after each failure that was set, like the hook.
  void set_on_failure(std::function<void(const Event&)> on_failure);
  void set_sync_delay(std::chrono::nanoseconds delay);

  /// Requests of this kind so far, failed ones included.
  std::uint64_t count(Op op) const;
  /// Failures so far.
  std::uint64_t failures() const;

 private:
  struct Fault {
    std::uint64_t at = 0;  ///< the count at which it fails; 0: never
    int os_error = 0;
    Repeat repeat = Repeat::once;
    Reach reach = Reach::nothing;
    Pace pace = Pace::at_once;
  };
  struct Verdict {
    int os_error = 0;  ///< 0: it goes well
    Reach reach = Reach::nothing;
    Pace pace = Pace::at_once;
  };
  struct BadRange {
    Extent range;
    int os_error = 0;
  };
  struct Passed;  // the requests that were passed on

  /// Counts the event and calls the hooks.
  Verdict judge(const Event& event) EXCLUDES(mutex_);
  void tell_failure(const Event& event) EXCLUDES(mutex_);
  /// Does what a failing request does all the same.
  void reach(const IoRequest& request, Reach reach);

  const DiskInfo& do_info() const override { return inner_->info(); }
  void do_submit(IoBatch& batch) override;
  void do_wait(IoBatch& batch, std::size_t at_least) override;
  int do_sync() override;
  void do_start_sync(IoBatch& batch) override;
  void do_use_memory(std::span<std::byte> memory) override { inner_->use_memory(memory); }

  const std::unique_ptr<Disk> inner_;
  mutable Mutex mutex_;
  std::array<Fault, kOps> faults_ GUARDED_BY(mutex_);
  std::array<std::uint64_t, kOps> counts_ GUARDED_BY(mutex_){};
  std::uint64_t failures_ GUARDED_BY(mutex_) = 0;
  std::vector<BadRange> bad_ranges_ GUARDED_BY(mutex_);
  std::function<void(const Event&)> hook_ GUARDED_BY(mutex_);
  std::function<void(const Event&)> on_failure_ GUARDED_BY(mutex_);
  std::chrono::nanoseconds sync_delay_ GUARDED_BY(mutex_){0};
};

}  // namespace rawcache::testing
