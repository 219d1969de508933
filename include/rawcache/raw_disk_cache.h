// RawDiskCache: key -> value entries on a raw disk, written and read in large batches.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rawcache/async.h"
#include "rawcache/disk.h"
#include "rawcache/load.h"
#include "rawcache/options.h"
#include "rawcache/result.h"
#include "rawcache/stats.h"
#include "rawcache/update.h"
#include "rawcache/value.h"

namespace rawcache {

/// What `inspect` finds on a device, without opening it as a cache and without writing.
struct CacheInfo {
  std::string id;  ///< 32 hex digits, made when formatted
  std::uint32_t format_version = 0;
  std::uint64_t device_bytes = 0;
  std::uint64_t capacity_bytes = 0;
  std::uint32_t block_bytes = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t segments = 0;
  std::uint64_t entries_max = 0;
  std::uint64_t value_bytes_max = 0;
  std::uint32_t entry_alignment = 0;        ///< bytes
  std::uint64_t checkpoint_area_bytes = 0;  ///< of each of the two
  bool checkpoint_valid = false;
  std::uint64_t checkpoint_generation = 0;
  std::uint64_t checkpoint_entries = 0;
  std::uint64_t next_sequence = 0;  ///< as of the checkpoint
  std::string engine;
  bool direct = false;
  std::string fallback_reason;
};

/// One thing that `verify` found wrong.
struct Damage {
  std::uint64_t offset = 0;  ///< bytes from the start of the device
  std::uint64_t size = 0;    ///< bytes
  std::string what;          ///< for people
  std::string key;           ///< the entry's key, if it is known
};

struct VerifyReport {
  std::uint64_t entries = 0;  ///< live entries read and checked
  std::uint64_t bytes_read = 0;
  std::uint64_t batches = 0;       ///< batches found in the log
  std::uint64_t damage_count = 0;  ///< all damage found
  std::vector<Damage> damage;      ///< the first kVerifyDamageMax of it
};
inline constexpr std::size_t kVerifyDamageMax = 1000;

/// Told to for_each_key.
struct KeyInfo {
  std::string_view key;
  std::uint64_t value_bytes = 0;
  std::uint64_t sequence = 0;
  std::uint32_t expires_at = 0;  ///< Unix time, seconds; 0: never
  std::uint32_t flags = 0;       ///< StoreOptions::flags
};

/// What store_batch and store_buffered_batch store. The bytes are the caller's and must live until
/// the call returns.
struct KeyValue {
  std::string_view key;
  std::span<const std::byte> value;
  StoredIn* stored_in = nullptr;  ///< if not null: as StoreOptions::stored_in, of this entry
};

/// A cache of key -> value entries on one disk.
///
/// Threads: every function may be called from any thread at any time, but move, destruction and
/// close want the caller to be the only one. Order: of two writes of one key the later call wins,
/// however they came. Visibility: what a call has stored or removed is seen by every thread at
/// once. Durability: a `store`, `store_batch`, `remove` or `flush_writes` that returned ok has made
/// itself and everything called before it durable. Whatever was flushed together survives a crash
/// together or not at all. A cache forgets: entries are evicted, oldest first, when space is
/// needed; stats() counts them. Memory: a call that finds none returns out_of_memory and has had no
/// effect, as after any other of its errors; only what has no Result to say it in throws
/// std::bad_alloc: stats, segments, lookup_batch, store_batch and store_buffered_batch for their
/// results, and preparing an Operation. Keys: 1 to kKeyBytesMax bytes, any bytes. Values: 0 to
/// value_bytes_max() bytes.
class RawDiskCache {
 public:
  /// Opens the cache at `path` (a block device or a file) and recovers it.
  /// Errors: those of open_disk; invalid_options, not_a_cache, unsupported_version,
  /// superblock_damaged, checkpoint_lost, device_shrunk, device_grown, wrong_device,
  /// geometry_mismatch, capacity_too_small, out_of_memory, io_error. On error nothing was changed,
  /// except that create_if_missing may leave a new file.
  static Result<RawDiskCache> open(std::string_view path, Options options = {});
  /// The same on a disk of the caller's, which must have been formatted.
  static Result<RawDiskCache> open(std::unique_ptr<Disk> disk, Options options = {});

  RawDiskCache(RawDiskCache&&) noexcept;
  RawDiskCache& operator=(RawDiskCache&&) noexcept;
  /// Closes; errors are lost, call close() to see them.
  ~RawDiskCache();

  /// Stores durably: one write and one sync, shared with concurrent callers.
  /// On return ok: readable, and durable with everything called before.
  /// On error: the previous value of the key, if any, is in place; the new one is gone (after a
  /// crash either may be found). With StoreOptions::when the call is refused if what is under the
  /// key is not what it wants (condition_failed, not_found), and nothing changes; that costs a
  /// lookup, and no other call can come between. not_admitted (device_bytes_per_day used up): not
  /// stored, and the previous value is gone, durably; where that fails, it is in place and after a
  /// crash may be gone. Errors: those; key_empty, key_too_long,
  /// value_too_large, io_error, sync_failed, no_space, buffer_full, out_of_memory, closed.
  Result<void> store(std::string_view key, std::span<const std::byte> value,
                     StoreOptions options = {});
  Result<void> store(std::string_view key, std::string_view value, StoreOptions options = {});

  /// Stores into the write buffer. On return ok: readable; durable after flush_writes, store,
  /// store_batch, remove or close. When Options::max_operations or max_buffer_bytes is reached, a
  /// flush is started and not waited for; the next flush or maintain() completes it. With
  /// Admission::wanted_again a new value waits in memory instead, see there;
  /// StoreOptions::stored_in tells. The value before it is gone at once, durably with the next
  /// flush; the same on not_admitted.
  /// Errors: as store; flush_failed: accepted and readable, but a flush failed, nothing is lost and
  /// the next flush writes it again; buffer_full: not accepted.
  Result<void> store_buffered(std::string_view key, std::span<const std::byte> value,
                              StoreOptions options = {});
  Result<void> store_buffered(std::string_view key, std::string_view value,
                              StoreOptions options = {});

  /// store for each, in their order, with as few writes and syncs as the write buffer allows; not
  /// in one step: others may come between, and a crash or an error may leave some of them. One
  /// result per entry, with the errors of store. Where the device fails, or the buffer stays full,
  /// the rest is not tried and gets the same error. `options` hold for each entry, but for
  /// `stored_in`, which is each entry's own.
  std::vector<Result<void>> store_batch(std::span<const KeyValue> entries,
                                        const StoreOptions& options = {});
  /// store_buffered for each, in their order; results and options as above, with the errors of
  /// store_buffered. What later entries need of the memory is fetched while earlier ones are
  /// stored. If urgent, one flush is started, at the end.
  std::vector<Result<void>> store_buffered_batch(std::span<const KeyValue> entries,
                                                 const StoreOptions& options = {});

  /// Makes everything buffered durable, also what is already on its way to the device. Returns how
  /// many operations became durable by it. Errors: io_error, sync_failed, no_space, out_of_memory;
  /// then everything is still buffered and the next flush writes all of it again.
  Result<std::uint64_t> flush_writes();

  /// The value of `key`. Errors: not_found; io_error; key_empty, key_too_long; out_of_memory;
  /// closed. One read of the device at most, none if the value is still buffered.
  Result<Value> lookup(std::string_view key);

  /// One result per key, in the order of the keys, duplicates included; errors as lookup, per key.
  /// Reads that lie close together are merged, all reads are in flight together.
  std::vector<Result<Value>> lookup_batch(std::span<const std::string_view> keys);
  std::vector<Result<Value>> lookup_batch(std::span<const std::string> keys);

  /// Removes durably; ok also if there was nothing to remove. Cost, durability, errors: as store.
  Result<void> remove(std::string_view key);
  /// Removes at once for readers, durably with the next flush. Errors: as store_buffered.
  Result<void> remove_buffered(std::string_view key);

  /// Looks the entry up, lets `updater` say what becomes of it, and does that: in one step, of
  /// which others see all or nothing, durably. The lookup counts neither hit nor miss. Errors:
  /// those of lookup but not_found, those of store; then nothing has changed.
  Result<Updated> update(std::string_view key, const Updater& updater);
  /// The same into the write buffer. Errors: also flush_failed, as store_buffered.
  Result<Updated> update_buffered(std::string_view key, const Updater& updater);

  /// Gives the entry another life, with the meaning of StoreOptions::ttl, durably. It is stored
  /// anew, so its sequence changes. Errors: not_found; those of update.
  Result<void> touch(std::string_view key, std::chrono::seconds ttl);
  /// The same into the write buffer. Errors: also flush_failed, as store_buffered.
  Result<void> touch_buffered(std::string_view key, std::chrono::seconds ttl);

  /// Whether lookup would find the key now. Reads like lookup, but counts neither hit nor miss.
  Result<bool> contains(std::string_view key);

  /// Removes everything, durably and at once. Errors: io_error, sync_failed, out_of_memory: then
  /// nothing was removed, or after a crash everything.
  Result<void> clear();
  /// Removes at that second (Unix time, by Options::now) everything that has been stored until
  /// then; not before, and also if the cache is closed or has crashed meanwhile: the wish is
  /// durable on return, the removal by the first call after that second. A time that has passed: at
  /// once. A later clear or clear_at replaces it. Errors: as clear; lookups and stores that find it
  /// due and cannot carry it out return them, too.
  Result<void> clear_at(std::int64_t unix_seconds);

  /// Calls `each` for every entry that is in the cache during the whole call, in no order; entries
  /// stored or removed meanwhile may or may not be seen. `each` returns false to stop, and may call
  /// the cache. Reads the whole content. Unreadable and expired entries are left out. Errors:
  /// io_error, out_of_memory.
  Result<void> for_each_key(const std::function<bool(const KeyInfo&)>& each);

  /// Does what is due: completes a flush that was started, writes a checkpoint when the log has
  /// grown enough, frees segments ahead of need. For caches without
  /// maintenance_thread. Errors: io_error, sync_failed, out_of_memory; harmless, the next call
  /// tries again.
  Result<void> maintain();

  /// Makes a dictionary from a sample of the small values (up to 4 KiB) in the cache, writes it to
  /// the device and, with CompressionOptions::dictionary, compresses with it from now on. For when
  /// what is stored has changed; the first one is made by maintenance. It replaces the oldest of
  /// five (of fewer with blocks above 4 KiB): entries that were compressed with that one are misses
  /// from then on (Stats::dictionary_misses). Durable when it returns. Takes about a second and 16
  /// MB; other calls go on meanwhile. Threads: any. Errors: not_supported: too few small values,
  /// nothing in common, or no room (blocks of 64 KiB); io_error, sync_failed, out_of_memory,
  /// closed.
  Result<void> train_dictionary();

  /// Counters and gauges. Cheap: a few microseconds.
  Stats stats() const;

  /// Every segment, in the order of their places on the device: what the log looks like at this
  /// moment. Cheap: nanoseconds per segment, some of them under the log's lock. No errors; after
  /// close, as it was then.
  std::vector<SegmentInfo> segments() const;

  /// Largest value that fits beside a key of `key_bytes` bytes, bytes.
  std::uint64_t value_bytes_max(std::size_t key_bytes = 0) const;

  /// Ends what has been begun asynchronously (see Operation), flushes, writes a checkpoint and
  /// releases the device. Later calls return Errc::closed. Values
  /// stay valid. Errors: those of flush_writes; the device is released all the same.
  Result<void> close();

  // Get or fetch.

  /// The value of `key`; if it is not there, what `loader` finds, which is stored and returned.
  /// One load per key at a time: others who want the key meanwhile, also by the asynchronous call,
  /// wait for it and get its result. The loader runs in the calling thread. A failed load is told
  /// to all who wait, and not remembered. Whatever is stored, removed or cleared under the key
  /// while it is being loaded stays: what was loaded is then handed out, but not stored
  /// (Stats::loads_not_stored, also if storing it fails). An entry that the device cannot read
  /// (io_error) is loaded, too. Errors: the loader's own; load_failed; key_empty, key_too_long;
  /// out_of_memory; closed.
  Result<Value> lookup_or_load(std::string_view key, const Loader& loader,
                               LoadOptions options = {});
  /// The same for many: one call of the loader for all that are missing and not being loaded
  /// already. One result per key, in the order of the keys.
  std::vector<Result<Value>> lookup_or_load_batch(std::span<const std::string_view> keys,
                                                  const BatchLoader& loader,
                                                  LoadOptions options = {});
  std::vector<Result<Value>> lookup_or_load_batch(std::span<const std::string> keys,
                                                  const BatchLoader& loader,
                                                  LoadOptions options = {});

  // The same calls asynchronously, but for close, lookup_or_load_batch and the stores of batches:
  // nothing happens before the Operation is started, awaited or got; see there. Results, effects
  // and errors are those of the blocking call; out_of_memory also if no thread can be made. Lookups
  // that are begun together are carried out as one lookup_batch, stores and removes under one
  // commit. Those that write are carried out in the order in which they were begun; a lookup sees
  // what has ended before it was begun, and may see what has not.

  Operation<Result<Value>> async_lookup(std::string_view key);
  Operation<std::vector<Result<Value>>> async_lookup_batch(std::span<const std::string_view> keys);
  Operation<std::vector<Result<Value>>> async_lookup_batch(std::span<const std::string> keys);
  Operation<Result<bool>> async_contains(std::string_view key);
  Operation<Result<void>> async_store(std::string_view key, OwnedBytes value,
                                      StoreOptions options = {});
  Operation<Result<void>> async_store_buffered(std::string_view key, OwnedBytes value,
                                               StoreOptions options = {});
  Operation<Result<void>> async_remove(std::string_view key);
  Operation<Result<void>> async_remove_buffered(std::string_view key);
  /// `updater` is called in get or on a thread of the cache's own, and must not wait for loads or
  /// asynchronous calls; what its change refers to must live until the operation has ended.
  Operation<Result<Updated>> async_update(std::string_view key, Updater updater);
  Operation<Result<Updated>> async_update_buffered(std::string_view key, Updater updater);
  Operation<Result<void>> async_touch(std::string_view key, std::chrono::seconds ttl);
  Operation<Result<void>> async_touch_buffered(std::string_view key, std::chrono::seconds ttl);
  Operation<Result<std::uint64_t>> async_flush_writes();
  Operation<Result<void>> async_clear();
  Operation<Result<void>> async_clear_at(std::int64_t unix_seconds);
  Operation<Result<void>> async_maintain();
  Operation<Result<void>> async_train_dictionary();
  /// `each` is called on a thread of the cache's own, whatever Options::completion says.
  Operation<Result<void>> async_for_each_key(std::function<bool(const KeyInfo&)> each);
  /// The loader is called where callbacks are, and replies when it has found the value.
  Operation<Result<Value>> async_lookup_or_load(std::string_view key, AsyncLoader loader,
                                                LoadOptions options = {});

  /// Completion::poll: hands over what has ended, in the calling thread, and returns how many that
  /// were. Does not wait. One thread at a time.
  std::size_t poll();
  /// Completion::poll: a file descriptor that is readable while poll() has something to hand over,
  /// for select, poll and epoll; nothing else may be done with it. -1 otherwise.
  int native_handle() const;

  // For tools.

  /// Makes an empty cache on the device or file; everything on it is lost. A file that does not
  /// exist is created with options.capacity bytes. Fails with already_exists if the path holds a
  /// cache, or a known file system or partition table, unless `overwrite`. Errors: those of
  /// open_disk; invalid_options, capacity_too_small, io_error.
  static Result<CacheInfo> format(std::string_view path, const FormatOptions& options = {},
                                  bool overwrite = false);
  /// The same on a disk of the caller's; overwrites without asking.
  static Result<CacheInfo> format(Disk& disk, const FormatOptions& options = {});

  /// Reads what the cache at the path is. Writes nothing and takes no lock.
  static Result<CacheInfo> inspect(std::string_view path);
  static Result<CacheInfo> inspect(Disk& disk);

  /// Reads and checks everything: superblocks, checkpoints, every batch and every live entry.
  /// Writes nothing. `progress` is told bytes done and bytes in all. Fails only if the cache cannot
  /// be read at all; damage is in the report.
  using Progress = std::function<void(std::uint64_t done, std::uint64_t all)>;
  static Result<VerifyReport> verify(std::string_view path, const Progress& progress = {});
  static Result<VerifyReport> verify(Disk& disk, const Progress& progress = {});

 private:
  class Impl;
  class Async;
  explicit RawDiskCache(std::unique_ptr<Impl> impl, std::shared_ptr<Async> async);
  static Result<RawDiskCache> with_async(std::unique_ptr<Impl> impl, Completion completion);
  void end();

  std::unique_ptr<Impl> impl_;
  std::shared_ptr<Async> async_;  ///< operations keep it, too
};

}  // namespace rawcache
