// RawDiskCache::Async: carries out asynchronous calls and loads, on top of the blocking ones.
//
//   async_impl.cc   begin, hand over, poll, close
//   carry_out.cc    lookups as one batch, writes under one commit
//   load.cc         lookup_or_load
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "async/calls.h"
#include "async/flights.h"
#include "async/lane.h"
#include "async/ready_queue.h"
#include "base/mutex.h"
#include "cache/cache_impl.h"
#include "rawcache/async.h"
#include "rawcache/load.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache {

class RawDiskCache::Async final : public detail::Executor,
                                  public std::enable_shared_from_this<Async> {
 public:
  /// `impl` outlives everything up to the end of close().
  Async(Impl& impl, Completion completion);

  // async_impl.cc
  /// Only for Completion::poll. Error: too_many_files.
  Result<void> open();
  void start(std::shared_ptr<detail::Call> call) override;
  void run(std::span<detail::Call* const> calls) override;
  std::size_t poll();
  int native_handle() const { return ready_.descriptor(); }
  /// Carries out and delivers what has been begun; later calls end with Errc::closed.
  void close();
  void add_stats(Stats& stats) const;

  // load.cc
  std::vector<Result<Value>> lookup_or_load(std::span<const std::string_view> keys,
                                            const BatchLoader& loader, LoadOptions options);

 private:
  // async_impl.cc
  void deliver(Calls calls);
  /// Delivers a call that somebody else has ended.
  void deliver_later(std::shared_ptr<detail::Call> call);
  void hand_over(const Calls& calls);
  bool push(const std::shared_ptr<detail::Call>& call);

  // carry_out.cc
  void read(Calls calls);
  void end_reads(Calls calls);
  void write(Calls calls);
  void do_the_rest(Calls calls);
  void carry_out_reads(std::span<detail::Call* const> calls);
  void carry_out_lookups(std::span<detail::Call* const> calls);
  void carry_out_contains(std::span<detail::Call* const> calls);
  /// The first, and those that follow it under the same commit. Returns how many.
  std::size_t carry_out_writes(std::span<detail::Call* const> calls);
  void carry_out_entry_writes(std::span<detail::Call* const> calls);
  void carry_out_alone(detail::Call& call);

  // load.cc
  class Reply;
  /// A value that a flight's leader has found.
  struct Found {
    Flight* flight = nullptr;
    Result<Loaded> loaded;
    LoadOptions options;
  };
  /// Lands flights with what the leaders have found; stores it first.
  std::vector<Result<Value>> land(std::vector<Found> found);
  void land_with(Flight& flight, const Result<Value>& result);
  struct Absent;  // the keys of a lookup_or_load that are not in the cache
  void lead(std::span<const std::string_view> keys, Absent& absent, const BatchLoader& loader,
            LoadOptions options, std::vector<Result<Value>>& results);
  std::vector<Result<Loaded>> ask(const BatchLoader& loader,
                                  std::span<const std::string_view> keys);
  /// After a miss. False: another load will end the call.
  bool begin_load(const std::shared_ptr<LoadCall>& call);
  /// Calls the loader. False: the cache has been closed, and the call has ended.
  bool ask(const std::shared_ptr<LoadCall>& call);
  void replied(const std::shared_ptr<LoadCall>& call, Result<Loaded> loaded);
  void land(std::span<const std::shared_ptr<LoadCall>> calls);
  void end_load(LoadCall& call, const Error& error);
  /// Those whose loader has not replied.
  void end_loads();
  void run_load(LoadCall& call);

  Impl& impl_;
  const Completion completion_;
  std::atomic<bool> closed_{false};
  Flights flights_;
  ReadyQueue ready_;
  Lane reads_, writes_, rest_;

  Mutex loading_mutex_;
  std::unordered_set<std::shared_ptr<LoadCall>> loading_ GUARDED_BY(loading_mutex_);
  std::size_t replies_ GUARDED_BY(loading_mutex_) = 0;  ///< that are just being taken
  CondVar replies_ended_;

  Counter begun_, ended_;
  Counter loads_, load_waits_, load_failures_, loads_not_stored_;
};

}  // namespace rawcache
