#include "bench/phases.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "bench/meter.h"
#include "bench/statistics.h"

namespace rawcache::bench {

namespace {

/// Buffered puts are handed over in pieces of this size, as a program that loads would.
constexpr std::uint64_t kPutBatchBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kPutBatchEntriesMax = 1000;
/// Mixed phases begin with so many operations for each value that fits in the cache, by so many
/// threads, so that caches have filled; but they take no longer than this, in which caches of small
/// values fill as far as the engine is fast.
constexpr std::uint64_t kWarmOperationsPerValue = 6;
constexpr unsigned kWarmThreads = 8;
constexpr std::uint64_t kWarmNsMax = 3'000'000'000;
/// Filling up takes no longer than this, for engines that never say that they are full.
constexpr std::uint64_t kFillNsMax = 30'000'000'000;

/// One thread of a phase.
class Worker {
 public:
  Worker(Engine& engine, const PhaseRun& run, unsigned number)
      : engine_(&engine),
        run_(&run),
        sink_(*run.pool),
        random_(mixed(run.seed * 1000 + number)),
        entries_(run.settings.entries),
        batch_entries_(
            std::clamp<std::uint64_t>(kPutBatchBytes / (run.settings.value_bytes + Key::kBytes), 1,
                                      std::min(kPutBatchEntriesMax, entries_))) {}

  /// Does the pattern's step until the time has come, but once at least.
  void work(std::uint64_t until_ns) {
    std::uint64_t start = now_ns();
    do {
      operations_ += step();
      const std::uint64_t end = now_ns();
      latencies_.add(end - start);
      start = end;
    } while (start < until_ns);
  }

  /// Does the pattern's step so many times, unless that takes until `deadline_ns`.
  void warm(std::uint64_t steps, std::uint64_t deadline_ns) {
    for (std::uint64_t i = 0; i < steps && now_ns() < deadline_ns; ++i) step();
  }

  void load() {
    for (std::uint64_t next = 0; next < entries_;) {
      const std::uint64_t end = std::min(entries_, next + batch_entries_);
      const std::uint64_t start = now_ns();
      begin_batch();
      for (; next < end; ++next) add_to_batch(Key(next));
      put_batch();
      operations_ += keys_.size();
      latencies_.add(now_ns() - start);
    }
  }

  void forget_results() {
    sink_ = Sink(*run_->pool);
    latencies_ = {};
    operations_ = 0;
  }

  /// One call, or one get with its put; how many keys it was for.
  std::uint64_t step() {
    switch (run_->phase.pattern) {
      case Pattern::get:
        engine_->get(random_key(), sink_);
        return 1;
      case Pattern::batch:
        keys_.clear();
        for (std::size_t i = 0; i < kBatchKeys; ++i) keys_.push_back(random_key());
        engine_->get_batch(keys_, sink_);
        return keys_.size();
      case Pattern::neighbours: {
        const std::uint64_t count = std::min<std::uint64_t>(kBatchKeys, entries_);
        const std::uint64_t first = random_.below(entries_ - count + 1);
        keys_.clear();
        for (std::uint64_t i = 0; i < count; ++i) keys_.emplace_back(first + i);
        engine_->get_batch(keys_, sink_);
        return keys_.size();
      }
      case Pattern::mixed:
        mixed_step();
        return 1;
      case Pattern::durable_put: {
        const Key key = random_key();
        engine_->put_durable({key.view(), value_of(key)});
        return 1;
      }
      case Pattern::load:
      case Pattern::overwrite:
        begin_batch();
        for (std::uint64_t i = 0; i < batch_entries_; ++i) add_to_batch(random_key());
        put_batch();
        return keys_.size();
    }
    return 0;
  }

  std::uint64_t operations() const { return operations_; }
  const Sink& sink() const { return sink_; }
  const Latencies& latencies() const { return latencies_; }

 private:
  Key random_key() { return Key(random_.below(entries_)); }

  std::span<const std::byte> value_of(const Key& key) {
    return run_->pool->value(key, random_.next());
  }

  void mixed_step() {
    const Key key(run_->zipf->entry(random_));
    const std::uint64_t found = sink_.found();
    const bool put = random_.below(100) < kPutsOfMixedPercent;
    if (!put) engine_->get(key, sink_);
    if (sink_.found() > found) return;
    const Entry entry{key.view(), value_of(key)};
    engine_->put_batch({&entry, 1});
  }

  void begin_batch() {
    keys_.clear();
    keys_.reserve(batch_entries_);
    batch_.clear();
  }

  void add_to_batch(const Key& key) {
    keys_.push_back(key);  // never moves: begin_batch has reserved
    batch_.push_back({keys_.back().view(), value_of(keys_.back())});
  }

  void put_batch() { engine_->put_batch(batch_); }

  Engine* engine_;
  const PhaseRun* run_;
  Sink sink_;
  Random random_;
  std::uint64_t entries_;
  std::uint64_t batch_entries_;
  std::uint64_t operations_ = 0;
  Latencies latencies_;
  std::vector<Key> keys_;
  std::vector<Entry> batch_;
};

using Workers = std::vector<std::unique_ptr<Worker>>;

/// The same for all engines that are done in time, whatever the threads of the phase.
void warm_caches(Engine& engine, const PhaseRun& run) {
  const std::uint64_t deadline = now_ns() + kWarmNsMax;
  const std::uint64_t steps =
      kWarmOperationsPerValue * run.settings.cache_bytes / run.settings.value_bytes / kWarmThreads;
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < kWarmThreads; ++i) {
    threads.emplace_back([&engine, &run, i, steps, deadline] {
      Worker(engine, run, run.phase.threads + i).warm(steps, deadline);
    });
  }
}

/// All workers at once, for a time; on threads of their own if there is more than one.
void work(const Workers& workers, double seconds) {
  const std::uint64_t until = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  if (workers.size() == 1) return workers.front()->work(until);
  std::vector<std::jthread> threads;
  for (const auto& worker : workers)
    threads.emplace_back([&worker, until] { worker->work(until); });
}

void prepare(Engine& engine, const PhaseRun& run, const Workers& workers) {
  switch (run.phase.pattern) {
    case Pattern::mixed:
      warm_caches(engine, run);
      break;
    case Pattern::overwrite:
      for (const std::uint64_t start = now_ns(); !engine.full() && now_ns() - start < kFillNsMax;) {
        workers.front()->step();
      }
      engine.flush();
      break;
    case Pattern::batch:
    case Pattern::neighbours: {
      const OnProcessor here(run.processor);
      workers.front()->step();  // the device's limit looks for its depth
      break;
    }
    default:
      break;
  }
  for (const auto& worker : workers) worker->forget_results();
}

void carry_out(Engine& engine, const PhaseRun& run, const Workers& workers) {
  switch (run.phase.pattern) {
    case Pattern::load:
      workers.front()->load();
      engine.flush();
      break;
    case Pattern::overwrite:
      work(workers, run.seconds);
      engine.flush();
      break;
    default: {
      const OnProcessor here(workers.size() == 1 ? run.processor : std::nullopt);
      work(workers, run.seconds);
    }
  }
}

void add_up(const Workers& workers, Sample& sample) {
  Latencies latencies;
  for (const auto& worker : workers) {
    sample.operations += worker->operations();
    sample.found += worker->sink().found();
    sample.wrong += worker->sink().wrong();
    latencies.add(worker->latencies());
  }
  sample.p50_us = latencies.percentile(0.5) / 1e3;
  sample.p99_us = latencies.percentile(0.99) / 1e3;
  sample.p999_us = latencies.percentile(0.999) / 1e3;
}

}  // namespace

std::uint64_t values_in_hand(const Phase& phase) {
  switch (phase.pattern) {
    case Pattern::get:
    case Pattern::durable_put:
      return phase.threads;
    case Pattern::mixed:
      return std::max(phase.threads, kWarmThreads);
    default:
      return kBatchKeys;
  }
}

bool runs(const EngineKind& kind, const Phase& phase) {
  switch (phase.pattern) {
    case Pattern::load:
      return kind.writes || kind.reads;
    case Pattern::get:
    case Pattern::batch:
    case Pattern::neighbours:
      return kind.reads;
    case Pattern::mixed:
      return kind.caches;
    case Pattern::durable_put:
      return kind.durable && kind.writes;
    case Pattern::overwrite:
      return kind.writes;
  }
  return false;
}

Sample run_phase(Engine& engine, const PhaseRun& run) {
  const std::string& folder = run.settings.folder;
  Sample sample;
  const Usage before_open = Usage::now(folder);
  engine.open(run.settings);
  const std::uint64_t memory_open = Usage::now(folder).memory_bytes;
  sample.memory_bytes = memory_open - std::min(memory_open, before_open.memory_bytes);
  Workers workers;
  for (unsigned i = 0; i < run.phase.threads; ++i) {
    workers.push_back(std::make_unique<Worker>(engine, run, i));
  }
  prepare(engine, run, workers);

  const Usage start = Usage::now(folder);
  carry_out(engine, run, workers);
  const Usage end = Usage::now(folder);
  sample.seconds = static_cast<double>(end.time_ns - start.time_ns) / 1e9;
  sample.cpu_s = end.cpu_s - start.cpu_s;
  sample.others_cpu_cores =
      std::max(0.0, end.machine_cpu_s - start.machine_cpu_s - sample.cpu_s) / sample.seconds;
  sample.end_memory_bytes = end.memory_bytes;
  sample.page_cache_bytes = page_cache_bytes(folder);
  add_up(workers, sample);

  if (run.settle_s_max > 0) settle(folder, static_cast<std::uint64_t>(run.settle_s_max * 1e9));
  engine.close();
  const Usage closed = Usage::now(folder);
  sample.settle_s = static_cast<double>(closed.time_ns - end.time_ns) / 1e9;
  sample.settled_cpu_s = closed.cpu_s - start.cpu_s;
  sample.written_bytes = closed.process_written_bytes - start.process_written_bytes;
  sample.read_bytes = end.process_read_bytes - start.process_read_bytes;
  sample.device_written_bytes = closed.device_written_bytes - start.device_written_bytes;
  sample.device_read_bytes = end.device_read_bytes - start.device_read_bytes;
  sample.disk_bytes = disk_bytes(folder);

  if (run.phase.pattern == Pattern::load && run.settle_s_max > 0) {
    Settings again = run.settings;
    again.fresh = false;
    engine.open(again);
    engine.finish_background_work();
    engine.close();
  }
  return sample;
}

}  // namespace rawcache::bench
