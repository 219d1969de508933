// Operations and faults: the input chooses calls, faults of the device and power cuts; the oracle
// judges every content (C1-C3, C5, C6, C8, C10, C11).
#include <cerrno>
#include <memory>
#include <random>

#include "crash/power_cut.h"
#include "fuzz/input.h"

namespace rawcache::fuzz {
namespace {

using namespace rawcache::testing;
using Op = FaultyDisk::Op;
using Repeat = FaultyDisk::Repeat;

constexpr std::size_t kCallsMax = 200;

Scene scene_of(Input& input) {
  Scene scene;
  scene.format.block_bytes = 512;
  scene.format.segment_bytes = 4096;
  scene.format.expected_entries = 128;
  scene.device_bytes = 131072 + 2 * 16384 + (5 + input.take_below(12)) * 4096;
  scene.keys = static_cast<std::uint32_t>(2 + input.take_below(12));
  scene.value_bytes = 1 + input.take_below(1500);
  scene.options.max_operations = static_cast<std::uint32_t>(1 + input.take_below(16));
  scene.options.max_buffer_bytes = 4096 << input.take_below(3);
  scene.options.read_buffer_bytes = 1 << 16;
  scene.options.maintenance_thread = false;
  std::mt19937_64 random(input.take<std::uint16_t>());
  draw_storing(random, scene.options);
  return scene;
}

class Run {
 public:
  explicit Run(Input& input)
      : input_(input),
        scene_(scene_of(input)),
        random_(input.take<std::uint32_t>()),
        disk_(std::make_unique<CutDisk>(scene_.device_bytes)),
        oracle_(scene_.keys, 0) {}

  void go() {
    const auto info = RawDiskCache::format(disk_->disk(), scene_.format);
    if (!info) return;  // these options do not fit
    info_ = *info;
    open();
    for (std::size_t i = 0; i < kCallsMax && !input_.empty(); ++i) call();
    heal();
    close_and_open();
  }

 private:
  void open() {
    disk_->disk().set_hook([this](const FaultyDisk::Event& event) {
      if (event.op != Op::write) return;
      for (auto n = segments_opened_by(info_, event.offset, event.size); n > 0; --n) {
        oracle_.tell({.type = Oracle::Event::Type::segment_opened});
      }
    });
    auto cache = RawDiskCache::open(std::make_unique<LentDisk>(disk_->disk()), scene_.options);
    expect(cache.has_value(), "a sound cache does not open");
    cache_ = std::make_unique<RawDiskCache>(std::move(*cache));
    calls_ =
        std::make_unique<Workload>(scene_, random_, oracle_.last_version() + 1, true,
                                   [this](const Oracle::Event& event) { oracle_.tell(event); });
    note();
  }

  void note() {
    const Stats stats = cache_->stats();
    full_ = full_ || stats.evicted_index_full > 0;
    oracle_.set_segments_kept(full_ ? 0 : segments_kept(info_, stats));
  }

  void call() {
    const auto what = input_.take_below(16);
    const auto key = static_cast<std::uint32_t>(input_.take_below(scene_.keys));
    if (what < 5) (void)calls_->store(*cache_, key, false);
    if (what == 5 || what == 6) (void)calls_->store(*cache_, key, true);
    if (what == 7) (void)calls_->remove(*cache_, key, false);
    if (what == 8) (void)calls_->remove(*cache_, key, true);
    if (what == 9) (void)calls_->flush(*cache_);
    if (what == 10) (void)calls_->clear(*cache_);
    if (what == 11) break_something();
    if (what == 12) heal();
    if (what == 13) cut(false);
    if (what == 14) cut(true);
    if (what == 15) {
      heal();
      close_and_open();
    }
    note();
    if (sound_ && what < 11) check();
  }

  void break_something() {
    const auto op = static_cast<Op>(input_.take_below(3));
    const std::uint64_t k = 1 + input_.take_below(12);
    const bool once = input_.take_bool();
    disk_->disk().fail(op, k, input_.take_bool() ? EIO : ENOSPC,
                       once ? Repeat::once : Repeat::for_ever);
    sound_ = false;
  }

  void heal() {
    if (sound_) return;
    disk_->disk().heal();
    Result<void> flushed;
    for (int attempt = 0; attempt < 3; ++attempt) {
      if (flushed = calls_->flush(*cache_); flushed) break;
    }
    expect(flushed.has_value(), "the healed device cannot be flushed");
    sound_ = true;
    check();
  }

  void check() {
    std::string wrong;
    const Content content = content_of(*cache_, scene_.keys, wrong);
    expect(wrong.empty(), wrong);
    const std::uint64_t ahead =
        2 + 2 * scene_.options.max_buffer_bytes / scene_.format.segment_bytes;
    const std::string said = oracle_.check_running(content, ahead);
    expect(said.empty(), said);
  }

  /// The power goes. Either somebody looks at what is left, or life goes on from there.
  void cut(bool go_on) {
    auto recovered =
        recover_from(disk_->medium().crash(random_, any_policy(random_)), scene_, random_);
    expect(recovered.wrong.empty(), recovered.wrong);
    full_ = full_ || recovered.index_was_full;
    if (full_) oracle_.set_segments_kept(0);
    const std::string said = oracle_.check_after_crash(recovered.content, oracle_.now());
    expect(said.empty(), said);
    if (!go_on) return;
    disk_->disk().set_hook({});
    disk_->cut();
    cache_.reset();
    oracle_.restart(recovered.content);
    disk_ = std::make_unique<CutDisk>(std::move(recovered.image));
    sound_ = true;
    open();
  }

  void close_and_open() {
    expect(calls_->close(*cache_).has_value(), "a sound device fails close");
    note();
    cache_.reset();
    open();
    check();
  }

  Input& input_;
  const Scene scene_;
  std::mt19937_64 random_;
  std::unique_ptr<CutDisk> disk_;
  Oracle oracle_;
  CacheInfo info_;
  std::unique_ptr<RawDiskCache> cache_;
  std::unique_ptr<Workload> calls_;
  bool sound_ = true;
  bool full_ = false;
};

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rawcache::fuzz::Input input(data, size);
  rawcache::fuzz::Run(input).go();
  return 0;
}
