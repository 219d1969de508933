#include "crash/lives.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "support/faulty_disk.h"

namespace rawcache::testing {
namespace {

using Event = Oracle::Event;

constexpr std::uint32_t kKeys = kLivesKeys;
constexpr std::size_t kThreadsMax = 3;
constexpr std::size_t kEventsMax = 1 << 15;
constexpr std::uint64_t kStepsMax = 2000;
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

/// What one thread of the child has to say.
struct Ring {
  std::atomic<std::uint64_t> count;
  std::array<Event, kEventsMax> events;
};

struct Ledger {
  std::atomic<bool> recovered;  ///< `found` is what the child found, and it was legal
  std::array<std::uint64_t, kKeys> found;
  std::array<Ring, kThreadsMax> rings;
  std::atomic<bool> wrong;
  std::array<char, 4096> complaint;
};

}  // namespace

class SharedLedger {
 public:
  SharedLedger()
      : memory_(::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0)) {}
  ~SharedLedger() {
    if (ok()) ::munmap(memory_, sizeof(Ledger));
  }
  SharedLedger(const SharedLedger&) = delete;
  SharedLedger& operator=(const SharedLedger&) = delete;
  bool ok() const { return memory_ != MAP_FAILED; }
  Ledger* operator->() const { return static_cast<Ledger*>(memory_); }

 private:
  void* const memory_;
};

Series::Series(std::uint64_t seed, IoEngine engine) : random(seed) {
  threads = random() % 3 == 0 ? kThreadsMax : 1;
  scene.format.capacity = 4_MiB + random() % 4 * 1_MiB;
  scene.format.segment_bytes = 64_KiB << random() % 3;
  scene.format.expected_entries = 1024;
  scene.keys = kKeys;
  scene.value_bytes = 16000;
  scene.clears = threads == 1;
  scene.key_step = static_cast<std::uint32_t>(threads);
  scene.options.format = scene.format;
  scene.options.create_if_missing = true;
  scene.options.engine = engine;
  scene.options.max_operations = 1 + random() % 64;
  scene.options.max_buffer_bytes = 64_KiB << random() % 4;
  scene.options.read_buffer_bytes = 16_MiB;
  scene.options.maintenance_thread = threads > 1 || random() % 2 == 0;
  scene.options.memory_bytes = random() % 2 == 0 ? 0 : 256_KiB << random() % 5;
}

namespace {

/// The share of what was found that belongs to a thread.
Content share_of(const Content& found, std::size_t threads, std::size_t thread) {
  Content share(found.size());
  for (std::size_t key = thread; key < found.size(); key += threads) share[key] = found[key];
  return share;
}

// --- The child ---

class Child {
 public:
  Child(Series& series, const SharedLedger& ledger, std::uint64_t die_at_io, std::uint64_t seed)
      : series_(series), ledger_(ledger), die_in_(die_at_io), seed_(seed) {}

  /// Works until it is killed or has done enough; does not return.
  [[noreturn]] void live();

 private:
  [[noreturn]] void complain(const std::string& what);
  void open();
  void judge();
  void tell(std::size_t thread, const Event& event);
  void on_io(const FaultyDisk::Event& event);
  void work(std::size_t thread);
  void read(std::mt19937_64& random);

  Series& series_;
  const SharedLedger& ledger_;
  std::atomic<std::int64_t> die_in_;  ///< writes and syncs; negative: not by itself
  const std::uint64_t seed_;
  std::array<std::mutex, kThreadsMax> mutexes_;  ///< for the oracles and rings
  std::unique_ptr<RawDiskCache> cache_;
};

void Child::complain(const std::string& what) {
  std::strncpy(ledger_->complaint.data(), what.c_str(), ledger_->complaint.size() - 1);
  ledger_->wrong = true;
  ::_exit(0);
}

void Child::tell(std::size_t thread, const Event& event) {
  const std::lock_guard lock(mutexes_[thread]);
  series_.oracles[thread].tell(event);
  Ring& ring = ledger_->rings[thread];
  const std::uint64_t count = ring.count.load(std::memory_order_relaxed);
  if (count == kEventsMax) ::raise(SIGKILL);  // no more can be told, so no more may be done
  ring.events[count] = event;
  ring.count.store(count + 1, std::memory_order_release);
}

void Child::on_io(const FaultyDisk::Event& event) {
  if (event.op == FaultyDisk::Op::read) return;
  if (die_in_.fetch_sub(1) == 1) ::raise(SIGKILL);
  if (event.op != FaultyDisk::Op::write) return;
  for (auto n = segments_opened_by(series_.info, event.offset, event.size); n > 0; --n) {
    for (std::size_t thread = 0; thread < series_.threads; ++thread) {
      tell(thread, {.type = Event::Type::segment_opened});
    }
  }
}

void Child::open() {
  auto opened = open_disk(series_.path, {.engine = series_.scene.options.engine});
  if (!opened) complain("open_disk: " + opened.error().message());
  auto disk = std::make_unique<FaultyDisk>(std::move(*opened));
  disk->set_hook([this](const FaultyDisk::Event& event) { on_io(event); });
  auto cache = RawDiskCache::open(std::move(disk), series_.scene.options);
  if (!cache) complain("open: " + cache.error().message());
  cache_ = std::make_unique<RawDiskCache>(std::move(*cache));
}

void Child::judge() {
  std::string wrong;
  const Content found = content_of(*cache_, kKeys, wrong);
  if (!wrong.empty()) complain(wrong);
  for (std::size_t thread = 0; thread < series_.threads; ++thread) {
    const std::lock_guard lock(mutexes_[thread]);
    Oracle& oracle = series_.oracles[thread];
    const Content share = share_of(found, series_.threads, thread);
    oracle.set_segments_kept(segments_kept(series_.info, cache_->stats()));
    const std::string said = oracle.check_after_crash(share, oracle.now());
    if (!said.empty()) complain("thread " + std::to_string(thread) + ": " + said);
    oracle.restart(share);
    ledger_->rings[thread].count = 0;
  }
  std::ranges::copy(found, ledger_->found.begin());
  ledger_->recovered.store(true, std::memory_order_release);
}

void Child::read(std::mt19937_64& random) {
  const auto key = static_cast<std::uint32_t>(random() % kKeys);
  const auto value = cache_->lookup(key_name(key));
  if (!value && value.error() != Errc::not_found) complain("lookup: " + value.error().message());
  const auto version = value ? version_of(key, value->view()) : 0;
  if (!version) complain("a value that was never stored under key " + std::to_string(key));
  if (series_.threads > 1) return;  // another thread may just be writing it
  const std::lock_guard lock(mutexes_[0]);
  const std::uint64_t ahead =
      2 + 2 * series_.scene.options.max_buffer_bytes / series_.scene.format.segment_bytes;
  const std::string said = series_.oracles[0].check_running(key, *version, ahead);
  if (!said.empty()) complain("running: " + said);
}

void Child::work(std::size_t thread) {
  std::mt19937_64 random(seed_ + thread);
  Scene scene = series_.scene;
  scene.key_remainder = static_cast<std::uint32_t>(thread);
  Workload calls(scene, random, series_.oracles[thread].last_version() + 1,
                 !scene.options.maintenance_thread,
                 [this, thread](const Event& event) { tell(thread, event); });
  for (std::uint64_t step = 0; step < kStepsMax; ++step) {
    if (series_.threads == 1 && random() % 400 == 0) {
      if (auto closed = calls.close(*cache_); !closed) complain(closed.error().message());
      cache_.reset();
      open();
      continue;
    }
    if (auto done = calls.step(*cache_); !done) complain("call: " + done.error().message());
    if (random() % 4 == 0) read(random);
  }
}

void Child::live() {
  open();
  judge();
  std::vector<std::thread> threads;
  for (std::size_t thread = 1; thread < series_.threads; ++thread) {
    threads.emplace_back([this, thread] { work(thread); });
  }
  work(0);
  for (std::thread& thread : threads) thread.join();
  ::raise(SIGKILL);  // it has done enough
  ::_exit(1);
}

// --- The parent ---

void wait_and_kill(pid_t child, const SharedLedger& ledger, std::uint64_t events) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < deadline) {
    std::uint64_t told = 0;
    for (const Ring& ring : ledger->rings) told += ring.count.load(std::memory_order_relaxed);
    if (told >= events) break;
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == child) return;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

}  // namespace

Lives::Lives(std::uint64_t seed, IoEngine engine)
    : series_(seed, engine), ledger_(std::make_unique<SharedLedger>()) {}
Lives::~Lives() = default;

std::string Lives::format(const std::string& path) {
  series_.path = path;
  auto formatted = RawDiskCache::format(path, series_.scene.format);
  if (!formatted) return "format: " + formatted.error().message();
  series_.info = *formatted;
  for (std::size_t i = 0; i < series_.threads; ++i) series_.oracles.emplace_back(kKeys, 0);

  return {};
}

std::string Lives::one_life(PowerSwitch* power) {
  Series& series = series_;
  const SharedLedger& ledger = *ledger_;
  if (!ledger.ok()) return "no shared memory";
  ledger->recovered = false;
  ledger->wrong = false;
  for (Ring& ring : ledger->rings) ring.count = 0;
  const bool by_itself = series.random() % 2 == 0;
  const std::uint64_t end_at_io =
      1 + series.random() % (series.random() % 3 == 0 ? 12 : 300);  // recovery has few writes
  const std::uint64_t events = by_itself ? kNoLimit : 1 + series.random() % 2500;
  const std::uint64_t seed = series.random();
  if (power != nullptr && by_itself) power->cut_at(end_at_io);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return "no child";
  if (child == 0) {
    if (power != nullptr) power->child_starts();
    Child(series, ledger, power == nullptr && by_itself ? end_at_io : kNoLimit, seed).live();
  }
  wait_and_kill(child, ledger, events);
  if (power != nullptr && (series.path = power->restart(series.random())).empty()) {
    return "the device is gone";
  }

  if (ledger->wrong) return ledger->complaint.data();
  if (ledger->recovered) {
    const Content found(ledger->found.begin(), ledger->found.end());
    for (std::size_t thread = 0; thread < series.threads; ++thread) {
      series.oracles[thread].restart(share_of(found, series.threads, thread));
    }
  } else {
    ++in_recovery_;
  }
  for (std::size_t thread = 0; thread < series.threads; ++thread) {
    const Ring& ring = ledger->rings[thread];
    const std::uint64_t before = series.oracles[thread].last_version();
    for (std::uint64_t i = 0; i < ring.count; ++i) series.oracles[thread].tell(ring.events[i]);
    // What the last call did before the kill is not known.
    series.oracles[thread].tell({.type = Event::Type::batch_ends_before});
    series.oracles[thread].tell({.type = Event::Type::batch_ends_after});
    calls_ += series.oracles[thread].last_version() - before;
  }
  return {};
}

std::string Lives::end() {
  Series& series = series_;
  auto cache = RawDiskCache::open(series.path, series.scene.options);
  if (!cache) return "open: " + cache.error().message();
  std::string wrong;
  const Content found = content_of(*cache, kKeys, wrong);
  for (std::size_t thread = 0; thread < series.threads; ++thread) {
    Oracle& oracle = series.oracles[thread];
    oracle.set_segments_kept(segments_kept(series.info, cache->stats()));
    wrong += oracle.check_after_crash(share_of(found, series.threads, thread), oracle.now());
  }
  if (auto closed = cache->close(); !closed) wrong += closed.error().message();
  return wrong;
}

}  // namespace rawcache::testing
