// set, delete: commands that change one entry.
#include "server/executor.h"
#include "server/expiry.h"
#include "server/parser.h"

namespace rawcache::server {

void Executor::store(const Request& request) {
  ++run_.counts.cmd_set;
  const auto ttl = ttl_of(request.exptime, now_);
  const auto stored = ttl ? hub_.cache.store_buffered(request.key, request.value,
                                                      {.ttl = *ttl, .flags = request.flags})
                          : hub_.cache.remove_buffered(request.key);
  if (!stored && stored.error() != Errc::flush_failed) return fail(stored.error());
  acknowledge(request, "STORED\r\n");
}

void Executor::remove(const Request& request) {
  const auto found = hub_.cache.contains(request.key);
  if (!found) return fail(found.error());
  if (!*found) {
    ++run_.counts.delete_misses;
    return reply(request, "NOT_FOUND\r\n");
  }
  ++run_.counts.delete_hits;
  const auto removed = hub_.cache.remove_buffered(request.key);
  if (!removed && removed.error() != Errc::flush_failed) return fail(removed.error());
  acknowledge(request, "DELETED\r\n");
}

// A client that could not store a new value must not go on reading the old one.
void Executor::drop_old_value(const Request& request) {
  ++(request.verb == Verb::too_large ? run_.counts.store_too_large : run_.counts.store_no_memory);
  (void)hub_.cache.remove_buffered(request.key);
  dirty_ = true;
  fail(request.error);
}

}  // namespace rawcache::server
