#include "bench/comparison.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "bench/memory_group.h"
#include "bench/meter.h"
#include "bench/statistics.h"

namespace rawcache::bench {

namespace {

/// A run that takes longer hangs.
constexpr unsigned kRunSecondsMax = 600;
/// What a process takes beside the caches that it is given: code, stacks, filters, indexes.
constexpr std::uint64_t kProcessBytes = std::uint64_t{64} << 20;
/// The same of a process that has no more than a few pages of its own.
constexpr std::uint64_t kBareProcessBytes = std::uint64_t{16} << 20;
/// Overwriting takes so many times as long as other phases: what is put off must come due in it.
constexpr double kOverwriteTimes = 3;
/// What is loaded is so many times what memory could hold.
constexpr std::uint64_t kDataPerMemory = 3;

/// Runs the phase in a child, so that nothing of one engine is left when the next one comes.
std::optional<Sample> run_in_child(const EngineKind& kind, const PhaseRun& run,
                                   const MemoryGroup& group, std::string& how) {
  int ends[2];
  if (::pipe(ends) != 0) fail("pipe", "no file descriptors left");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail("fork", "no process");
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(kRunSecondsMax);
    group.enter();
    const auto engine = kind.make();
    const Sample sample = run_phase(*engine, run);
    const bool told = ::write(ends[1], &sample, sizeof sample) == sizeof sample;
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  Sample sample;
  const bool told = ::read(ends[0], &sample, sizeof sample) == sizeof sample;
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (told && status == 0) return sample;
  how = WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status))
                            : "exit status " + std::to_string(WEXITSTATUS(status));
  return std::nullopt;
}

/// One line on a terminal that says where we are.
class Progress {
 public:
  void show(const std::string& text) const {
    if (terminal_) std::fprintf(stderr, "\r\033[K%s%s", elapsed().c_str(), text.c_str());
  }
  void say(const std::string& text) const {
    std::fprintf(stderr, "%s%s%s\n", terminal_ ? "\r\033[K" : "", elapsed().c_str(), text.c_str());
  }

 private:
  std::string elapsed() const {
    char text[16];
    const auto seconds = static_cast<unsigned>((now_ns() - start_) / 1'000'000'000);
    std::snprintf(text, sizeof text, "%3u:%02u  ", seconds / 60, seconds % 60);
    return text;
  }
  std::uint64_t start_ = now_ns();
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
};

std::string short_number(double number) {
  char text[32];
  const char* unit = number >= 1e6 ? "M" : number >= 1e4 ? "k" : "";
  std::snprintf(text, sizeof text, "%.3g%s",
                number / (*unit == 'M'   ? 1e6
                          : *unit == 'k' ? 1e3
                                         : 1),
                unit);
  return text;
}

/// Of everything, page cache included: the caches, two write buffers, and the values in callers'
/// hands, twice: where they were read and where they were handed over.
std::uint64_t memory_limit(const Plan& plan, std::uint64_t bytes_in_hand) {
  return plan.cache_bytes + 2 * plan.write_buffer_bytes + kProcessBytes + 2 * bytes_in_hand;
}

/// The same for what has nothing but the page cache, which would otherwise be as large as all that
/// others set aside and hardly use: a second write buffer, tables in memory, values handed over.
std::uint64_t page_cache_limit(const Plan& plan, std::uint64_t bytes_in_hand) {
  return plan.cache_bytes + plan.write_buffer_bytes + kBareProcessBytes + bytes_in_hand;
}

/// All that belongs to one size of values.
class Round {
 public:
  Round(const Plan& plan, std::uint64_t value_bytes, Results& results, const Progress& progress)
      : plan_(&plan),
        value_bytes_(value_bytes),
        pool_(value_bytes),
        results_(&results),
        progress_(&progress) {}

  ~Round() {
    std::error_code error;
    for (const EngineKind& kind : plan_->engines) {
      std::filesystem::remove_all(folder_of(kind), error);
    }
  }
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;

  void run() {
    for (const EngineKind& kind : plan_->engines) {
      std::filesystem::create_directories(folder_of(kind));
      const std::uint64_t entries = entries_of(kind);
      if (kind.caches) zipfs_.try_emplace(entries, entries, kZipfTheta);
    }
    for (const Phase& phase : plan_->phases) {
      for (unsigned i = 0; i < plan_->repeat; ++i) run_once(phase, i);
      progress_->say(summary(phase));
      if (plan_->json.empty()) continue;
      if (!(std::ofstream(plan_->json) << to_json(*plan_, *results_))) {
        fail(plan_->json, "cannot be written");
      }
    }
  }

 private:
  /// Every engine once, beginning with another one each time.
  void run_once(const Phase& phase, unsigned repetition) {
    for (std::size_t i = 0; i < plan_->engines.size(); ++i) {
      const EngineKind& kind = plan_->engines[(i + repetition) % plan_->engines.size()];
      if (!runs(kind, phase) || failed(kind)) continue;
      progress_->show(std::to_string(value_bytes_) + " B, " + std::string(phase.name) + ", " +
                      std::to_string(repetition + 1) + "/" + std::to_string(plan_->repeat) + ": " +
                      kind.name);
      results_->caches_dropped_by = plan_->drop_caches ? drop_caches(folder_of(kind)) : "nothing";
      const PhaseRun run = phase_run(kind, phase, repetition);
      std::string how;
      const std::uint64_t bytes_in_hand = values_in_hand(phase) * value_bytes_;
      const MemoryGroup group(plan_->memory_group, kind.page_cache_only
                                                       ? page_cache_limit(*plan_, bytes_in_hand)
                                                       : memory_limit(*plan_, bytes_in_hand));
      if (const auto sample = run_in_child(kind, run, group, how)) {
        results_->runs.push_back({value_bytes_, run.settings.entries, std::string(phase.name),
                                  kind.name, repetition, *sample});
      } else {
        results_->failures.push_back({value_bytes_, std::string(phase.name), kind.name, how});
        progress_->say(kind.name + " failed: " + how + "; left out of this size from here on");
      }
    }
  }

  PhaseRun phase_run(const EngineKind& kind, const Phase& phase, unsigned repetition) const {
    PhaseRun run;
    run.phase = phase;
    run.settings = {.folder = folder_of(kind),
                    .value_bytes = value_bytes_,
                    .entries = entries_of(kind),
                    .cache_bytes = plan_->cache_bytes,
                    .write_buffer_bytes = plan_->write_buffer_bytes,
                    .values_in_hand = values_in_hand(phase),
                    .fresh = phase.pattern == Pattern::load,
                    .durable = phase.pattern == Pattern::durable_put};
    run.seed = repetition;
    run.seconds = plan_->seconds * (phase.pattern == Pattern::overwrite ? kOverwriteTimes : 1);
    // What is loaded again need not settle; what is overwritten leaves work behind each time.
    const bool last = repetition + 1 == plan_->repeat;
    if (phase.pattern == Pattern::load && last) run.settle_s_max = plan_->settle_s_max;
    if (phase.pattern == Pattern::overwrite) run.settle_s_max = plan_->settle_s_max / 3;
    run.processor = results_->processor;
    run.pool = &pool_;
    if (const auto zipf = zipfs_.find(run.settings.entries); zipf != zipfs_.end()) {
      run.zipf = &zipf->second;
    }
    return run;
  }

  std::string folder_of(const EngineKind& kind) const {
    return plan_->folder + "/" + kind.name + "." + std::to_string(value_bytes_);
  }

  std::uint64_t entries_of(const EngineKind& kind) const {
    const std::uint64_t data = std::max(
        plan_->data_bytes, kDataPerMemory * memory_limit(*plan_, kBatchKeys * value_bytes_));
    const std::uint64_t entries = data / (value_bytes_ + Key::kBytes);
    return std::clamp<std::uint64_t>(entries, 1, std::min(plan_->entries_max, kind.entries_max));
  }

  bool failed(const EngineKind& kind) const {
    return std::ranges::any_of(results_->failures, [&](const Failure& failure) {
      return failure.value_bytes == value_bytes_ && failure.engine == kind.name;
    });
  }

  std::string summary(const Phase& phase) const {
    std::string line = std::to_string(value_bytes_) + " B, " + std::string(phase.title) + ":";
    for (const EngineKind& kind : plan_->engines) {
      std::vector<double> rates;
      for (const Result& run : results_->runs) {
        if (run.value_bytes != value_bytes_ || run.phase != phase.name || run.engine != kind.name) {
          continue;
        }
        rates.push_back(static_cast<double>(run.sample.operations) / run.sample.seconds);
      }
      if (!rates.empty()) line += "  " + kind.name + " " + short_number(median(std::move(rates)));
    }
    return line;
  }

  const Plan* plan_;
  std::uint64_t value_bytes_;
  ValuePool pool_;
  std::map<std::uint64_t, Zipf> zipfs_;  ///< by number of entries
  Results* results_;
  const Progress* progress_;
};

}  // namespace

Results compare(const Plan& plan) {
  Results results;
  const Progress progress;
  const std::uint64_t start = now_ns();
  std::filesystem::create_directories(plan.folder);
  results.processor = nearest_processor(plan.folder);
  if (results.processor) {
    char text[160];
    std::snprintf(
        text, sizeof text,
        "one thread that waits for the device does so on processor %d, where a read takes "
        "%.0f us (up to %.0f elsewhere)",
        results.processor->number, results.processor->read_us, results.processor->slowest_read_us);
    progress.say(text);
  }
  for (const std::uint64_t size : plan.sizes) Round(plan, size, results, progress).run();
  results.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return results;
}

}  // namespace rawcache::bench
