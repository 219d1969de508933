#include "async/flights.h"

#include <utility>

#include "base/mutant.h"

namespace rawcache {

Flights::Boarding Flights::board(std::string_view key, LoadWaiter& waiter, std::thread::id leader) {
  MutexLock lock(mutex_);
  const auto found = flights_.find(key);
  if (found != flights_.end() && !mutated(Mutant::kTwoFlightsPerKey)) {
    Flight& flight = *found->second;
    const bool own = leader != std::thread::id() && flight.leader == leader;
    if (own) return {Role::own_load, nullptr};
    flight.waiters.push_back(std::move(waiter));
    return {Role::waiter, nullptr};
  }
  auto flight = std::make_shared<Flight>();
  flight->key = key;
  flight->leader = leader;
  flights_.emplace(flight->key, flight);
  return {Role::leader, std::move(flight)};
}

void Flights::land(Flight& flight, const Result<Value>& result) {
  std::vector<LoadWaiter> waiters;
  {
    MutexLock lock(mutex_);
    waiters.swap(flight.waiters);
    flights_.erase(flight.key);
  }
  for (LoadWaiter& waiter : waiters) waiter(result);
}

}  // namespace rawcache
