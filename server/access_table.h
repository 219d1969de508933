// AccessTable: what meta commands are told of an entry that nobody stores: when it was last asked
// for, whether it was, and whether somebody has been told to fetch it anew.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/mutex.h"

namespace rawcache::server {

struct Access {
  std::int64_t last = 0;  ///< Unix time, seconds
  bool asked_for = false;
  bool token_sent = false;  ///< somebody has won the right to fetch the value anew
};

/// Of entries by their sequences, which no two ever share. A table of fixed size that forgets: of
/// two entries with one place the later one stays. What is forgotten costs one more client that is
/// told to fetch a value. Threads: any.
class AccessTable {
 public:
  /// Entries that it knows nothing of were last asked for at `started`.
  explicit AccessTable(std::int64_t started) : started_(started), places_(kPlaces) {}

  struct Visit {
    Access before;
    bool won = false;  ///< the token was wanted, and nobody else has it
  };
  /// Somebody asks for the entry: notes it, unless no trace is to be left.
  Visit visit(std::uint64_t sequence, std::int64_t now, bool leaves_trace, bool wants_token);
  /// The entry has been stored anew under another sequence.
  void move(std::uint64_t from, std::uint64_t to);
  /// Nobody is to be told to fetch the entry's value.
  void send_no_token(std::uint64_t sequence);
  Access find(std::uint64_t sequence);

 private:
  static constexpr std::size_t kPlaces = std::size_t{1} << 16;
  static constexpr std::size_t kLocks = 64;
  struct Place {
    std::uint64_t sequence = 0;
    Access access;
  };
  static std::size_t place_of(std::uint64_t sequence) { return sequence % kPlaces; }
  Mutex& lock_of(std::size_t place) { return locks_[place % kLocks]; }

  const std::int64_t started_;
  std::array<Mutex, kLocks> locks_;
  std::vector<Place> places_;  ///< each guarded by its lock
};

}  // namespace rawcache::server
