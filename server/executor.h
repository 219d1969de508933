// Executor: what the commands do. Waits for the disk, so it runs on workers.
//
//   executor.cc   the order of things, and commands that are about the server
//   retrieve.cc   get, gets, mg and what else becomes one lookup_batch
//   storage.cc    set, add, append, cas, touch, gat, delete
//   arithmetic.cc incr, decr, ma
//   meta.cc       ms, md, me, and mg where it changes something
//   stats_command.cc  stats
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/hub.h"
#include "server/run.h"

namespace rawcache::server {

/// Keys looked up together, at most.
inline constexpr std::size_t kKeysPerLookup = 128;

/// "VERSION" answers so: the first three numbers name the memcached whose protocol is spoken.
extern const char* const kServerVersion;

/// Whether it can be one of the keys of a lookup_batch.
bool becomes_batch(const Request& request);

/// Whether a run can be executed on the event loop: it does not call the cache.
bool needs_no_cache(const Run& run);

/// Whether a run only writes to the log, of which there is one: it never reads from the disk.
bool only_stores(const Run& run);

class Executor {
 public:
  Executor(Hub& hub, Session& session, Run& run);
  /// Executes until all is done or the replies hold more than `output_bytes`.
  void execute(std::size_t output_bytes);

 private:
  // executor.cc
  void execute_one(const Request& request);
  void authenticate(const Request& request);
  void flush_all(const Request& request);
  void make_durable();

  // retrieve.cc
  void retrieve();
  std::size_t keys_wanted() const;
  void gather();
  void answer(const Request& request, std::string_view key, const Result<Value>& found);
  void answer_key(const Request& request, std::string_view key, const Value& value,
                  std::uint64_t sequence);

  // storage.cc
  void store(const Request& request);
  void store_if(const Request& request);
  void compare_and_swap(const Request& request);
  void extend(const Request& request);
  void touch(const Request& request);
  void get_and_touch(const Request& request);
  void remove(const Request& request);
  void refuse_to_store(const Request& request);
  /// A change of the entry to another life; `value` keeps what it holds.
  Change touched(const Value& value, std::int64_t exptime) const;
  /// Stores the bytes until `exptime`; one that has passed removes the entry.
  Change stored(std::string_view value, std::int64_t exptime, std::uint32_t flags) const;
  /// RawDiskCache::update_buffered. That a flush has failed is not this client's affair: the change
  /// is made, and told.
  Result<Updated> update(std::string_view key, const Updater& updater);

  // arithmetic.cc
  struct Arithmetic;
  void increase(const Request& request);
  void meta_arithmetic(const Request& request);
  Result<Updated> calculate(std::string_view key, Arithmetic& arithmetic);

  // meta.cc
  struct Version {
    std::uint64_t sequence = 0;
    std::uint32_t expires_at = 0;
  };
  void meta_get(const Request& request, const Result<Value>& found);
  void meta_hit(const Request& request, const Value& value, const Version& version, bool created);
  void meta_get_and_change(const Request& request);
  void meta_set(const Request& request);
  Change meta_change(const Request& request, const Value* now, std::string& whole,
                     std::string_view& code) const;
  void meta_delete(const Request& request);
  void meta_debug(const Request& request);
  /// The key that the request means; decoded, it stays as long as this object.
  std::string_view key_of(const Request& request);
  /// A reply without an item: nothing was found, or nothing was stored.
  void miss(const Request& request, std::string_view code);

  // stats_command.cc
  void send_stats(const Request& request);
  void send_general_stats();
  void send_settings();
  void send_all_stats();
  void stat(std::string_view name, std::uint64_t value);
  void stat(std::string_view name, std::string_view value);

  /// The reply to a command that is not hidden by noreply.
  void reply(const Request& request, std::string_view line);
  /// The same for what has changed something.
  void acknowledge(const Request& request, std::string_view line);
  /// A command that cannot be understood is told so even if it wants no reply.
  void refuse(std::string_view line);
  /// An understood one is not.
  void fail(const Request& request, std::string_view line);
  void fail(const Request& request, const Error& error);

  Hub& hub_;
  Session& session_;
  Run& run_;
  Replies& out_;
  std::int64_t now_;  ///< Unix seconds
  std::size_t output_bytes_ = 0;
  bool dirty_ = false;  ///< something was changed and is not durable

  /// A key of the batch, or the end of a command.
  struct Ask {
    std::size_t request = 0;
    std::string_view key;
    std::string_view keys_left;  ///< get: this key's and those behind it
    bool end = false;
  };
  std::vector<Ask> asks_;
  std::vector<std::string_view> keys_;
  std::deque<std::string> decoded_;
};

}  // namespace rawcache::server
