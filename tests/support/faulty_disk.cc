#include "support/faulty_disk.h"

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/math.h"

namespace rawcache::testing {

struct FaultyDisk::Passed {
  IoBatch batch;
  std::vector<std::size_t> places;  ///< of each of its requests in the caller's batch
  std::vector<bool> told;
  /// Requests that never end by themselves: places in the caller's batch, and their errors.
  std::vector<std::pair<std::size_t, int>> stuck;
};

void FaultyDisk::fail(Op op, std::uint64_t k, int os_error, Repeat repeat, Reach reach, Pace pace) {
  MutexLock lock(mutex_);
  const auto index = static_cast<std::size_t>(op);
  faults_[index] = {counts_[index] + k, os_error, repeat, reach, pace};
}

void FaultyDisk::fail_writes_in(Extent range, int os_error) {
  MutexLock lock(mutex_);
  bad_ranges_.push_back({range, os_error});
}

void FaultyDisk::heal() {
  MutexLock lock(mutex_);
  faults_ = {};
  bad_ranges_.clear();
}

void FaultyDisk::set_hook(std::function<void(const Event&)> hook) {
  MutexLock lock(mutex_);
  hook_ = std::move(hook);
}

void FaultyDisk::set_on_failure(std::function<void(const Event&)> on_failure) {
  MutexLock lock(mutex_);
  on_failure_ = std::move(on_failure);
}

void FaultyDisk::set_sync_delay(std::chrono::nanoseconds delay) {
  MutexLock lock(mutex_);
  sync_delay_ = delay;
}

std::uint64_t FaultyDisk::count(Op op) const {
  MutexLock lock(mutex_);
  return counts_[static_cast<std::size_t>(op)];
}

std::uint64_t FaultyDisk::failures() const {
  MutexLock lock(mutex_);
  return failures_;
}

FaultyDisk::Verdict FaultyDisk::judge(const Event& event) {
  std::function<void(const Event&)> hook;
  {
    MutexLock lock(mutex_);
    hook = hook_;
  }
  if (hook) hook(event);

  Verdict verdict;
  {
    MutexLock lock(mutex_);
    const auto index = static_cast<std::size_t>(event.op);
    const std::uint64_t count = ++counts_[index];
    const Fault& fault = faults_[index];
    if (fault.at != 0 &&
        (count == fault.at || (count > fault.at && fault.repeat == Repeat::for_ever))) {
      verdict = {fault.os_error, fault.reach, fault.pace};
    }
    if (event.op == Op::write) {
      for (const BadRange& bad : bad_ranges_) {
        if (event.offset < bad.range.end() && bad.range.offset < event.offset + event.size) {
          verdict = {bad.os_error, Reach::nothing, Pace::at_once};
        }
      }
    }
    if (verdict.os_error == 0) return verdict;
    ++failures_;
  }
  if (verdict.pace == Pace::at_once || event.op == Op::sync) tell_failure(event);
  return verdict;
}

void FaultyDisk::tell_failure(const Event& event) {
  std::function<void(const Event&)> hook;
  {
    MutexLock lock(mutex_);
    hook = on_failure_;
  }
  if (hook) hook(event);
}

void FaultyDisk::reach(const IoRequest& request, Reach reach) {
  if (reach == Reach::nothing) return;
  std::size_t size = request.size;
  if (reach == Reach::half) size -= round_up(size / 2, info().io_alignment);
  if (size == 0) return;
  if (request.kind == IoRequest::Kind::read) {
    (void)inner_->read(request.offset, {request.data, size});
  } else {
    (void)inner_->write(request.offset, {request.data, size});
  }
}

void FaultyDisk::do_submit(IoBatch& batch) {
  auto passed = std::make_shared<Passed>();
  for (std::size_t i = 0; i < batch.requests.size(); ++i) {
    IoRequest& request = batch.requests[i];
    const Op op = request.kind == IoRequest::Kind::read ? Op::read : Op::write;
    const Verdict verdict = judge({op, request.offset, request.size});
    if (verdict.os_error != 0) {
      reach(request, verdict.reach);
      if (verdict.pace == Pace::never) {
        passed->stuck.emplace_back(i, verdict.os_error);
      } else {
        request.os_error = verdict.os_error;
        request.done = true;
      }
      continue;
    }
    passed->batch.requests.push_back(request);
    passed->places.push_back(i);
  }
  passed->told.resize(passed->places.size());
  batch.under_way = passed->places.size() + passed->stuck.size();
  batch.engine_state = passed;
  if (!inner_->submit(passed->batch)) {  // the inner disk is pickier than its info() says
    for (IoRequest& request : passed->batch.requests) {
      request.done = true;
      request.os_error = EINVAL;
    }
  }
  do_wait(batch, 0);
}

void FaultyDisk::do_wait(IoBatch& batch, std::size_t at_least) {
  auto& passed = *static_cast<Passed*>(batch.engine_state.get());
  const bool to_the_end = at_least > passed.batch.under_way;
  inner_->wait(passed.batch, std::min(at_least, passed.batch.under_way));
  if (to_the_end) {
    for (const auto& [place, os_error] : std::exchange(passed.stuck, {})) {
      IoRequest& request = batch.requests[place];
      request.os_error = os_error;
      request.done = true;
      --batch.under_way;
      const Op op = request.kind == IoRequest::Kind::read ? Op::read : Op::write;
      tell_failure({op, request.offset, request.size});
    }
  }
  for (std::size_t i = 0; i < passed.places.size(); ++i) {
    const IoRequest& inner = passed.batch.requests[i];
    if (!inner.done || passed.told[i]) continue;
    IoRequest& request = batch.requests[passed.places[i]];
    request.os_error = inner.os_error;
    request.done = true;
    passed.told[i] = true;
    --batch.under_way;
  }
}

int FaultyDisk::do_sync() {
  std::chrono::nanoseconds delay{0};
  {
    MutexLock lock(mutex_);
    delay = sync_delay_;
  }
  if (const Verdict verdict = judge({.op = Op::sync}); verdict.os_error != 0) {
    return verdict.os_error;
  }
  if (delay.count() > 0) std::this_thread::sleep_for(delay);
  const Result<void> synced = inner_->sync();
  return synced ? 0 : synced.error().os_error();
}

void FaultyDisk::do_start_sync(IoBatch& batch) {
  const Verdict verdict = judge({.op = Op::sync});
  if (verdict.os_error != 0) {
    batch.requests.front().os_error = verdict.os_error;
    batch.requests.front().done = true;
    return;
  }
  auto passed = std::make_shared<Passed>();
  passed->places = {0};
  passed->told = {false};
  inner_->start_sync(passed->batch);
  batch.under_way = 1;
  batch.engine_state = std::move(passed);
  do_wait(batch, 0);
}

}  // namespace rawcache::testing
