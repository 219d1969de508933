// Opening, recovering and closing a cache.

#include <algorithm>
#include <limits>
#include <new>
#include <system_error>

#include "base/math.h"
#include "base/mutant.h"
#include "batch/merge.h"
#include "cache/cache_impl.h"
#include "cache/format_cache.h"

namespace rawcache {
namespace {

/// Memory for adaptive write buffers.
constexpr std::uint64_t kAdaptiveMemoryMin = std::uint64_t{2} << 20;
constexpr std::uint64_t kAdaptiveMemoryMax = std::uint64_t{4} << 30;
constexpr std::chrono::milliseconds kFlushIntervalMax = std::chrono::hours(24);
/// Copying that has been saved up is at most this share of the capacity.
constexpr std::uint64_t kTokensShare = 2;
constexpr std::uint64_t kMemoryBytesMin = std::uint64_t{64} << 10;
constexpr std::uint64_t kMemoryBytesMax = std::uint64_t{1} << 40;
constexpr std::uint64_t kAdmissionMemoryBytesMin = 4096;
constexpr double kWaCapMax = 4;
/// Evicted entries are remembered until this share of the capacity has been evicted since.
constexpr std::uint64_t kGhostPercent = 90;
constexpr double kMinSavingMax = 0.9;
constexpr std::uint64_t kBufferBytesMin = 4096;
constexpr std::uint64_t kBufferBytesMax = std::uint64_t{1} << 30;
constexpr std::uint64_t kReadBufferBytesMin = std::uint64_t{64} << 10;
constexpr std::uint64_t kReadBufferBytesMax = std::uint64_t{1} << 40;

Result<void> validate(const CompressionOptions& options) {
  if (auto checked = check_compression(options.codec); !checked) return checked;
  if (!is_level_of(codec_of(options.codec), options.level)) {
    return std::unexpected(invalid_option("compression.level is none of this codec"));
  }
  if (options.dictionary) {
    if (auto checked = check_compression(Compression::zstd); !checked) return checked;
  }
  if (!(options.min_saving >= 0 && options.min_saving <= kMinSavingMax)) {
    return std::unexpected(invalid_option("compression.min_saving must be from 0 to 0.9"));
  }
  return {};
}

Result<void> validate(const Options& options) {
  if (options.max_operations == 0) return std::unexpected(invalid_option("max_operations is 0"));
  if (options.max_buffer_bytes < kBufferBytesMin || options.max_buffer_bytes > kBufferBytesMax) {
    return std::unexpected(invalid_option("max_buffer_bytes must be from 4 KiB to 1 GiB"));
  }
  if (options.read_buffer_bytes < kReadBufferBytesMin ||
      options.read_buffer_bytes > kReadBufferBytesMax) {
    return std::unexpected(invalid_option("read_buffer_bytes must be from 64 KiB to 1 TiB"));
  }
  if (options.read_gap_bytes > kReadGapBytesMax) {
    return std::unexpected(invalid_option("read_gap_bytes must be at most 64 KiB"));
  }
  if (options.write_buffer_bytes < kAdaptiveMemoryMin ||
      options.write_buffer_bytes > kAdaptiveMemoryMax) {
    return std::unexpected(invalid_option("write_buffer_bytes must be from 2 MiB to 4 GiB"));
  }
  if (options.flush_interval.count() < 0 || options.flush_interval > kFlushIntervalMax) {
    return std::unexpected(invalid_option("flush_interval must be from 0 to 24 hours"));
  }
  if (!(options.wa_cap >= 1 && options.wa_cap <= kWaCapMax)) {
    return std::unexpected(invalid_option("wa_cap must be from 1 to 4"));
  }
  if (options.memory_bytes != 0 &&
      (options.memory_bytes < kMemoryBytesMin || options.memory_bytes > kMemoryBytesMax)) {
    return std::unexpected(invalid_option("memory_bytes must be 0 or from 64 KiB to 1 TiB"));
  }
  if (options.admission != Admission::all &&
      (options.admission_memory_bytes < kAdmissionMemoryBytesMin ||
       options.admission_memory_bytes > kMemoryBytesMax)) {
    return std::unexpected(invalid_option("admission_memory_bytes must be from 4 KiB to 1 TiB"));
  }
  if (options.default_ttl.count() < 0)
    return std::unexpected(invalid_option("default_ttl is negative"));
  return validate(options.compression);
}

/// Whether this capacity is what the cache was formatted with.
bool is_capacity_of(const Superblock& superblock, const FormatOptions& format,
                    std::uint32_t io_alignment) {
  FormatOptions asked{.capacity = format.capacity,
                      .block_bytes = superblock.block_bytes,
                      .segment_bytes = format.segment_bytes,
                      .expected_entries = format.expected_entries};
  const auto same = [&] {
    const auto layout = lay_out(asked, superblock.device_bytes, io_alignment);
    return layout && layout->segments == superblock.segments &&
           layout->segment_bytes == superblock.segment_bytes;
  };
  if (same()) return true;
  asked.expected_entries = 0;  // given for this open only
  return same();
}

/// Whether the device is the one that the superblock was written for, and the one that is wanted.
Result<void> check_identity(const Superblock& superblock, const DiskInfo& info,
                            const Options& options) {
  const std::string sizes = info.path + ": formatted with " +
                            std::to_string(superblock.device_bytes) + " bytes, now " +
                            std::to_string(info.size_bytes);
  if (info.size_bytes < superblock.device_bytes && !mutated(Mutant::kShrunkDeviceAccepted)) {
    return std::unexpected(Error(Errc::device_shrunk, sizes));
  }
  if (info.size_bytes > superblock.device_bytes && !options.accept_grown) {
    return std::unexpected(Error(Errc::device_grown, sizes));
  }
  if (!options.expected_id.empty() && options.expected_id != to_string(superblock.id)) {
    return std::unexpected(Error(
        Errc::wrong_device,
        info.path + ": this is " + to_string(superblock.id) + ", not " + options.expected_id));
  }
  if (superblock.block_bytes % info.io_alignment != 0) {
    return std::unexpected(Error(Errc::geometry_mismatch,
                                 info.path + ": the device wants I/O in units of " +
                                     std::to_string(info.io_alignment) + " bytes, the cache has " +
                                     std::to_string(superblock.block_bytes)));
  }
  const FormatOptions& format = options.format;
  const auto differs = [&](const char* what, std::uint64_t asked, std::uint64_t is) {
    return Error(Errc::geometry_mismatch, info.path + ": " + what + " is " + std::to_string(is) +
                                              ", asked for " + std::to_string(asked));
  };
  const std::uint64_t end =
      superblock.segments_offset + std::uint64_t{superblock.segments} * superblock.segment_bytes;
  if (format.segment_bytes != 0 && format.segment_bytes != superblock.segment_bytes) {
    return std::unexpected(
        differs("segment_bytes", format.segment_bytes, superblock.segment_bytes));
  }
  if (format.block_bytes != FormatOptions().block_bytes &&
      format.block_bytes != superblock.block_bytes) {
    return std::unexpected(differs("block_bytes", format.block_bytes, superblock.block_bytes));
  }
  if (format.capacity != 0 && !is_capacity_of(superblock, format, info.io_alignment)) {
    return std::unexpected(differs("the capacity", format.capacity, end));
  }
  return {};
}

/// Of the memory for write buffers, for the footers of segments that end in them.
constexpr std::uint64_t kFooterShare = 16;

}  // namespace

// --- Opening ---

BatchLimits batch_limits(const Options& options) {
  if (options.batch_mode == BatchMode::fixed) {
    return {options.max_operations, options.max_buffer_bytes};
  }
  const std::uint64_t each = options.write_buffer_bytes / (kSealedBuffersMax + 1);
  return {.max_operations = std::numeric_limits<std::uint32_t>::max(),
          .max_bytes = each - each / kFooterShare - WriteBuffer::kReserveBytes};
}

Result<std::unique_ptr<RawDiskCache::Impl>> RawDiskCache::Impl::open(std::unique_ptr<Disk> disk,
                                                                     const Options& options) try {
  if (auto valid = validate(options); !valid) return std::unexpected(valid.error());
  auto loaded = load_superblock(*disk);
  if (!loaded) return std::unexpected(loaded.error());
  if (auto checked = check_identity(loaded->superblock, disk->info(), options); !checked) {
    return std::unexpected(checked.error());
  }
  std::unique_ptr<Impl> impl(new Impl(std::move(disk), options, *loaded));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return impl;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

RawDiskCache::Impl::Impl(std::unique_ptr<Disk> disk, const Options& options,
                         const LoadedSuperblock& loaded)
    : options_(options),
      disk_(std::move(disk)),
      superblock_(loaded.superblock),
      spare_segments_(std::min<std::uint64_t>(
          1 + divide_up((kSealedBuffersMax + 2) * batch_limits(options).max_bytes,
                        superblock_.segment_bytes),
          superblock_.segments / kSpareShare)),
      // What does not fit the read buffer, with the blocks at its ends, could never be read back.
      entry_bytes_max_(
          std::min(entry_bytes_max(superblock_),
                   options.read_buffer_bytes - std::uint64_t{2} * IoArena::kPageBytes)),
      selective_(options.admission != Admission::all || options.device_bytes_per_day != 0),
      policy_(make_eviction_policy(options.eviction, options.wa_cap, spare_segments_)),
      last_hits_(std::make_unique<std::atomic<std::uint64_t>[]>(superblock_.segments)),
      tokens_per_byte_(options.wa_cap - 1),
      tokens_max_(superblock_.segments * superblock_.segment_bytes / kTokensShare),
      compressor_(options.compression, superblock_),
      opened_ns_(monotonic_ns()),
      clear_at_(static_cast<std::int64_t>(loaded.superblock.clear_at)),
      written_(loaded),
      budget_(options.device_bytes_per_day, monotonic()),
      disk_info_(disk_->info()),
      disk_counters_at_open_(disk_->counters()) {}

Result<void> RawDiskCache::Impl::start() {
  arena_ = IoArena::create(options_.read_buffer_bytes);
  if (!arena_) return std::unexpected(Error(Errc::out_of_memory, "read_buffer_bytes"));
  disk_->use_memory(arena_->memory());
  auto io = BatchIOManager::create(*disk_, batch_limits(options_), arena_, options_.read_gap_bytes);
  if (!io) return std::unexpected(io.error());
  io_ = std::move(*io);
  auto index = Index::create(superblock_, options_.format.expected_entries != 0);
  if (!index) return std::unexpected(index.error());
  index_ = std::move(*index);
  log_ = std::make_unique<SegmentLog>(superblock_);
  if (options_.admission == Admission::wanted_again) {
    waiting_ = std::make_unique<WaitingRoom>(options_.admission_memory_bytes);
  }
  if (selective_) departed_ = std::make_unique<Departed>(superblock_.entries_max);
  if (policy_->remembers() || selective_) {
    const std::uint64_t bytes = superblock_.segments * superblock_.segment_bytes;
    ghost_ = std::make_unique<Ghost>(superblock_.entries_max, bytes / 100 * kGhostPercent);
  }
  if (options_.memory_bytes != 0) {
    memory_ = MemoryTier::create(options_.memory_bytes);
    if (!memory_) return std::unexpected(Error(Errc::out_of_memory, "memory_bytes"));
  }
  writer_ = std::make_unique<LogWriter>(superblock_, *io_, *index_, *log_);

  auto recovered = recover(*disk_, superblock_, *index_, options_.rebuild_if_checkpoint_lost);
  if (!recovered) return std::unexpected(recovered.error());
  recovered->counts.unreadable += compressor_.dictionaries().load(*disk_);
  compressor_.note_training();
  if (recovered->counts.unreadable > 0 && !options_.accept_unreadable &&
      !mutated(Mutant::kUnreadableIgnored)) {
    return std::unexpected(
        Error(Errc::io_error,
              disk_->info().path +
                  ": blocks that recovery needs cannot be read; accept_unreadable goes on"));
  }
  const bool clean = recovered->clean;
  if (auto erased = erase_blocks(recovered->cut_off); !erased) return erased;
  recovery_counts_ = recovered->counts;
  recovery_counts_.read_bytes = disk_->counters().read_bytes - disk_counters_at_open_.read_bytes;
  if (clean || mutated(Mutant::kHintsAfterACrash)) {
    load_hints(recovered->checkpoint_area);
    if (auto noted = note_opened(recovered->checkpoint_generation); !noted) return noted;
  }
  {
    MutexLock lock(checkpoint_mutex_);
    adopt(std::move(*recovered));
  }
  // Segments that were freed early and not yet reused have come back with their entries.
  if (index_->full()) {
    if (auto room = make_index_room(); !room) return room;
  }
  // Both areas: what has been judged now must not be judged again from an older checkpoint.
  for (int area = 0; area < 2 && !clean; ++area) {
    MutexLock lock(checkpoint_mutex_);
    if (auto taken = take_checkpoint(false); !taken) return std::unexpected(taken.error());
  }
  recovery_ns_ = monotonic_ns() - opened_ns_;
  if (options_.maintenance_thread) {
    try {
      maintenance_ = std::thread([this] { run_maintenance(); });
    } catch (const std::system_error&) {
      return std::unexpected(Error(Errc::out_of_memory, "no thread can be made"));
    }
  }
  started_ = true;
  return {};
}

// Made durable by the checkpoints that follow.
Result<void> RawDiskCache::Impl::erase_blocks(const std::vector<std::uint64_t>& offsets) {
  const std::vector<std::byte> zeros(superblock_.block_bytes);
  for (const std::uint64_t offset : offsets) {
    if (mutated(Mutant::kCutOffNotErased)) continue;
    if (auto erased = disk_->write(offset, zeros); !erased) return erased;
  }
  return {};
}

// A power cut may lose the first block of a new segment and keep later ones. Recovery does not see
// them, and without this note would take the cache for as clean as before: the next life would use
// their generation and batch sequences again, and might continue them.
Result<void> RawDiskCache::Impl::note_opened(std::uint64_t checkpoint_generation) {
  if (mutated(Mutant::kOpeningNotNoted)) return {};
  Superblock opened = written_.superblock;
  opened.opened_checkpoint = checkpoint_generation;
  auto written = replace_superblock(*disk_, written_, opened);
  if (!written) return std::unexpected(written.error());
  written_ = *written;
  return {};
}

void RawDiskCache::Impl::adopt(Recovered recovered) {
  checkpoint_generation_ = recovered.checkpoint_generation;
  checkpoint_area_ = recovered.checkpoint_area;
  replay_from_.store(recovered.replay_from, std::memory_order_relaxed);
  if (mutated(Mutant::kClockForgotten)) recovered.time_high = 0;
  recovered_until_ = recovered.time_high;
  time_high_.store(static_cast<std::int64_t>(recovered.time_high), std::memory_order_relaxed);
  MutexLock lock(log_mutex_);
  log_->restore(std::move(recovered.table), recovered.next_generation);
  for (const Stream stream : {Stream::main, Stream::small}) {
    Recovered::Head& head = recovered.heads[static_cast<std::size_t>(stream)];
    log_->select(stream);
    if (head.open_segment != kNoSegment) {
      log_->resume(head.open_segment, head.previous_segment, head.open_position, head.open_records);
    } else {
      log_->resume_after(head.previous_segment);
    }
  }
  sequence_.store(recovered.next_sequence, std::memory_order_relaxed);
  sequence_at_checkpoint_.store(recovered.next_sequence, std::memory_order_relaxed);
  writer_->resume(recovered.next_batch, recovered.next_sequence, recovered.durable_through);
}

std::int64_t RawDiskCache::Impl::now() {
  const std::int64_t clock = options_.now ? options_.now() : system_now();
  std::int64_t high = time_high_.load(std::memory_order_relaxed);
  while (clock > high &&
         !time_high_.compare_exchange_weak(high, clock, std::memory_order_relaxed)) {
  }
  return std::max(clock, high);
}

// --- Closing ---

Result<void> RawDiskCache::Impl::close() {
  if (closed_.load(std::memory_order_relaxed)) return {};
  if (maintenance_.joinable()) {
    {
      MutexLock lock(maintenance_mutex_);
      maintenance_stop_ = true;
      maintenance_wanted_.notify_one();
    }
    maintenance_.join();
  }
  Result<void> result = make_last_checkpoint();
  closed_.store(true, std::memory_order_relaxed);
  disk_counters_at_close_ = disk_->counters();
  io_at_close_ = io_->counts();
  io_.reset();
  disk_.reset();
  return result;
}

Result<void> RawDiskCache::Impl::make_last_checkpoint() try {
  Result<void> result = settle_all();
  if (auto flushed = flush_writes(); !flushed) return std::unexpected(flushed.error());
  MutexLock lock(checkpoint_mutex_);
  if (auto taken = take_checkpoint(true); !taken) return std::unexpected(taken.error());
  return result;
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

RawDiskCache::Impl::~Impl() {
  // What could not be opened must not be written to either.
  if (started_) (void)close();
}

// --- The public way in ---

Result<RawDiskCache> RawDiskCache::open(std::string_view path_view, Options options) try {
  const std::string path(path_view);
  if (auto valid = validate(options); !valid) return std::unexpected(valid.error());
  DiskOptions disk_options{.engine = options.engine, .direct = options.direct};
  const bool create = options.create_if_missing && !path_exists(path);
  if (create) {
    if (auto checked = check_new_file(options.format); !checked) {
      return std::unexpected(checked.error());
    }
    disk_options.create_bytes = options.format.capacity;
  }
  auto disk = open_disk(path, disk_options);
  if (!disk) return std::unexpected(disk.error());
  if (create) {
    if (auto made = format_new_file(**disk, options.format); !made) {
      return std::unexpected(made.error());
    }
  }
  return open(std::move(*disk), std::move(options));
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

Result<RawDiskCache> RawDiskCache::open(std::unique_ptr<Disk> disk, Options options) try {
  auto impl = Impl::open(std::move(disk), options);
  if (!impl) return std::unexpected(impl.error());
  return with_async(std::move(*impl), options.completion);
} catch (const std::bad_alloc&) {
  return std::unexpected(Errc::out_of_memory);
}

}  // namespace rawcache
