// Run: the commands of one connection that are executed together, and what became of them.
#pragma once

#include <chrono>
#include <cstddef>
#include <string_view>
#include <vector>

#include "server/counters.h"
#include "server/replies.h"
#include "server/request.h"

namespace rawcache::server {

/// Taken for the size of values before the client has read any.
inline constexpr std::uint64_t kFirstGuessBytes = 16 * 1024;

/// What a connection remembers between commands.
struct Session {
  bool authenticated = false;
  std::uint64_t value_bytes_average = kFirstGuessBytes;  ///< of those read lately
};

struct Run {
  std::vector<Request> requests;  ///< views into the connection's input buffer
  std::size_t next = 0;           ///< the first that is not done
  std::string_view keys_left;     ///< of that one, if it has been begun
  bool begun = false;
  bool close = false;  ///< after the replies
  Replies replies;
  RunCounts counts;
  std::chrono::steady_clock::time_point received;

  bool done() const { return next == requests.size(); }
  void reset() {
    requests.clear();
    next = 0;
    begun = close = false;
    counts = {};
  }
};

}  // namespace rawcache::server
