// LoadClient: one thread that loads a memcached server over a Unix socket, and checks every value
// that comes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "bench/statistics.h"

namespace rawcache::bench {

struct LoadPlan {
  std::string socket;
  bool set = false;            ///< instead of get
  bool shuffled = false;       ///< keys in an order without order; each once before any comes again
  std::uint64_t first = 0;     ///< number of the first key
  std::uint64_t keys = 0;      ///< how many there are
  std::uint64_t requests = 0;  ///< sets, or gets of `keys_per_get` keys
  std::uint64_t keys_per_get = 1;
  std::uint64_t value_bytes = 4096;
  unsigned connections = 4;
  unsigned depth = 1;         ///< requests under way per connection
  double requests_per_s = 0;  ///< at most; 0: as many as go
  std::uint64_t seed = 1;
};

struct LoadResult {
  std::uint64_t requests = 0;
  std::uint64_t stored = 0, refused = 0;  ///< sets
  std::uint64_t hits = 0, misses = 0;     ///< keys of gets
  std::uint64_t wrong = 0;                ///< hits with another value than was stored
  double seconds = 0;
  Latencies latencies;  ///< of requests; of gets, only those that found all they asked for
};

/// The values that belong to keys: the number of the key, then bytes that cannot be compressed.
class LoadValues {
 public:
  explicit LoadValues(std::uint64_t value_bytes);
  void append(std::uint64_t key, std::string& to) const;
  bool matches(std::uint64_t key, std::string_view value) const;

 private:
  std::string_view filling(std::uint64_t key) const;

  std::uint64_t value_bytes_;
  std::string pool_;
};

class LoadClient {
 public:
  /// Connects. What fails ends the process, as in the rest of this program.
  explicit LoadClient(const LoadPlan& plan);
  ~LoadClient();
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;

  LoadResult run();

 private:
  struct Request {
    std::uint64_t sent_ns = 0;
    std::uint64_t hits = 0;
  };
  struct Connection {
    int socket = -1;
    std::string out;
    std::size_t out_done = 0;
    std::vector<char> in;  ///< what was read and not taken lies from in_begin to in_end
    std::size_t in_begin = 0, in_end = 0;
    std::deque<Request> under_way;  ///< in the order of their replies
  };

  bool may_send(std::uint64_t now) const;
  std::uint64_t next_key();
  void send_more(Connection& connection);
  void append_request(Connection& connection);
  void write(Connection& connection);
  void read(Connection& connection);
  /// Takes one reply, or one value of it, off what was read; false: it has not all come yet.
  bool take_reply(Connection& connection);
  void take_value(Connection& connection, std::string_view line, std::string_view value);
  void answered(Connection& connection);

  const LoadPlan plan_;
  const LoadValues values_;
  std::vector<Connection> connections_;
  std::vector<std::uint64_t> order_;  ///< of the keys; empty: one after the other
  std::uint64_t sent_ = 0, begun_ns_ = 0, next_key_ = 0;
  LoadResult result_;
};

}  // namespace rawcache::bench
