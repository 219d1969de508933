#include "server/access_table.h"

namespace rawcache::server {

Access AccessTable::find(std::uint64_t sequence) {
  const std::size_t at = place_of(sequence);
  MutexLock lock(lock_of(at));
  return places_[at].sequence == sequence ? places_[at].access : Access{.last = started_};
}

AccessTable::Visit AccessTable::visit(std::uint64_t sequence, std::int64_t now, bool leaves_trace,
                                      bool wants_token) {
  const std::size_t at = place_of(sequence);
  MutexLock lock(lock_of(at));
  Place& place = places_[at];
  Visit visit{.before = place.sequence == sequence ? place.access : Access{.last = started_}};
  visit.won = wants_token && !visit.before.token_sent;
  Access after = visit.before;
  after.token_sent = after.token_sent || visit.won;
  if (leaves_trace) {
    after.last = now;
    after.asked_for = true;
  }
  if (leaves_trace || visit.won) place = {sequence, after};
  return visit;
}

void AccessTable::send_no_token(std::uint64_t sequence) {
  const std::size_t at = place_of(sequence);
  MutexLock lock(lock_of(at));
  places_[at] = {sequence, {.last = started_, .token_sent = true}};
}

void AccessTable::move(std::uint64_t from, std::uint64_t to) {
  const Access access = find(from);
  const std::size_t at = place_of(to);
  MutexLock lock(lock_of(at));
  places_[at] = {to, access};
}

}  // namespace rawcache::server
