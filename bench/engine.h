// Engine: what the comparison asks of a store of keys and values; one adaptor file for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/workload.h"

namespace rawcache::bench {

/// What every engine is given alike.
struct Settings {
  std::string folder;  ///< for the engine alone
  std::uint64_t value_bytes = 0;
  std::uint64_t entries = 0;             ///< keys 0 to entries - 1 are loaded
  std::uint64_t cache_bytes = 0;         ///< memory for what was read
  std::uint64_t write_buffer_bytes = 0;  ///< memory for what is to be written, of one buffer
  /// So many values that were got may be in callers' hands at once.
  std::uint64_t values_in_hand = 1;
  bool fresh = false;    ///< start empty; whatever is in the folder may be replaced
  bool durable = false;  ///< put_durable will be called, put_batch will not
};

/// One key and its value; the memory belongs to the caller.
struct Entry {
  std::string_view key;
  std::span<const std::byte> value;
};

/// A store under test. Made for one phase, in a process of its own. All functions but open, close
/// and flush may be called by many threads at once. What goes wrong ends the process (fail()): a
/// store that fails has no figures.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual void open(const Settings& settings) = 0;
  virtual void close() = 0;

  /// Stores all entries, in whatever way is fastest; durable after flush().
  virtual void put_batch(std::span<const Entry> entries) = 0;
  /// On return the entry survives a power cut.
  virtual void put_durable(const Entry& entry) = 0;
  virtual void flush() = 0;

  /// Tells `sink` the value, if there is one.
  virtual void get(const Key& key, Sink& sink) = 0;
  /// The same for many keys, which the engine may read in any order.
  virtual void get_batch(std::span<const Key> keys, Sink& sink) = 0;

  /// Does what would otherwise go on beside the reads of later phases (compaction).
  virtual void finish_background_work() {}

  /// Whether the next put has to make room. Engines that grow instead are always there.
  virtual bool full() { return true; }
};

/// What can be chosen by name.
struct EngineKind {
  std::string name;
  std::string description;  ///< how it is set up
  enum class Role : std::uint8_t { subject, peer, limit } role = Role::peer;
  bool variant = false;                    ///< left out when time is short
  std::uint64_t entries_max = UINT64_MAX;  ///< more are not loaded
  bool durable = true;                     ///< has put_durable
  bool reads = true;   ///< runs the phases that read; off where a sibling reads the same way
  bool writes = true;  ///< runs the phases that only write
  bool caches = true;  ///< runs the mixed phases
  /// What it reads and writes lies in the page cache alone: it has no buffers and caches of its
  /// own.
  bool page_cache_only = false;
  std::function<std::unique_ptr<Engine>()> make;
};

/// All engines that were built in, in the order in which they are shown.
std::vector<EngineKind> all_engines();
/// Names of those that were left out because their library was not found when building.
std::vector<std::string> missing_engines();

// Each adaptor file adds its own.
void add_rawcache(std::vector<EngineKind>& kinds);
void add_rocksdb(std::vector<EngineKind>& kinds);
void add_leveldb(std::vector<EngineKind>& kinds);
void add_lmdb(std::vector<EngineKind>& kinds);
void add_files(std::vector<EngineKind>& kinds);
void add_device_limit(std::vector<EngineKind>& kinds);

/// Ends the process with a message.
[[noreturn]] void fail(std::string_view what, std::string_view why);

}  // namespace rawcache::bench
