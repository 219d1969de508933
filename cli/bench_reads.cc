// Reads: one `lookup` after another against `lookup_batch`, of neighbours and of keys all over the
// log.
#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "cli/bench.h"
#include "cli/text.h"

namespace rawcache::cli {

namespace {

constexpr std::size_t kValueBytes = 4096;
constexpr std::array<std::size_t, 3> kBatches{50, 100, 1000};
constexpr std::array<std::uint64_t, 5> kPieces{32_KiB, 64_KiB, 128_KiB, 256_KiB, 512_KiB};

class ReadBench {
 public:
  ReadBench(const BenchPlan& plan, BenchStage& stage, const IoMemory& memory)
      : plan_(plan), stage_(stage), memory_(memory), payload_(kValueBytes) {}

  Result<void> fill();
  Result<void> rename_collided();
  Result<void> add_rows(BenchReport& report, ProgressLine& progress);
  std::uint64_t read_bytes() const { return read_bytes_; }

 private:
  /// The keys of one row, in the order in which they are asked for.
  struct Order {
    std::vector<std::uint32_t> numbers;
    std::vector<std::string_view> keys;
  };

  Order sequential(std::size_t batch, std::size_t count);
  Order shuffled(std::size_t count);
  Result<double> single(const Order& order, std::vector<double>& times);
  Result<double> batched(const Order& order, std::size_t batch);
  Result<double> limit(bool random, std::size_t batch, std::size_t count);
  Result<std::uint64_t> best_piece(std::size_t batch);
  Result<void> check(const Order& order, std::size_t batch);
  Result<BenchRow> measure(bool random, std::size_t batch);

  const BenchPlan& plan_;
  BenchStage& stage_;
  const IoMemory& memory_;
  Payload payload_;
  std::vector<std::string> keys_;
  Extent region_;                  ///< where the entries lie
  std::uint64_t entry_bytes_ = 0;  ///< of the log, per entry
  std::uint64_t read_bytes_ = 0;   ///< of the device, per lookup
  std::uint64_t piece_bytes_ = 0;
  std::mt19937_64 random_{4};
};

double per_second(std::size_t count, Nanoseconds time) {
  return static_cast<double>(count) * 1e9 / static_cast<double>(std::max<Nanoseconds>(time, 1));
}

Result<void> ReadBench::fill() {
  if (!payload_.ok()) return std::unexpected(Error(Errc::out_of_memory, "values to read"));
  const std::uint64_t before = stage_.cache.stats().device_written_bytes;
  for (std::size_t i = 0; i < plan_.read_entries && !interrupted(); ++i) {
    keys_.push_back("read-" + std::to_string(10'000'000 + i));
    auto stored = stage_.cache.store_buffered(keys_.back(), payload_.value(i, kValueBytes));
    if (!stored) return stored;
  }
  if (auto flushed = stage_.cache.flush_writes(); !flushed) return std::unexpected(flushed.error());
  if (interrupted()) return {};
  const std::uint64_t log_bytes = stage_.cache.stats().device_written_bytes - before;
  entry_bytes_ = log_bytes / keys_.size();
  const CacheInfo& info = stage_.info;
  const std::uint64_t log = info.segments * info.segment_bytes;
  region_ = {info.capacity_bytes - log, std::min(log_bytes, log)};
  if (auto renamed = rename_collided(); !renamed) return renamed;

  // What one lookup reads of the device is known to the cache alone: ask its counters.
  const Stats start = stage_.cache.stats();
  for (std::size_t i = 0; i < keys_.size(); i += keys_.size() / 200 + 1) {
    if (auto found = stage_.cache.lookup(keys_[i]); !found) return std::unexpected(found.error());
  }
  const Stats end = stage_.cache.stats();
  const std::uint64_t reads = std::max<std::uint64_t>(end.device_reads - start.device_reads, 1);
  const std::uint64_t mean = (end.device_read_bytes - start.device_read_bytes) / reads;
  const std::uint64_t unit = stage_.disk->info().io_alignment;
  read_bytes_ = std::max((mean + unit / 2) / unit, std::uint64_t{1}) * unit;
  return {};
}

/// Of two keys with one tag in the index the later one stays. About one run in thirty meets such a
/// pair, which the cache counts; the earlier value gets another key. Any other miss is an error.
Result<void> ReadBench::rename_collided() {
  const std::uint64_t collisions = stage_.cache.stats().collisions;
  std::uint64_t renamed = 0;
  for (std::size_t i = 0; i < keys_.size() && !interrupted(); ++i) {
    const auto found = stage_.cache.lookup(keys_[i]);
    if (found) continue;
    if (stage_.cache.stats().collisions != collisions + ++renamed) {
      return std::unexpected(found.error());
    }
    keys_[i] += "-renamed";
    auto stored = stage_.cache.store_buffered(keys_[i], payload_.value(i, kValueBytes));
    if (!stored) return stored;
  }
  if (auto flushed = stage_.cache.flush_writes(); !flushed) return std::unexpected(flushed.error());
  return {};
}

/// Runs of `batch` neighbours, each beginning somewhere else.
ReadBench::Order ReadBench::sequential(std::size_t batch, std::size_t count) {
  Order order;
  std::uniform_int_distribution<std::size_t> place(0, keys_.size() - batch);
  while (order.numbers.size() < count) {
    const std::size_t first = place(random_);
    for (std::size_t i = 0; i < batch; ++i) {
      order.numbers.push_back(static_cast<std::uint32_t>(first + i));
    }
  }
  for (const std::uint32_t number : order.numbers) order.keys.push_back(keys_[number]);
  return order;
}

ReadBench::Order ReadBench::shuffled(std::size_t count) {
  Order order;
  order.numbers.resize(keys_.size());
  std::iota(order.numbers.begin(), order.numbers.end(), 0U);
  std::ranges::shuffle(order.numbers, random_);
  order.numbers.resize(std::min(count, keys_.size()));
  for (const std::uint32_t number : order.numbers) order.keys.push_back(keys_[number]);
  return order;
}

Result<double> ReadBench::single(const Order& order, std::vector<double>& times) {
  const Nanoseconds start = now_ns();
  Nanoseconds before = start;
  for (const std::string_view key : order.keys) {
    const auto found = stage_.cache.lookup(key);
    if (!found) return std::unexpected(found.error());
    const Nanoseconds after = now_ns();
    times.push_back(static_cast<double>(after - before) / 1e3);
    before = after;
  }
  return per_second(order.keys.size(), before - start);
}

Result<double> ReadBench::batched(const Order& order, std::size_t batch) {
  const Nanoseconds start = now_ns();
  for (std::size_t at = 0; at + batch <= order.keys.size(); at += batch) {
    const auto found = stage_.cache.lookup_batch(std::span(order.keys).subspan(at, batch));
    for (const auto& value : found) {
      if (!value) return std::unexpected(value.error());
    }
  }
  return per_second(order.keys.size() / batch * batch, now_ns() - start);
}

Result<double> ReadBench::limit(bool random, std::size_t batch, std::size_t count) {
  const std::size_t batches = count / batch;
  const DiskInfo& info = stage_.disk->info();
  auto reads =
      random ? random_batches(info, region_, read_bytes_, batch, batches, memory_)
             : run_batches(info, region_, batch * entry_bytes_, piece_bytes_, batches, memory_);
  const auto time = read_batches(*stage_.disk, reads);
  if (!time) return std::unexpected(time.error());
  return per_second(batches * batch, *time);
}

/// Pieces of the size with which the device reads runs of this length fastest.
Result<std::uint64_t> ReadBench::best_piece(std::size_t batch) {
  constexpr int kRounds = 3;
  double best_rate = 0;
  std::uint64_t best = kPieces.front();
  for (int round = 0; round < kRounds; ++round) {
    for (const std::uint64_t piece : kPieces) {
      piece_bytes_ = piece;
      const auto rate = limit(false, batch, std::max(batch, plan_.batch_reads / 2));
      if (!rate) return std::unexpected(rate.error());
      if (*rate > best_rate) {
        best_rate = *rate;
        best = piece;
      }
    }
  }
  return best;
}

/// One batch, byte for byte.
Result<void> ReadBench::check(const Order& order, std::size_t batch) {
  const auto found = stage_.cache.lookup_batch(std::span(order.keys).first(batch));
  for (std::size_t i = 0; i < batch; ++i) {
    if (!found[i]) return std::unexpected(found[i].error());
    if (!std::ranges::equal(found[i]->bytes(), payload_.value(order.numbers[i], kValueBytes))) {
      return std::unexpected(
          Error(Errc::io_error, "the value of " + std::string(order.keys[i]) + " is wrong"));
    }
  }
  return {};
}

Result<BenchRow> ReadBench::measure(bool random, std::size_t batch) {
  BenchRow row;
  row.name = std::string("read/") + (random ? "random/" : "sequential/") + std::to_string(batch);
  row.value_bytes = kValueBytes;
  row.batch = batch;
  const std::size_t count = std::max(plan_.batch_reads / batch, std::size_t{1}) * batch;
  row.operations = count;
  if (!random) {
    const auto piece = best_piece(batch);
    if (!piece) return std::unexpected(piece.error());
    piece_bytes_ = *piece;
  }
  std::vector<BenchSample> samples;
  std::vector<double> times;
  for (std::size_t i = 0; i < plan_.read_repetitions && !interrupted(); ++i) {
    Order ones = random ? shuffled(plan_.single_reads) : sequential(batch, plan_.single_reads);
    Order many = random ? shuffled(count) : sequential(batch, count);
    Result<double> rates[3] = {0.0, 0.0, 0.0};
    for (std::size_t j = 0; j < 3; ++j) {
      const std::size_t turn = (i + j) % 3;
      rates[turn] = turn == 0   ? single(ones, times)
                    : turn == 1 ? batched(many, batch)
                                : limit(random, batch, count);
      if (!rates[turn]) return std::unexpected(rates[turn].error());
    }
    samples.push_back({*rates[0], *rates[1], *rates[2]});
    if (auto checked = check(many, batch); !checked) return std::unexpected(checked.error());
  }
  summarise(row, std::move(samples));
  std::ranges::sort(times);
  if (!times.empty()) {
    row.single_p50_us = times[times.size() / 2];
    row.single_p99_us = times[times.size() * 99 / 100];
  }
  return row;
}

Result<void> ReadBench::add_rows(BenchReport& report, ProgressLine& progress) {
  for (const bool random : {false, true}) {
    for (const std::size_t batch : kBatches) {
      if (interrupted()) return {};
      progress.say(std::string("batches of ") + std::to_string(batch) +
                   (random ? " random keys" : " neighbours"));
      auto row = measure(random, batch);
      if (!row) return std::unexpected(row.error());
      if (row->repetitions == 0) return {};
      if (random) {
        report.random_reads_per_s = std::max(report.random_reads_per_s, row->limit_per_s);
      }
      report.rows.push_back(std::move(*row));
    }
  }
  return {};
}

}  // namespace

Result<void> bench_reads(const BenchPlan& plan, BenchReport& report, ProgressLine& progress) {
  // Outlives the disk, which is told of it.
  const IoMemory memory(16_MiB);
  if (memory.bytes().empty()) return std::unexpected(Error(Errc::out_of_memory, "read buffers"));
  auto stage = open_stage(plan);
  if (!stage) return std::unexpected(stage.error());
  stage->disk->use_memory(memory.bytes());
  ReadBench bench(plan, *stage, memory);
  progress.say("filling the cache");
  if (auto filled = bench.fill(); !filled) return filled;
  report.read_bytes = bench.read_bytes();
  if (auto added = bench.add_rows(report, progress); !added) return added;
  const Stats stats = stage->cache.stats();
  report.evicted += stats.evicted + stats.evicted_index_full;
  return stage->cache.close();
}

}  // namespace rawcache::cli
