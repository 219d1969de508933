// Executor: what the commands do. Waits for the disk, so it runs on workers.
//
//   executor.cc   the order of things, and commands that are about the server
//   retrieve.cc   get, gets and what else becomes one lookup_batch
//   storage.cc    set, add, cas, incr, touch, delete ...
#pragma once

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

/// Whether a run can be executed on the event loop: it does not call the cache.
bool needs_no_cache(const Run& run);

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
  void send_stats(std::string_view argument);
  void stat(std::string_view name, std::uint64_t value);
  void stat(std::string_view name, std::string_view value);

  // retrieve.cc
  void retrieve();
  std::size_t keys_wanted() const;
  void gather();
  void answer_key(const Request& request, std::string_view key, const Result<Value>& found);

  // storage.cc
  void store(const Request& request);
  void remove(const Request& request);
  void drop_old_value(const Request& request);

  /// The reply to a command that is not hidden by noreply.
  void reply(const Request& request, std::string_view line);
  /// The same for what has changed something.
  void acknowledge(const Request& request, std::string_view line);
  void fail(std::string_view line);
  void fail(const Error& error);

  Hub& hub_;
  Session& session_;
  Run& run_;
  Replies& out_;
  std::int64_t now_;    ///< Unix seconds
  bool dirty_ = false;  ///< something was changed and is not durable

  /// A key of the batch, or the end of a command.
  struct Ask {
    std::size_t request = 0;
    std::string_view key;
    std::string_view keys_left;  ///< this key's and those behind it
    bool end = false;
  };
  std::vector<Ask> asks_;
  std::vector<std::string_view> keys_;
};

}  // namespace rawcache::server
