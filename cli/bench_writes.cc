// Writes: `store` one at a time, each durable on return, against `store_buffered` and
// `flush_writes`.
#include <algorithm>
#include <cstring>
#include <random>

#include "cli/bench.h"
#include "cli/text.h"

namespace rawcache::cli {

namespace {

constexpr std::size_t kCheckedValues = 64;
/// Durable stores one at a time: each takes the same, so fewer tell as much.
constexpr std::uint64_t kDirectStoresMax = 10'000;
constexpr std::uint64_t kDelayedStoresMax = 1'000;

std::string key_of(std::uint64_t number) { return "write-" + std::to_string(10'000'000 + number); }

class WriteBench {
 public:
  WriteBench(BenchStage& stage, const Payload& payload, const IoMemory& memory,
             std::uint64_t value_bytes, std::uint64_t operations, bool delayed)
      : stage_(stage),
        payload_(payload),
        memory_(memory),
        value_bytes_(value_bytes),
        operations_(operations),
        direct_stores_max_(delayed ? kDelayedStoresMax : kDirectStoresMax) {
    for (std::uint64_t i = 0; i < operations; ++i) keys_.push_back(key_of(i));
  }

  /// The three measurements, in an order that changes, so that drift of the machine cancels.
  Result<BenchSample> sample(std::size_t repetition) {
    BenchSample result;
    for (std::size_t i = 0; i < 3; ++i) {
      Result<double> rate = 0.0;
      double* into = nullptr;
      switch ((repetition + i) % 3) {
        case 0:
          rate = direct();
          into = &result.single_per_s;
          break;
        case 1:
          rate = buffered();
          into = &result.batched_per_s;
          break;
        default:
          rate = limit();
          into = &result.limit_per_s;
      }
      if (!rate) return std::unexpected(rate.error());
      *into = *rate;
    }
    return result;
  }

  std::vector<double>& direct_us() { return direct_us_; }

 private:
  std::span<const std::byte> value(std::uint64_t i) const {
    return payload_.value(i, value_bytes_);
  }

  Result<double> direct() {
    if (auto cleared = stage_.cache.clear(); !cleared) return std::unexpected(cleared.error());
    const std::uint64_t operations = std::min(operations_, direct_stores_max_);
    const Nanoseconds start = now_ns();
    Nanoseconds before = start;
    for (std::uint64_t i = 0; i < operations; ++i) {
      if (auto stored = stage_.cache.store(keys_[i], value(i)); !stored) {
        return std::unexpected(stored.error());
      }
      const Nanoseconds after = now_ns();
      direct_us_.push_back(static_cast<double>(after - before) / 1e3);
      before = after;
      if (interrupted()) return std::unexpected(Error(Errc::closed, "interrupted"));
    }
    return checked(operations,
                   static_cast<double>(operations) * 1e9 / static_cast<double>(before - start));
  }

  Result<double> buffered() {
    if (auto cleared = stage_.cache.clear(); !cleared) return std::unexpected(cleared.error());
    const Nanoseconds start = now_ns();
    for (std::uint64_t i = 0; i < operations_; ++i) {
      if (auto stored = stage_.cache.store_buffered(keys_[i], value(i)); !stored) {
        return std::unexpected(stored.error());
      }
    }
    if (auto flushed = stage_.cache.flush_writes(); !flushed) {
      return std::unexpected(flushed.error());
    }
    const Nanoseconds end = now_ns();
    if (interrupted()) return std::unexpected(Error(Errc::closed, "interrupted"));
    return checked(operations_,
                   static_cast<double>(operations_) * 1e9 / static_cast<double>(end - start));
  }

  /// In operations per second: as if the device's sequential writes carried nothing but values.
  Result<double> limit() {
    const auto time = write_through(*stage_.disk, stage_.raw, memory_);
    if (!time) return std::unexpected(time.error());
    const double bytes_per_s =
        static_cast<double>(stage_.raw.size) * 1e9 / static_cast<double>(*time);
    return bytes_per_s / static_cast<double>(value_bytes_);
  }

  /// The rate, if what was written can be read back, but for keys that share a tag in the index
  /// with a later one, which the cache counts.
  Result<double> checked(std::uint64_t operations, double rate) {
    const std::uint64_t step = std::max<std::uint64_t>(operations / kCheckedValues, 1);
    std::uint64_t collisions = stage_.cache.stats().collisions;
    for (std::uint64_t i = 0; i < operations; i += step) {
      const auto found = stage_.cache.lookup(keys_[i]);
      if (!found) {
        if (stage_.cache.stats().collisions != ++collisions) return std::unexpected(found.error());
        continue;
      }
      if (!std::ranges::equal(found->bytes(), value(i))) {
        return std::unexpected(Error(Errc::io_error, "the value of " + keys_[i] + " is wrong"));
      }
    }
    return rate;
  }

  BenchStage& stage_;
  const Payload& payload_;
  const IoMemory& memory_;
  std::uint64_t value_bytes_;
  std::uint64_t operations_;
  std::uint64_t direct_stores_max_;
  std::vector<std::string> keys_;
  std::vector<double> direct_us_;
};

/// Every block once, so that neither a file's unwritten extents nor cold ones are measured.
Result<void> write_everything(BenchStage& stage, const BenchPlan& plan, const IoMemory& memory,
                              ProgressLine& progress) {
  constexpr std::uint64_t kStep = 64_MiB;
  for (std::uint64_t at = 0; at < plan.file_bytes; at += kStep) {
    const auto wrote =
        write_through(*stage.disk, {at, std::min(kStep, plan.file_bytes - at)}, memory);
    if (!wrote) return std::unexpected(wrote.error());
    if (interrupted()) return {};
    progress.show(at + kStep, plan.file_bytes);
  }
  return {};
}

}  // namespace

Result<void> bench_writes(const BenchPlan& plan, BenchReport& report, ProgressLine& progress) {
  const auto& sizes = plan.arguments->sizes;
  const std::uint64_t largest = sizes.empty() ? 0 : *std::ranges::max_element(sizes);
  const Payload payload(largest);
  const IoMemory memory(kRawWriteBytes * kRawWritesInFlight);
  if (!payload.ok() || memory.bytes().empty()) {
    return std::unexpected(Error(Errc::out_of_memory, "values to write"));
  }
  {
    auto blank = open_stage(plan);
    if (!blank) return std::unexpected(blank.error());
    if (auto closed = blank->cache.close(); !closed) return closed;
    if (auto wrote = write_everything(*blank, plan, memory, progress); !wrote) return wrote;
  }
  auto stage = open_stage(plan);
  if (!stage) return std::unexpected(stage.error());
  report.disk = stage->disk->info();
  report.capacity_bytes = stage->info.capacity_bytes;

  std::vector<double> limits;
  for (const std::uint64_t size : sizes) {
    BenchRow row;
    row.name = "write/" + std::to_string(size);
    row.value_bytes = size;
    row.operations = plan.write_operations(size);
    WriteBench bench(*stage, payload, memory, size, row.operations,
                     plan.arguments->sync_delay_ms > 0);
    std::vector<BenchSample> samples;
    for (std::size_t i = 0; i < plan.write_repetitions && !interrupted(); ++i) {
      progress.say(row.name + ", " + std::to_string(i + 1) + " of " +
                   std::to_string(plan.write_repetitions));
      const auto sample = bench.sample(i);
      if (interrupted()) break;
      if (!sample) return std::unexpected(sample.error());
      samples.push_back(*sample);
      limits.push_back(sample->limit_per_s * static_cast<double>(size) / 1e6);
    }
    if (samples.empty()) break;
    summarise(row, std::move(samples));
    auto& times = bench.direct_us();
    std::ranges::sort(times);
    row.single_p50_us = times[times.size() / 2];
    row.single_p99_us = times[times.size() * 99 / 100];
    report.rows.push_back(std::move(row));
  }
  report.write_limit_mb_per_s = median(std::move(limits));
  const Stats stats = stage->cache.stats();
  report.write_buffer_bytes = stats.buffer_memory_bytes;
  report.evicted += stats.evicted + stats.evicted_index_full;
  return stage->cache.close();
}

}  // namespace rawcache::cli
