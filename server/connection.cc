#include "server/connection.h"

#include <algorithm>
#include <array>
#include <utility>

#include "server/executor.h"

namespace rawcache::server {

namespace {

/// Pieces handed to the socket at once.
constexpr std::size_t kWritePieces = 64;

bool would_block(std::error_code error) {
  return error == std::errc::operation_would_block ||
         error == std::errc::resource_unavailable_try_again;
}

bool only_reads(const Request& request) {
  const bool meta = request.verb == Verb::meta_get;
  return request.verb == Verb::get || request.verb == Verb::gets ||
         request.verb == Verb::meta_noop ||
         (meta && !request.meta.has_ttl && !request.meta.has_vivify);
}

}  // namespace

Connection::Connection(Hub& hub, std::unique_ptr<Stream> stream)
    : hub_(hub),
      stream_(std::move(stream)),
      limits_{.item_bytes_max = hub.options.item_bytes_max,
              .flush_all_allowed = hub.options.flush_all_allowed,
              .shutdown_allowed = hub.options.shutdown_allowed},
      in_(hub.budget),
      last_moved_(Clock::now()) {
  hub_.counters.connections.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() {
  hub_.budget.give_back(held_);
  hub_.counters.connections.fetch_sub(1, std::memory_order_relaxed);
}

void Connection::start(std::function<void(Connection*)> gone) {
  MutexLock lock(mutex_);
  gone_ = std::move(gone);
  wait_for_input();
}

void Connection::finish() {
  MutexLock lock(mutex_);
  finishing_ = true;
  advance();
}

void Connection::close() {
  MutexLock lock(mutex_);
  close_locked();
}

bool Connection::idle(Clock::time_point now, Clock::duration limit) {
  MutexLock lock(mutex_);
  return !executing_ && now - last_moved_ > limit;
}

bool Connection::lingered(Clock::time_point now) {
  MutexLock lock(mutex_);
  return lingered_locked(now);
}

bool Connection::lingered_locked(Clock::time_point now) const {
  return lingering_ && now - last_moved_ >= kLingerTime;
}

void Connection::close_locked() {
  if (closed_) return;
  closed_ = true;
  stream_->close();
  out_.clear();
  if (gone_) std::exchange(gone_, nullptr)(this);
}

void Connection::advance() {
  while (!closed_ && !executing_) {
    if (out_.bytes() >= hub_.options.output_bytes_max) {
      if (!std::exchange(stalled_, true)) {
        hub_.counters.output_stalls.fetch_add(1, std::memory_order_relaxed);
      }
      return;
    }
    stalled_ = false;
    if (run_.done() && !parse()) {
      if (finishing_ || end_seen_) {
        finishing_ = true;
        if (out_.empty()) linger();
        return;
      }
      // After a run there is often more; one try, so that no client keeps others from their turn.
      if (std::exchange(read_on_, false) && read()) continue;
      if (!closed_) wait_for_input();
      return;
    }
    execute();
  }
}

void Connection::wait_for_input() {
  if (waiting_input_) return;
  waiting_input_ = true;
  in_.shrink();
  stream_->wait_readable([self = shared_from_this()](std::error_code error) {
    MutexLock lock(self->mutex_);
    self->waiting_input_ = false;
    if (!self->closed_) self->readable(error);
  });
}

std::size_t Connection::capacity_wanted() const {
  if (wanted_ > kReadBytesMax) return static_cast<std::size_t>(wanted_);
  // More than that without a command is a long list of keys.
  if (in_.size() >= kReadBytesMax) return kKeysLineBytesMax + kReadBytesMax;
  return kReadBytesMax;
}

void Connection::readable(std::error_code error) {
  if (error) return close_locked();
  if (lingering_) return drain();
  if (finishing_) return;
  if (read()) return advance();
  if (!closed_) wait_for_input();
}

// False: nothing was there, or the client is gone.
bool Connection::read() {
  const auto room = in_.room(capacity_wanted());
  no_room_ = room.empty();
  if (no_room_) return true;
  std::error_code error;
  const std::size_t bytes = stream_->read(room, error);
  if (error) {
    if (!would_block(error)) close_locked();
    return false;
  }
  end_seen_ = bytes == 0;
  in_.filled(bytes);
  hub_.counters.bytes_read.fetch_add(bytes, std::memory_order_relaxed);
  last_moved_ = Clock::now();
  return true;
}

void Connection::skip(std::uint64_t bytes) {
  const auto here = std::min<std::uint64_t>(bytes, in_.size() - parsed_);
  parsed_ += static_cast<std::size_t>(here);
  skip_ = bytes - here;
}

bool Connection::parse() {
  in_.consume(parsed_);
  parsed_ = 0;
  run_.reset();
  skip(skip_);
  while (skip_ == 0 && run_.requests.size() < kRequestsPerRun) {
    const std::string_view bytes = in_.bytes().substr(parsed_);
    if (bytes.empty() || (bytes.size() < wanted_ && !no_room_)) break;
    Request request;
    const Parsed parsed = parse_request(bytes, limits_, request);
    if (parsed.state == Parsed::State::hopeless) {
      finishing_ = true;
      parsed_ = in_.size();
      break;
    }
    wanted_ = parsed.wanted;
    if (parsed.state == Parsed::State::incomplete) {
      if (!take_incomplete(request, parsed)) break;
      continue;
    }
    run_.requests.push_back(request);
    parsed_ += parsed.consumed;
    skip(parsed.skip);
  }
  no_room_ = false;
  if (run_.requests.empty()) {
    in_.consume(parsed_);
    parsed_ = 0;
    return false;
  }
  run_.received = Clock::now();
  return true;
}

// True: the command is refused, for want of memory, and was taken off the input.
bool Connection::take_incomplete(Request& request, const Parsed& parsed) {
  if (!no_room_ || !run_.requests.empty()) return false;
  no_room_ = false;
  if (parsed.wanted == 0) {
    finishing_ = true;
    parsed_ = in_.size();
    return false;
  }
  refuse_value(request, Verb::no_memory, kNoMemory);
  run_.requests.push_back(request);
  wanted_ = 0;
  const std::size_t line = in_.bytes().find('\n', parsed_) + 1 - parsed_;
  parsed_ += line;
  skip(parsed.wanted - line);
  return true;
}

void Connection::execute() {
  if (needs_no_cache(run_)) {
    Executor(hub_, session_, run_).execute(hub_.options.output_bytes_max);
    return executed();
  }
  executing_ = true;
  read_on_ = true;
  // Stores of many threads at once would only wait for each other, at every entry. One does them
  // all, unless each is to wait for a flush, which they share.
  const bool together = hub_.options.acknowledge == Acknowledge::buffered && only_stores(run_);
  (together ? hub_.writer : hub_.pool)->post([self = shared_from_this()] {
    self->execute_on_worker();
  });
}

void Connection::execute_on_worker() {
  Executor(hub_, session_, run_).execute(hub_.options.output_bytes_max);
  measure();
  MutexLock lock(mutex_);
  executing_ = false;
  executed();
  advance();
}

// Once for a run: it is what each of its commands has waited for.
void Connection::measure() {
  if (!run_.done()) return;
  const bool reads = std::ranges::all_of(run_.requests, only_reads);
  const auto ns = std::chrono::nanoseconds(Clock::now() - run_.received).count();
  Counters& counters = hub_.counters;
  (reads ? counters.get_latency : counters.write_latency).add(static_cast<std::uint64_t>(ns));
}

void Connection::executed() {
  hub_.counters.add(run_.counts);
  run_.counts = {};
  if (run_.close) {
    finishing_ = true;
    run_.next = run_.requests.size();
    parsed_ = in_.size();
  }
  if (closed_) return run_.replies.clear();
  out_.append(std::move(run_.replies));
  if (!waiting_output_) write();
}

void Connection::write() {
  while (!closed_ && !out_.empty()) {
    std::array<std::span<const std::byte>, kWritePieces> pieces;
    const std::size_t count = out_.front(pieces);
    std::error_code error;
    const std::size_t bytes = stream_->write(std::span(pieces).first(count), error);
    if (error && !would_block(error)) return close_locked();
    out_.consume(bytes);
    hub_.counters.bytes_written.fetch_add(bytes, std::memory_order_relaxed);
    if (bytes > 0) last_moved_ = Clock::now();
    if (!error) continue;
    if (!hold_output()) return close_locked();
    waiting_output_ = true;
    stream_->wait_writable([self = shared_from_this()](std::error_code failed) {
      MutexLock lock(self->mutex_);
      self->waiting_output_ = false;
      if (self->closed_) return;
      if (failed) return self->close_locked();
      self->write();
      self->advance();
    });
    return;
  }
  hub_.budget.give_back(std::exchange(held_, 0));
}

// Closing while there is something to read resets the connection, and the client loses replies that
// are still on their way. So it is told that nothing follows, and gets some time to close first.
void Connection::linger() {
  if (std::exchange(lingering_, true)) return;
  if (end_seen_ || lingered_locked(Clock::now())) return close_locked();
  stream_->end_writes();
  drain();
}

void Connection::drain() {
  in_.consume(in_.size());
  std::error_code error;
  const auto room = in_.room(kConnectionBufferMin);
  const std::size_t bytes = room.empty() ? 0 : stream_->read(room, error);
  if (error && !would_block(error)) return close_locked();
  if (!error && bytes == 0) return close_locked();
  wait_for_input();
}

// A client that takes its time must not hold the cache's memory for reading meanwhile, only its own
// share of the server's. False: there is none.
bool Connection::hold_output() {
  out_.own();
  const std::uint64_t wanted = out_.bytes();
  if (wanted > held_) {
    if (!hub_.budget.take(wanted - held_)) return false;
  } else {
    hub_.budget.give_back(held_ - wanted);
  }
  held_ = wanted;
  return true;
}

}  // namespace rawcache::server
