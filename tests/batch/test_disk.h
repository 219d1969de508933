// TestDisk: a disk in memory that records the order of I/O and behaves as badly as a device may:
// writes take effect as late as possible, a failed write leaves half of it and rubbish, a failed
// sync loses everything since the last good one.
#pragma once

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "rawcache/disk.h"

namespace rawcache::testing {

class TestDisk final : public Disk {
 public:
  struct Event {
    char kind = 0;  ///< 'r', 'w', 's'; upper case: failed
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    friend bool operator==(const Event&, const Event&) = default;
  };

  TestDisk(std::uint64_t size, std::uint32_t alignment) : now_(size), durable_(size) {
    info_.size_bytes = size;
    info_.io_alignment = alignment;
    info_.memory_alignment = std::min(alignment, 4096U);
    info_.engine = "test";
  }

  /// Fails the k-th write from now on (1: the next one).
  void fail_write(int k, int os_error = EIO) {
    set([&] { write_fault_ = k, write_errno_ = os_error; });
  }
  void fail_sync(int k) {
    set([&] { sync_fault_ = k; });
  }
  /// Fails about one write and one sync in this many; 0: none.
  void fail_one_in(unsigned n) {
    set([&] { fail_one_in_ = n; });
  }
  void fail_all_writes(bool on) {
    set([&] { all_writes_fail_ = on; });
  }
  /// The next batch finds no memory when its first request has begun.
  void lack_memory_once() {
    set([&] { lacks_memory_ = true; });
  }
  void fail_reads_of(const Extent& bad) {
    set([&] { bad_ = bad; });
  }
  /// Writes, those of batches that begin at this offset or behind it, do not complete until
  /// release().
  void hold(std::uint64_t from = 0) {
    set([&] { held_ = true, held_from_ = from; });
  }
  void release() {
    set([&] { held_ = false; });
    released_.notify_all();
  }
  /// From now on syncs are in the background and do not end until release_syncs(); they make
  /// durable what had been written when they began.
  void hold_syncs() {
    set([&] { info_.background_sync = syncs_held_ = true; });
  }
  void release_syncs() {
    set([&] { syncs_held_ = false; });
    released_.notify_all();
  }
  /// Called once, at the start of the next read, without a lock.
  void at_next_read(std::function<void()> hook) {
    set([&] { hook_ = std::move(hook); });
  }

  std::vector<Event> take_events() {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }
  /// Of the last write.
  bool was_in_turn() {
    std::lock_guard lock(mutex_);
    return last_in_turn_;
  }
  /// The kinds of the events as a string: "rrwws".
  static std::string kinds(const std::vector<Event>& events) {
    std::string text;
    for (const Event& event : events) text += event.kind;
    return text;
  }
  std::vector<std::byte> durable() {
    std::lock_guard lock(mutex_);
    return durable_;
  }
  void fill(const std::vector<std::byte>& bytes) {
    std::lock_guard lock(mutex_);
    now_ = durable_ = bytes;
  }
  /// Memory addresses of the last writes.
  std::vector<const std::byte*> written_from() {
    std::lock_guard lock(mutex_);
    return std::exchange(written_from_, {});
  }

 private:
  void set(const std::function<void()>& change) {
    std::lock_guard lock(mutex_);
    change();
  }
  bool by_chance() {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return fail_one_in_ != 0 && (random_ >> 33) % fail_one_in_ == 0;
  }

  const DiskInfo& do_info() const override { return info_; }

  void do_submit(IoBatch& batch) override {
    std::function<void()> hook;
    std::unique_lock lock(mutex_);
    for (IoRequest& request : batch.requests) {
      if (request.kind == IoRequest::Kind::write) {
        last_in_turn_ = batch.in_turn;
        const bool failed = --write_fault_ == 0 || all_writes_fail_ || by_chance();
        if (failed) request.os_error = write_errno_;
        events_.push_back({failed ? 'W' : 'w', request.offset, request.size});
        written_from_.push_back(request.data);
        ++batch.under_way;
        if (std::exchange(lacks_memory_, false)) throw std::bad_alloc();
        continue;
      }
      if (hook_) {
        std::swap(hook, hook_);
        lock.unlock();
        hook();
        lock.lock();
        hook = nullptr;
      }
      const bool failed =
          request.offset < bad_.end() && bad_.offset < request.offset + request.size;
      events_.push_back({failed ? 'R' : 'r', request.offset, request.size});
      if (failed) {
        request.os_error = EIO;
      } else {
        std::memcpy(request.data, now_.data() + request.offset, request.size);
      }
      request.done = true;
    }
  }

  void do_wait(IoBatch& batch, std::size_t at_least) override {
    std::unique_lock lock(mutex_);
    const bool is_sync = batch.requests.front().kind == IoRequest::Kind::sync;
    const std::uint64_t begin = batch.requests.front().offset;
    const auto held = [&] { return is_sync ? syncs_held_ : held_ && begin >= held_from_; };
    if (held() && at_least == 0) return;
    released_.wait(lock, [&] { return !held(); });
    if (is_sync) return end_sync(batch);
    for (IoRequest& request : batch.requests) {
      if (request.done) continue;
      const std::size_t good = request.os_error == 0 ? request.size : request.size / 2;
      std::memcpy(now_.data() + request.offset, request.data, good);
      std::memset(now_.data() + request.offset + good, 0xEE, request.size - good);
      request.done = true;
      --batch.under_way;
    }
  }

  int do_sync() override {
    std::lock_guard lock(mutex_);
    return sync_now();
  }
  int sync_now() {
    const bool failed = --sync_fault_ == 0 || by_chance();
    events_.push_back({failed ? 'S' : 's'});
    (failed ? now_ : durable_) = failed ? durable_ : now_;
    return failed ? EIO : 0;
  }

  void do_start_sync(IoBatch& batch) override {
    std::lock_guard lock(mutex_);
    if (!info_.background_sync) {
      batch.requests.front().os_error = sync_now();
      return;
    }
    begun_ = now_;
    events_.push_back({'b', 0, 0});
    batch.under_way = 1;
  }
  void end_sync(IoBatch& batch) {
    std::swap(now_, begun_);
    batch.requests.front().os_error = sync_now();
    std::swap(now_, begun_);
    batch.under_way = 0;
  }

  DiskInfo info_;
  std::mutex mutex_;
  std::condition_variable released_;
  std::vector<std::byte> now_, durable_;
  std::vector<std::byte> begun_;  ///< what the sync under way is for
  std::vector<Event> events_;
  std::vector<const std::byte*> written_from_;
  bool last_in_turn_ = false;
  std::function<void()> hook_;
  Extent bad_;
  int write_fault_ = 0, sync_fault_ = 0, write_errno_ = EIO;
  unsigned fail_one_in_ = 0;
  bool lacks_memory_ = false;
  bool all_writes_fail_ = false, held_ = false, syncs_held_ = false;
  std::uint64_t held_from_ = 0;
  std::uint64_t random_ = 1;
};

}  // namespace rawcache::testing
