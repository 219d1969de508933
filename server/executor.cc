#include "server/executor.h"

#include <unistd.h>

#include "base/version.h"
#include "server/expiry.h"
#include "server/parser.h"

namespace rawcache::server {

const char* const kServerVersion = "1.6.45-rawcache";

namespace {

bool is_about_the_server(Verb verb) {
  switch (verb) {
    case Verb::version:
    case Verb::verbosity:
    case Verb::quit:
    case Verb::ok:
    case Verb::meta_noop:
    case Verb::error:
    case Verb::bad_data:
    case Verb::shutdown:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool needs_no_cache(const Run& run) {
  for (std::size_t i = run.next; i < run.requests.size(); ++i) {
    if (!is_about_the_server(run.requests[i].verb)) return false;
  }
  return true;
}

bool only_stores(const Run& run) {
  for (std::size_t i = run.next; i < run.requests.size(); ++i) {
    const Verb verb = run.requests[i].verb;
    if (verb != Verb::set && !is_about_the_server(verb)) return false;
  }
  return true;
}

Executor::Executor(Hub& hub, Session& session, Run& run)
    : hub_(hub), session_(session), run_(run), out_(run.replies), now_(unix_now()) {}

void Executor::execute(std::size_t output_bytes) {
  output_bytes_ = output_bytes;
  const bool must_authenticate = !hub_.options.auth_file.empty();
  while (!run_.done() && !run_.close && out_.bytes() < output_bytes) {
    const Request& request = run_.requests[run_.next];
    if (must_authenticate && !session_.authenticated) {
      authenticate(request);
      ++run_.next;
    } else if (becomes_batch(request)) {
      retrieve();
    } else if (request.verb == Verb::gat || request.verb == Verb::gats) {
      get_and_touch(request);
    } else {
      execute_one(request);
      ++run_.next;
    }
  }
  if (dirty_ && hub_.options.acknowledge == Acknowledge::sync) make_durable();
}

void Executor::execute_one(const Request& request) {
  switch (request.verb) {
    case Verb::set:
      return store(request);
    case Verb::add:
    case Verb::replace:
      return store_if(request);
    case Verb::append:
    case Verb::prepend:
      return extend(request);
    case Verb::cas:
      return compare_and_swap(request);
    case Verb::incr:
    case Verb::decr:
      return increase(request);
    case Verb::touch:
      return touch(request);
    case Verb::remove:
      return remove(request);
    case Verb::meta_get:
      return meta_get_and_change(request);
    case Verb::meta_set:
      return meta_set(request);
    case Verb::meta_delete:
      return meta_delete(request);
    case Verb::meta_arithmetic:
      return meta_arithmetic(request);
    case Verb::meta_debug:
      return meta_debug(request);
    case Verb::too_large:
    case Verb::no_memory:
      return refuse_to_store(request);
    case Verb::flush_all:
      return flush_all(request);
    case Verb::stats:
      return send_stats(request);
    case Verb::version:
      out_.text("VERSION ");
      out_.text(kServerVersion);
      return out_.text("\r\n");
    case Verb::verbosity:
    case Verb::ok:
      return reply(request, "OK\r\n");
    case Verb::meta_noop:
      return out_.text("MN\r\n");
    case Verb::quit:
      run_.close = true;
      return;
    case Verb::shutdown:
      run_.close = true;
      if (hub_.shut_down) hub_.shut_down();
      return;
    case Verb::bad_data:
      return fail(request, request.error);
    case Verb::error:
      return refuse(request.error);
    case Verb::get:
    case Verb::gets:
    case Verb::gat:
    case Verb::gats:
      return;  // not here: see execute()
  }
}

// The first command of a connection is a `set` whose value says who it is.
void Executor::authenticate(const Request& request) {
  if (request.verb == Verb::quit) {
    run_.close = true;
    return;
  }
  if (request.verb != Verb::set) return refuse("CLIENT_ERROR unauthenticated");
  ++run_.counts.auth_cmds;
  if (!hub_.users.knows(request.value)) {
    ++run_.counts.auth_errors;
    run_.close = true;
    return refuse("CLIENT_ERROR authentication failure");
  }
  session_.authenticated = true;
  out_.text("STORED\r\n");
}

void Executor::flush_all(const Request& request) {
  ++run_.counts.cmd_flush;
  const std::int64_t delay = request.exptime;
  const std::int64_t at = delay > kRelativeSecondsMax ? delay : now_ + delay;
  const auto cleared = delay > 0 ? hub_.cache.clear_at(at) : hub_.cache.clear();
  if (!cleared) return fail(request, cleared.error());
  reply(request, "OK\r\n");
}

void Executor::make_durable() {
  dirty_ = false;
  if (auto flushed = hub_.cache.flush_writes(); !flushed) {
    ++run_.counts.errors;
    out_.fail_acknowledgements("SERVER_ERROR not durable: " + flushed.error().message() + "\r\n");
  }
}

void Executor::reply(const Request& request, std::string_view line) {
  if (!request.quiet) out_.text(line);
}

void Executor::acknowledge(const Request& request, std::string_view line) {
  dirty_ = true;
  if (request.quiet) return;
  if (hub_.options.acknowledge == Acknowledge::sync) {
    out_.acknowledgement(line);
  } else {
    out_.text(line);
  }
}

void Executor::refuse(std::string_view line) {
  ++run_.counts.errors;
  out_.text(line);
  out_.text("\r\n");
}

void Executor::fail(const Request& request, std::string_view line) {
  if (!request.quiet || request.is_meta) return refuse(line);
  ++run_.counts.errors;
}

void Executor::fail(const Request& request, const Error& error) {
  if (error == Errc::value_too_large) {
    ++run_.counts.store_too_large;
    return fail(request, kTooLarge);
  }
  if (error == Errc::out_of_memory || error == Errc::buffer_full) {
    ++run_.counts.store_no_memory;
    return fail(request, kNoMemory);
  }
  fail(request, "SERVER_ERROR " + std::string(errc_name(error.code())));
}

}  // namespace rawcache::server
