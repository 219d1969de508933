#include "crash/fault_run.h"

#include <array>
#include <cerrno>
#include <string_view>

namespace rawcache::testing {
namespace {

using Op = FaultyDisk::Op;
using Repeat = FaultyDisk::Repeat;
using Reach = FaultyDisk::Reach;
using Pace = FaultyDisk::Pace;

constexpr int kFaultsPerRun = 40;
constexpr int kCallsPerFault = 10;
constexpr std::uint64_t kFailedClearsMax = 4;  ///< before the next fault
constexpr std::uint64_t kKernelTimeoutNs = 30'000'000'000;
constexpr std::int64_t kStartOfTime = 2'000'000'000;  ///< Unix time

constexpr std::array kErrors = {EIO,       EIO,    EIO,   ENOSPC, EINTR, EAGAIN,
                                ETIMEDOUT, ENODEV, EROFS, EDQUOT, ENOMEM};

std::string said(std::string_view when, const std::string& wrong) {
  return wrong.empty() ? wrong : std::string(when) + ": " + wrong;
}

}  // namespace

Scene scene_for_faults(std::mt19937_64& random) {
  Scene scene;
  scene.format.block_bytes = 512;
  scene.format.segment_bytes = 4096;
  scene.format.expected_entries = 128;
  scene.device_bytes = 131072 + 2 * 16384 + (5 + random() % 16) * 4096;
  scene.keys = static_cast<std::uint32_t>(2 + random() % 12);
  scene.value_bytes = 1 + random() % 1500;
  scene.options.max_operations = static_cast<std::uint32_t>(1 + random() % 16);
  scene.options.max_buffer_bytes = 4096 << random() % 3;
  scene.options.read_buffer_bytes = 1 << 18;
  scene.options.maintenance_thread = false;
  if (random() % 2 == 0) scene.options.memory_bytes = 65536;
  if (random() % 2 == 0) scene.options.flush_interval = std::chrono::milliseconds(5);
  draw_storing(random, scene.options);
  return scene;
}

std::string check_healed(Workload& calls, RawDiskCache& cache, const Oracle& oracle,
                         const Scene& scene) {
  Result<void> flushed;
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (flushed = calls.flush(cache); flushed) break;
  }
  if (!flushed) return "the healed device cannot be flushed: " + flushed.error().message();
  std::string wrong;
  const Content content = content_of(cache, scene.keys, wrong);
  if (!wrong.empty()) return "healed: " + wrong;
  const std::uint64_t ahead = 2 + 2 * scene.options.max_buffer_bytes / scene.format.segment_bytes;
  return said("healed", oracle.check_running(content, ahead));
}

FaultRun::FaultRun(std::uint64_t seed)
    : random_(seed),
      scene_(scene_for_faults(random_)),
      disk_(std::make_unique<CutDisk>(scene_.device_bytes)),
      oracle_(scene_.keys, 0) {
  scene_.options.now = [this] {
    return kStartOfTime + static_cast<std::int64_t>(virtual_ns_ / 1'000'000'000);
  };
  scene_.options.monotonic_now = [this] { return virtual_ns_; };
  latency_ns_max_ = 1'000 << random_() % 12;
}

Extent FaultRun::log() const {
  const std::uint64_t bytes = info_.segments * info_.segment_bytes;
  return {info_.capacity_bytes - bytes, bytes};
}

/// Time passes with every request; opened segments are told to the oracle.
void FaultRun::attach() {
  disk_->disk().set_hook([this](const FaultyDisk::Event& event) {
    virtual_ns_ += 1 + random_() % latency_ns_max_;
    if (event.op != Op::write) return;
    for (auto n = segments_opened_by(info_, event.offset, event.size); n > 0; --n) {
      oracle_.tell({.type = Oracle::Event::Type::segment_opened});
    }
  });
}

std::string FaultRun::open() {
  auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk_->disk()), scene_.options);
  if (!cache) return "a sound device does not open: " + cache.error().message();
  cache_ = std::make_unique<RawDiskCache>(std::move(*cache));
  calls_ = std::make_unique<Workload>(scene_, random_, oracle_.last_version() + 1, true,
                                      [this](const Oracle::Event& event) { oracle_.tell(event); });
  note_stats();
  return {};
}

void FaultRun::note_stats() {
  const Stats stats = cache_->stats();
  index_was_full_ = index_was_full_ || stats.evicted_index_full > 0;
  oracle_.set_segments_kept(index_was_full_ ? 0 : segments_kept(info_, stats));
}

// --- Errors ---

std::string FaultRun::with_errors() {
  const auto formatted = format_drawn(random_, disk_->disk(), scene_.format);
  if (!formatted) return {};  // this geometry does not fit
  info_ = *formatted;
  attach();
  if (random_() % 2 == 0) disk_->medium().complete_late(random_());
  if (auto wrong = open(); !wrong.empty()) return wrong;
  for (int i = 0; i < kFaultsPerRun; ++i) {
    if (auto wrong = meet_error(); !wrong.empty()) {
      return "fault " + std::to_string(i) + ": " + wrong;
    }
  }
  return close_and_open(false);
}

void FaultRun::break_device() {
  const std::uint64_t dice = random_() % 10;
  const Op op = dice < 4 ? Op::write : dice < 7 ? Op::sync : Op::read;
  const auto reach = static_cast<Reach>(random_() % 3);
  const Repeat repeat = random_() % 2 == 0 ? Repeat::once : Repeat::for_ever;
  const Pace pace = random_() % 8 == 0 ? Pace::never : Pace::at_once;
  const bool forgets = op == Op::sync && reach != Reach::nothing;
  disk_->disk().fail(op, 1 + random_() % 3, kErrors[random_() % kErrors.size()], repeat, reach,
                     pace);
  disk_->disk().set_on_failure([this, pace, forgets](const FaultyDisk::Event&) {
    if (pace == Pace::never) virtual_ns_ += kKernelTimeoutNs;
    if (forgets) disk_->medium().forget_unsynced();
  });
}

/// A call that may meet the fault.
std::string FaultRun::call() {
  if (random_() % 3 == 0) {
    std::string wrong;
    bool failed = false;
    (void)content_of(*cache_, scene_.keys, wrong, &failed);
    return said("lookup_batch", wrong);
  }
  (void)(random_() % 4 == 0 ? calls_->flush(*cache_) : calls_->step(*cache_));
  return {};
}

std::string FaultRun::meet_error() {
  const std::uint64_t before = disk_->disk().failures();
  break_device();
  int more = 1 + static_cast<int>(random_() % 3);  // calls that may meet it again
  for (int i = 0; i < kCallsPerFault && more > 0; ++i) {
    if (auto wrong = call(); !wrong.empty()) return wrong;
    if (disk_->disk().failures() > before) --more;
  }
  const std::uint64_t failures = disk_->disk().failures() - before;
  faults_ += failures > 0;
  failures_ += failures;
  if (random_() % 12 == 0) {
    if (auto wrong = look("broken"); !wrong.empty()) return wrong;
  }
  if (auto wrong = heal(); !wrong.empty()) return wrong;
  if (random_() % 24 == 0) {
    if (auto wrong = look("healed"); !wrong.empty()) return wrong;
  }
  if (oracle_.failed_clears() >= kFailedClearsMax) return close_and_open(false);
  switch (random_() % 32) {
    case 0:
      return close_and_open(false);
    case 1:
      return cut_power();
    case 2:
      return meet_error_at_open();
    default:
      return {};
  }
}

std::string FaultRun::heal() {
  disk_->disk().heal();
  note_stats();
  return check_healed(*calls_, *cache_, oracle_, scene_);
}

/// What if the power goes now?
std::string FaultRun::look(const char* when) {
  ++recoveries_;
  const auto recovered =
      recover_from(disk_->medium().crash(random_, any_policy(random_)), scene_, random_);
  if (!recovered.wrong.empty()) return said(when, recovered.wrong);
  if (recovered.index_was_full) index_was_full_ = true;
  if (index_was_full_) oracle_.set_segments_kept(0);
  return said(when, oracle_.check_after_crash(recovered.content, oracle_.now()));
}

/// It does.
std::string FaultRun::cut_power() {
  ++recoveries_;
  auto recovered =
      recover_from(disk_->medium().crash(random_, any_policy(random_)), scene_, random_);
  if (!recovered.wrong.empty()) return recovered.wrong;
  index_was_full_ = index_was_full_ || recovered.index_was_full;
  if (index_was_full_) oracle_.set_segments_kept(0);
  auto wrong = oracle_.check_after_crash(recovered.content, oracle_.now());
  if (!wrong.empty()) return said("power cut", wrong);
  disk_->disk().set_hook({});
  disk_->cut();
  cache_.reset();
  oracle_.restart(recovered.content);
  disk_ = std::make_unique<CutDisk>(std::move(recovered.image));
  attach();
  return open();
}

std::string FaultRun::close_and_open(bool silent) {
  ++recoveries_;
  if (auto closed = calls_->close(*cache_); !closed) {
    return "a sound device fails close: " + closed.error().message();
  }
  note_stats();
  cache_.reset();
  if (auto wrong = open(); !wrong.empty()) return wrong;
  std::string wrong;
  const Content content = content_of(*cache_, scene_.keys, wrong);
  if (wrong.empty()) {
    wrong = silent ? oracle_.check_after_rot(content) : oracle_.check_running(content, 0);
  }
  if (!wrong.empty()) return said("reopened", wrong);
  oracle_.restart(content);
  return {};
}

/// Closed in order or cut off; then the k-th I/O of opening fails, and the next opening goes well.
std::string FaultRun::meet_error_at_open() {
  const bool in_order = random_() % 2 == 0;
  if (in_order && !calls_->close(*cache_)) return "a sound device fails close";
  const Oracle::Moment moment = oracle_.now();
  Image image = disk_->medium().crash(random_, any_policy(random_));
  disk_->disk().set_hook({});
  disk_->cut();
  cache_.reset();
  disk_ = std::make_unique<CutDisk>(std::move(image));
  break_device();
  (void)RawDiskCache::open(std::make_unique<LentDisk>(disk_->disk()), scene_.options);
  faults_ += disk_->disk().failures() > 0;
  failures_ += disk_->disk().failures();
  disk_->disk().heal();
  ++recoveries_;
  auto recovered =
      recover_from(disk_->medium().crash(random_, any_policy(random_)), scene_, random_);
  if (!recovered.wrong.empty()) return said("opening failed before", recovered.wrong);
  index_was_full_ = index_was_full_ || recovered.index_was_full;
  if (index_was_full_) oracle_.set_segments_kept(0);
  auto wrong = oracle_.check_after_crash(recovered.content, moment);
  if (!wrong.empty()) return said("opening failed before", wrong);
  oracle_.restart(recovered.content);
  disk_ = std::make_unique<CutDisk>(std::move(recovered.image));
  attach();
  return open();
}

// --- Silent faults ---

std::string FaultRun::with_silent_faults() {
  scene_.options.memory_bytes = 0;  // reads are to meet the faults
  const auto formatted = format_drawn(random_, disk_->disk(), scene_.format);
  if (!formatted) return {};
  info_ = *formatted;
  attach();
  disk_->medium().keep_overwritten();
  if (auto wrong = open(); !wrong.empty()) return wrong;
  for (int i = 0; i < kFaultsPerRun; ++i) {
    if (auto wrong = meet_silent_fault(); !wrong.empty()) {
      return "fault " + std::to_string(i) + ": " + wrong;
    }
  }
  const std::string wrong = close_and_open(true);
  faults_ = failures_ = disk_->medium().faults_met();
  return wrong;
}

std::string FaultRun::meet_silent_fault() {
  for (std::uint64_t n = random_() % 6; n > 0; --n) {
    if (auto done = calls_->step(*cache_); !done) return "a call failed: " + done.error().message();
  }
  note_stats();
  damage();
  if (auto wrong = check_silent(); !wrong.empty()) return wrong;
  return random_() % 16 == 0 ? close_and_open(true) : std::string();
}

void FaultRun::damage() {
  const std::uint64_t sectors = log().size / SimDisk::kSectorBytes;
  const std::uint64_t place = log().offset + random_() % sectors * SimDisk::kSectorBytes;
  switch (random_() % 8) {
    case 0:
      disk_->medium().misdirect_write(1 + random_() % 2, place, log());
      break;
    case 1:
      disk_->medium().misdirect_write(1 + random_() % 2, std::nullopt, log());
      break;
    case 2:
      disk_->medium().misdirect_read(1 + random_() % 2, place, log());
      break;
    default:
      (void)disk_->medium().rot(place, static_cast<Rot>(random_() % 5), random_);
  }
}

std::string FaultRun::check_silent() {
  std::string wrong;
  const Content content = content_of(*cache_, scene_.keys, wrong);
  return said("rotten", wrong.empty() ? oracle_.check_after_rot(content) : wrong);
}

}  // namespace rawcache::testing
