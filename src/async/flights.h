// Flights: keys that are being loaded, and who waits for them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cache/write_watch.h"
#include "rawcache/result.h"
#include "rawcache/value.h"

namespace rawcache {

/// Told once how a load has ended.
using LoadWaiter = std::move_only_function<void(const Result<Value>&)>;

/// The load of one key.
struct Flight {
  std::string key;
  /// The thread that loads it, if it does nothing else meanwhile.
  std::thread::id leader;
  WriteWatch::Watched watch;
  std::vector<LoadWaiter> waiters;  ///< guarded by Flights
};

/// At most one flight per key. Threads: any.
class Flights {
 public:
  enum class Role : std::uint8_t {
    leader,    ///< must load and `land`
    waiter,    ///< `waiter` will be told
    own_load,  ///< the leader asks for what it is loading; it would wait for ever
  };
  struct Boarding {
    Role role = Role::leader;
    std::shared_ptr<Flight> flight;
  };
  /// Takes `waiter` only if the role is waiter. `leader`: see Flight.
  Boarding board(std::string_view key, LoadWaiter& waiter, std::thread::id leader);

  /// Ends the flight, then tells everybody who waits.
  void land(Flight& flight, const Result<Value>& result);

 private:
  Mutex mutex_;
  /// The keys are those of the flights.
  std::unordered_map<std::string_view, std::shared_ptr<Flight>> flights_ GUARDED_BY(mutex_);
};

}  // namespace rawcache
