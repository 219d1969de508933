// Guards the same of the calls that fixed scenarios do not make: conditional stores, updates,
// touches, delayed clears, asynchronous ones, on values that are compressed and that wait in
// memory. Whatever a call says is what it has done: a key has the value of the last call that went
// well, or nothing where values may wait and be dropped, and never an older one.
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "allocation/exempt_disk.h"
#include "allocation/failing_allocator.h"
#include "cache/compressor.h"
#include "rawcache/raw_disk_cache.h"
#include "rawcache/update.h"
#include "support/proof.h"
#include "support/sim_disk.h"

namespace rawcache::testing {
namespace {

using Exempt = FailingAllocator::Exempt;
using Repeat = FailingAllocator::Repeat;
using Scope = FailingAllocator::Scope;

constexpr std::uint64_t kDeviceBytes = 262144;
constexpr int kKeys = 5;

/// Easy to compress.
std::string text(const std::string& key, int version) {
  std::string result;
  while (result.size() < 900) result += key + " in version " + std::to_string(version) + ", ";
  return result;
}

/// Makes calls and knows what each key must have then.
class Calls {
 public:
  Calls(RawDiskCache& cache, bool selective) : cache_(cache), selective_(selective) {}

  void store(const std::string& key, bool durable, StoreOptions options = {});
  void store_together(const std::vector<std::string>& keys, bool durable);
  void store_async(const std::string& key, bool durable);
  void remove(const std::string& key, bool durable);
  void append(const std::string& key, bool durable);
  void touch(const std::string& key, bool durable);
  /// Whether it went well: then everything is gone as soon as that second comes.
  bool clear_at(std::int64_t second);
  void expect_nothing() { known_.clear(); }

  void look_up(const std::string& key);
  void look_up_async(const std::string& key);
  void look_up_together(const std::vector<std::string>& keys);
  /// Without an error.
  void look_up_all(RawDiskCache& cache);

 private:
  void ended(const std::string& key, const Result<void>& result, std::optional<std::string> after);
  bool may_be(const std::string& key, const Result<Value>& found);

  RawDiskCache& cache_;
  const bool selective_;
  int version_ = 0;
  std::map<std::string, std::string> known_;
};

void Calls::ended(const std::string& key, const Result<void>& result,
                  std::optional<std::string> after) {
  const Errc code = result ? Errc::flush_failed : result.error().code();
  switch (code) {
    case Errc::flush_failed:  // accepted
      if (after) known_[key] = *after;
      if (!after) known_.erase(key);
      break;
    case Errc::not_admitted:
      known_.erase(key);
      break;
    case Errc::condition_failed:
      EXPECT_TRUE(known_.contains(key));
      break;
    case Errc::not_found:
      EXPECT_TRUE(selective_ || !known_.contains(key));
      break;
    default:
      EXPECT_TRUE(code == Errc::out_of_memory || code == Errc::buffer_full) << errc_name(code);
  }
}

void Calls::store(const std::string& key, bool durable, StoreOptions options) {
  const std::string value = text(key, ++version_);
  std::optional<Scope> scope(std::in_place);
  auto result =
      durable ? cache_.store(key, value, options) : cache_.store_buffered(key, value, options);
  scope.reset();
  ended(key, result, value);
}

void Calls::store_together(const std::vector<std::string>& keys, bool durable) {
  std::vector<std::string> values;
  for (const std::string& key : keys) values.push_back(text(key, ++version_));
  std::vector<KeyValue> entries;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    entries.push_back({keys[i], std::as_bytes(std::span(values[i]))});
  }
  std::optional<Scope> scope(std::in_place);
  try {
    const auto results =
        durable ? cache_.store_batch(entries) : cache_.store_buffered_batch(entries);
    scope.reset();
    for (std::size_t i = 0; i < keys.size(); ++i) ended(keys[i], results[i], values[i]);
  } catch (const std::bad_alloc&) {  // no memory for the results themselves: nothing was stored
    scope.reset();
  }
}

void Calls::store_async(const std::string& key, bool durable) {
  const std::string value = text(key, ++version_);
  auto prepared =
      durable ? cache_.async_store(key, value) : cache_.async_store_buffered(key, value);
  std::optional<Scope> scope(std::in_place);
  auto result = std::move(prepared).get();
  scope.reset();
  ended(key, result, value);
}

void Calls::remove(const std::string& key, bool durable) {
  std::optional<Scope> scope(std::in_place);
  auto result = durable ? cache_.remove(key) : cache_.remove_buffered(key);
  scope.reset();
  ended(key, result, std::nullopt);
}

void Calls::append(const std::string& key, bool durable) {
  std::string longer;
  const auto updater = [&](const Value* now) -> Change {
    const Exempt exempt;
    longer = now != nullptr ? now->str() + "more" : text(key, version_);
    return {.kind = Change::Kind::store, .value = std::as_bytes(std::span(longer)), .options = {}};
  };
  const std::function<Change(const Value*)> update = updater;
  std::optional<Scope> scope(std::in_place);
  auto result = durable ? cache_.update(key, update) : cache_.update_buffered(key, update);
  scope.reset();
  ended(key, result ? Result<void>() : std::unexpected(result.error()), longer);
}

void Calls::touch(const std::string& key, bool durable) {
  const auto known = known_.find(key);
  std::optional<std::string> same;
  if (known != known_.end()) same = known->second;
  constexpr std::chrono::seconds kLong(100'000);
  std::optional<Scope> scope(std::in_place);
  auto result = durable ? cache_.touch(key, kLong) : cache_.touch_buffered(key, kLong);
  scope.reset();
  ended(key, result, same);
}

bool Calls::clear_at(std::int64_t second) {
  const Scope scope;
  return cache_.clear_at(second).has_value();
}

bool Calls::may_be(const std::string& key, const Result<Value>& found) {
  const auto known = known_.find(key);
  if (found) return known != known_.end() && found->view() == known->second;
  return found.error() == Errc::not_found && (selective_ || known == known_.end());
}

void Calls::look_up(const std::string& key) {
  std::optional<Scope> scope(std::in_place);
  const auto found = cache_.lookup(key);
  scope.reset();
  EXPECT_TRUE(may_be(key, found) || found.error() == Errc::out_of_memory) << key;
}

void Calls::look_up_async(const std::string& key) {
  auto prepared = cache_.async_lookup(key);
  std::optional<Scope> scope(std::in_place);
  const auto found = std::move(prepared).get();
  scope.reset();
  EXPECT_TRUE(may_be(key, found) || found.error() == Errc::out_of_memory) << key;
}

void Calls::look_up_together(const std::vector<std::string>& keys) {
  std::optional<Scope> scope(std::in_place);
  try {
    const auto found = cache_.lookup_batch(keys);
    scope.reset();
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_TRUE(may_be(keys[i], found[i]) || found[i].error() == Errc::out_of_memory) << keys[i];
    }
  } catch (const std::bad_alloc&) {  // no memory for the results themselves
    scope.reset();
  }
}

void Calls::look_up_all(RawDiskCache& cache) {
  for (int i = 0; i < kKeys; ++i) {
    const std::string key = "key " + std::to_string(i);
    EXPECT_TRUE(may_be(key, cache.lookup(key))) << key;
  }
}

void call_in_every_way(Calls& calls, std::int64_t& time) {
  const std::string a = "key 0", b = "key 1", c = "key 2", d = "key 3", e = "key 4";
  for (const bool durable : {false, true}) {
    calls.store(a, durable);
    calls.look_up(a);
    calls.store(a, durable, {.when = StoreIf::absent});
    calls.store(b, durable, {.when = StoreIf::present});
    calls.store(b, durable, {.when = StoreIf::absent});
    calls.append(b, durable);
    calls.append(c, durable);
    calls.look_up(c);
    calls.touch(a, durable);
    calls.store_async(d, durable);
    calls.look_up_async(d);
    calls.store(e, durable, {.compression = Compression::none});
    calls.remove(c, durable);
    calls.look_up(b);
    calls.store(d, durable);
    calls.look_up_async(a);
    calls.look_up_together({a, b, c, d, e});
    calls.store_together({c, e, c}, durable);
    calls.look_up(c);
  }
  if (calls.clear_at(time + 10)) {
    time += 20;
    calls.expect_nothing();
  }
  calls.look_up(a);
  calls.store(b, false);
  calls.append(b, true);
}

struct Kind {
  const char* name;
  Admission admission;
  Compression codec;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class VerbsWithoutMemory : public ::testing::TestWithParam<Kind> {
 protected:
  /// One run with this failure. False when it ran without meeting it.
  bool run_once(std::uint64_t k, Repeat repeat);
};

bool VerbsWithoutMemory::run_once(std::uint64_t k, Repeat repeat) {
  std::int64_t time = 2'000'000'000;
  Options options;
  options.max_operations = 4;
  options.read_buffer_bytes = 1 << 17;
  options.memory_bytes = 65536;
  options.maintenance_thread = false;
  options.admission = GetParam().admission;
  options.admission_memory_bytes = 65536;
  options.compression.codec = GetParam().codec;
  options.now = [&time] { return time; };
  SimDisk disk(kDeviceBytes);
  EXPECT_TRUE(RawDiskCache::format(
      disk, {.block_bytes = 512, .segment_bytes = 4096, .expected_entries = 128}));
  auto cache = RawDiskCache::open(std::make_unique<ExemptDisk>(disk), options);
  EXPECT_TRUE(cache);
  Calls calls(*cache, options.admission != Admission::all);

  FailingAllocator::fail(k, repeat);
  call_in_every_way(calls, time);
  const bool met = FailingAllocator::heal() > 0;

  EXPECT_TRUE(cache->flush_writes());
  calls.look_up_all(*cache);
  EXPECT_TRUE(cache->close());
  auto again = RawDiskCache::open(std::make_unique<ExemptDisk>(disk), options);
  EXPECT_TRUE(again);
  calls.look_up_all(*again);
  return met;
}

TEST_P(VerbsWithoutMemory, TheKthAllocationMayFailForEveryK) {
  if (!has_codec(codec_of(GetParam().codec))) GTEST_SKIP() << "built without the codec";
  (void)run_once(~std::uint64_t{0}, Repeat::once);  // what is made once for all
  std::uint64_t failures = 0;
  for (const Repeat repeat : {Repeat::once, Repeat::for_ever}) {
    bool met = true;
    for (std::uint64_t k = 1; met; ++k) {
      SCOPED_TRACE(std::string(repeat == Repeat::once ? "once" : "for ever") + ", k " +
                   std::to_string(k));
      const std::int64_t live = FailingAllocator::live();
      met = run_once(k, repeat);
      EXPECT_EQ(FailingAllocator::live(), live) << "something leaks";
      if (HasFailure()) return;
      failures += met;
    }
  }
  Proof().add("allocation_failures", failures);
}

constexpr Kind kKinds[] = {{"lz4", Admission::all, Compression::lz4},
                           {"zstd", Admission::all, Compression::zstd},
                           {"waiting", Admission::wanted_again, Compression::none},
                           {"waiting_lz4", Admission::wanted_again, Compression::lz4}};
INSTANTIATE_TEST_SUITE_P(Kinds, VerbsWithoutMemory, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace rawcache::testing
