#include "history/history_run.h"

#include <algorithm>
#include <array>
#include <optional>
#include <thread>

#include "crash/workload.h"
#include "support/faulty_disk.h"
#include "support/oracle.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

using Kind = HistoryCall::Kind;

constexpr std::uint64_t kBatchKeysMax = 12;
constexpr std::uint64_t kAsynchronousAtOnce = 4;
constexpr std::uint64_t kYieldOneIn = 16;  ///< requests of the disk

/// In memory, and other threads get their turn now and then. A read that overlaps a write
/// of a reused segment is a race of the device's memory, and meant to be: the thread sanitizer
/// gets a disk with a lock.
std::unique_ptr<Disk> make_disk(std::uint64_t bytes, bool with_lock) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  with_lock = true;
#endif
#endif
  auto disk = std::make_unique<FaultyDisk>(with_lock ? std::make_unique<SimDisk>(bytes)
                                                     : make_memory_disk(bytes));
  disk->set_hook([](const FaultyDisk::Event&) {
    thread_local std::uint64_t requests = 0;
    if (++requests % kYieldOneIn == 0) std::this_thread::yield();
  });
  return disk;
}

}  // namespace

/// One thread's calls, and what it has seen.
class HistoryRun::Client {
 public:
  Client(HistoryRun& run, std::uint32_t number, std::uint64_t seed)
      : run_(run), number_(number), random_(seed) {}

  void call_again_and_again() {
    for (std::uint32_t i = 0; i < run_.clients_.calls && wrong_.empty(); ++i) call();
  }
  struct Seen {
    std::uint32_t key = 0;
    HistoryCall call;
  };
  const std::vector<Seen>& seen() const { return seen_; }
  const std::string& wrong() const { return wrong_; }

 private:
  void call();
  void lookup();
  void lookup_batch();
  void contains();
  void store(bool durable);
  void remove(bool durable);
  void clear();
  void asynchronous();

  std::uint64_t moment() { return run_.moment_.fetch_add(1) + 1; }
  std::uint32_t any_key() { return static_cast<std::uint32_t>(random_() % run_.clients_.keys); }
  std::uint64_t new_version() { return ++versions_ * run_.clients_.threads + number_; }
  std::string new_value(std::uint32_t key, std::uint64_t version) {
    return make_value(key, version, random_() % (run_.clients_.value_bytes + 1));
  }

  void note(std::uint32_t key, Kind kind, std::uint64_t value, std::uint64_t begin) {
    seen_.push_back({key, {kind, value, begin, moment()}});
  }
  /// What a lookup found; nothing if it had no memory to find it.
  void note_found(std::uint32_t key, const Result<Value>& found, std::uint64_t begin,
                  std::uint64_t end);
  void note_write(std::uint32_t key, Kind kind, std::uint64_t value, std::uint64_t begin,
                  std::uint64_t end, const Result<void>& done);

  HistoryRun& run_;
  const std::uint32_t number_;
  std::mt19937_64 random_;
  std::uint64_t versions_ = 0;
  std::vector<Seen> seen_;
  std::string wrong_;
};

void HistoryRun::Client::note_found(std::uint32_t key, const Result<Value>& found,
                                    std::uint64_t begin, std::uint64_t end) {
  std::uint64_t value = 0;
  if (found) {
    const auto version = version_of(key, found->view());
    if (!version) wrong_ = "key " + std::to_string(key) + " has a value that was never stored";
    value = version.value_or(0);
  } else if (found.error() == Errc::out_of_memory) {
    return;
  } else if (found.error() != Errc::not_found) {
    wrong_ = "lookup: " + found.error().message();
  }
  seen_.push_back({key, {Kind::read, value, begin, end}});
}

void HistoryRun::Client::note_write(std::uint32_t key, Kind kind, std::uint64_t value,
                                    std::uint64_t begin, std::uint64_t end,
                                    const Result<void>& done) {
  // What was not admitted has left nothing under the key.
  const bool refused = kind == Kind::store && !done && done.error() == Errc::not_admitted;
  if (!done && !refused) wrong_ = "a write failed: " + done.error().message();
  if (refused) kind = Kind::erase;
  seen_.push_back({key, {kind, refused ? 0 : value, begin, end}});
}

void HistoryRun::Client::call() {
  const CallMix& mix = run_.clients_.mix;
  if (random_() % 1000 < mix.clears_per_mille) return clear();
  const std::array weights = {mix.store,  mix.store_buffered, mix.remove,   mix.remove_buffered,
                              mix.lookup, mix.lookup_batch,   mix.contains, mix.asynchronous,
                              mix.flush,  mix.maintain};
  std::uint64_t sum = 0;
  for (const std::uint32_t weight : weights) sum += weight;
  std::uint64_t dice = random_() % sum;
  std::size_t which = 0;
  for (; dice >= weights[which]; ++which) dice -= weights[which];
  switch (which) {
    case 0:
    case 1:
      return store(which == 0);
    case 2:
    case 3:
      return remove(which == 2);
    case 4:
      return lookup();
    case 5:
      return lookup_batch();
    case 6:
      return contains();
    case 7:
      return asynchronous();
    case 8:
      if (auto done = run_.cache_->flush_writes(); !done) wrong_ = done.error().message();
      return;
    default:
      if (auto done = run_.cache_->maintain(); !done) wrong_ = done.error().message();
  }
}

void HistoryRun::Client::store(bool durable) {
  const std::uint32_t key = any_key();
  const std::uint64_t version = new_version();
  const std::string value = new_value(key, version);
  const std::uint64_t begin = moment();
  const auto done = durable ? run_.cache_->store(key_name(key), value)
                            : run_.cache_->store_buffered(key_name(key), value);
  note_write(key, Kind::store, version, begin, moment(), done);
}

void HistoryRun::Client::remove(bool durable) {
  const std::uint32_t key = any_key();
  const std::uint64_t begin = moment();
  const auto done =
      durable ? run_.cache_->remove(key_name(key)) : run_.cache_->remove_buffered(key_name(key));
  note_write(key, Kind::erase, 0, begin, moment(), done);
}

void HistoryRun::Client::clear() {
  const std::uint64_t begin = moment();
  const auto done = run_.cache_->clear();
  if (!done) wrong_ = "clear: " + done.error().message();
  const std::uint64_t end = moment();
  for (std::uint32_t key = 0; key < run_.clients_.keys; ++key) {
    seen_.push_back({key, {Kind::erase, 0, begin, end}});
  }
}

void HistoryRun::Client::lookup() {
  const std::uint32_t key = any_key();
  const std::uint64_t begin = moment();
  const auto found = run_.cache_->lookup(key_name(key));
  note_found(key, found, begin, moment());
}

void HistoryRun::Client::lookup_batch() {
  std::vector<std::uint32_t> keys;
  std::vector<std::string> names;
  for (std::uint64_t n = 1 + random_() % kBatchKeysMax; n > 0; --n) {
    keys.push_back(any_key());
    names.push_back(key_name(keys.back()));
  }
  const std::uint64_t begin = moment();
  const auto found = run_.cache_->lookup_batch(names);
  const std::uint64_t end = moment();
  for (std::size_t i = 0; i < keys.size(); ++i) note_found(keys[i], found[i], begin, end);
}

/// Which value is there it does not say; that none is there it does.
void HistoryRun::Client::contains() {
  const std::uint32_t key = any_key();
  const std::uint64_t begin = moment();
  const auto there = run_.cache_->contains(key_name(key));
  if (there && !*there) note(key, Kind::read, 0, begin);
}

/// A few calls that are under way together, ended by threads of the cache.
void HistoryRun::Client::asynchronous() {
  struct Begun {
    std::uint32_t key = 0;
    Kind kind = Kind::read;
    std::uint64_t value = 0, begin = 0, end = 0;
    std::optional<Result<Value>> found;
    Result<void> done;
  };
  std::array<Begun, kAsynchronousAtOnce> calls;
  std::latch ended(kAsynchronousAtOnce);
  for (Begun& it : calls) {
    it.key = any_key();
    const std::string name = key_name(it.key);
    const auto write_ended = [this, &it, &ended](Result<void> done) {
      it.done = std::move(done);
      it.end = moment();
      ended.count_down();
    };
    const std::uint64_t dice = random_() % 8;
    it.kind = dice < 3 ? Kind::read : dice < 6 ? Kind::store : Kind::erase;
    if (it.kind == Kind::store) it.value = new_version();
    it.begin = moment();
    if (it.kind == Kind::read) {
      run_.cache_->async_lookup(name).start([this, &it, &ended](Result<Value> found) {
        it.found = std::move(found);
        it.end = moment();
        ended.count_down();
      });
    } else if (it.kind == Kind::store) {
      const std::string value = new_value(it.key, it.value);
      dice == 3 ? run_.cache_->async_store(name, value).start(write_ended)
                : run_.cache_->async_store_buffered(name, value).start(write_ended);
    } else {
      dice == 6 ? run_.cache_->async_remove(name).start(write_ended)
                : run_.cache_->async_remove_buffered(name).start(write_ended);
    }
  }
  ended.wait();
  for (const Begun& it : calls) {
    if (it.found) {
      note_found(it.key, *it.found, it.begin, it.end);
    } else {
      note_write(it.key, it.kind, it.value, it.begin, it.end, it.done);
    }
  }
}

// --- The run ---

HistoryRun::HistoryRun(std::uint64_t seed, const Clients& clients)
    : clients_(clients), random_(seed) {
  format_.block_bytes = 512;
  format_.segment_bytes = 4096 << random_() % 3;
  format_.expected_entries = 512;
  const std::uint64_t segments = 6 + random_() % 26;
  disk_ = make_disk(131072 + 2 * 65536 + segments * format_.segment_bytes, random_() % 4 == 0);
  options_.max_operations = static_cast<std::uint32_t>(1 + random_() % 32);
  options_.max_buffer_bytes = 4096 << random_() % 4;
  options_.read_buffer_bytes = 1 << 20;
  options_.memory_bytes = random_() % 2 == 0 ? 0 : 65536;
  options_.maintenance_thread = random_() % 2 == 0;
  options_.eviction = static_cast<EvictionPolicyKind>(random_() % 3);
  if (random_() % 3 == 0) options_.flush_interval = std::chrono::milliseconds(1);
  draw_storing(random_, options_);
  for (std::uint32_t i = 0; i < clients_.threads; ++i) {
    threads_.push_back(std::make_unique<Client>(*this, i, random_()));
  }
}

HistoryRun::~HistoryRun() = default;

std::string HistoryRun::words() const {
  return "segments of " + std::to_string(format_.segment_bytes) + ", device of " +
         std::to_string(disk_->info().size_bytes) + ", buffers of " +
         std::to_string(options_.max_operations) + " operations and " +
         std::to_string(options_.max_buffer_bytes) + " bytes, memory of " +
         std::to_string(options_.memory_bytes) + ", eviction " +
         std::to_string(static_cast<int>(options_.eviction)) + ", " + storing_words(options_) +
         (options_.maintenance_thread ? ", maintenance thread" : "");
}

std::string HistoryRun::go() {
  if (auto made = format_drawn(random_, *disk_, format_); !made) return made.error().message();
  for (std::uint32_t life = 0; life < clients_.lives; ++life) {
    if (auto wrong = live(); !wrong.empty()) return wrong;
  }
  return judge();
}

std::string HistoryRun::live() {
  auto opened = RawDiskCache::open(std::make_unique<LentDisk>(*disk_), options_);
  if (!opened) return "open: " + opened.error().message();
  cache_ = std::make_unique<RawDiskCache>(std::move(*opened));
  {
    std::vector<std::jthread> running;
    for (const auto& client : threads_) {
      running.emplace_back([&client] { client->call_again_and_again(); });
    }
  }
  evicted_ += cache_->stats().evicted;
  const auto closed = cache_->close();
  cache_.reset();
  for (const auto& client : threads_) {
    if (!client->wrong().empty()) return client->wrong();
  }
  return closed ? "" : "close: " + closed.error().message();
}

std::string HistoryRun::judge() {
  std::vector<std::vector<HistoryCall>> by_key(clients_.keys);
  for (const auto& client : threads_) {
    for (const Client::Seen& seen : client->seen()) by_key[seen.key].push_back(seen.call);
  }
  for (std::uint32_t key = 0; key < clients_.keys; ++key) {
    if (auto wrong = check_history(by_key[key]); !wrong.empty()) {
      return "key " + std::to_string(key) + ": " + wrong;
    }
    judged_ += by_key[key].size();
  }
  return {};
}

}  // namespace rawcache::testing
