// What the threads do: many lookups as one lookup_batch, many writes under one commit.
#include <algorithm>
#include <string_view>

#include "async/async_impl.h"

namespace rawcache {
namespace {

using detail::Call;

std::vector<Call*> pointers(std::span<const std::shared_ptr<Call>> calls) {
  std::vector<Call*> result;
  result.reserve(calls.size());
  for (const auto& call : calls) result.push_back(call.get());
  return result;
}

bool lacked_memory(const Result<Value>& result) {
  return !result && result.error() == Errc::out_of_memory;
}

bool lacked_memory(const Call& call) {
  switch (call.verb) {
    case Verb::lookup:
    case Verb::lookup_or_load:
      return lacked_memory(*static_cast<const LookupCall&>(call).result);
    case Verb::lookup_batch:
      return std::ranges::any_of(*static_cast<const BatchCall&>(call).result,
                                 [](const auto& result) { return lacked_memory(result); });
    default:
      return false;
  }
}

}  // namespace

// --- Reading ---

void RawDiskCache::Async::read(Calls calls) {
  Calls ended, begun, again;
  for (auto& call : calls) {
    if (call->is_abandoned()) {
      ended_.add();  // need not be read
    } else if (call->has_result()) {
      ended.push_back(std::move(call));
    } else {
      begun.push_back(std::move(call));
    }
  }
  deliver(std::move(ended));
  carry_out_reads(pointers(begun));
  // What does not fit into memory beside others may fit alone, when those have been handed over.
  if (begun.size() > 1) {
    Calls fitted;
    for (auto& call : begun) (lacked_memory(*call) ? again : fitted).push_back(std::move(call));
    begun = std::move(fitted);
  }
  end_reads(std::move(begun));
  for (const auto& call : again) {
    Call* const alone[] = {call.get()};
    carry_out_reads(alone);
    end_reads({call});
  }
}

void RawDiskCache::Async::end_reads(Calls calls) {
  std::erase_if(calls, [this](const auto& call) {
    return call->verb == Verb::lookup_or_load &&
           !begin_load(std::static_pointer_cast<LoadCall>(call));
  });
  deliver(std::move(calls));
}

void RawDiskCache::Async::carry_out_reads(std::span<Call* const> calls) {
  std::vector<Call*> contains, lookups;
  for (Call* const call : calls) {
    (call->verb == Verb::contains ? contains : lookups).push_back(call);
  }
  carry_out_contains(contains);
  carry_out_lookups(lookups);
}

void RawDiskCache::Async::carry_out_lookups(std::span<Call* const> calls) {
  if (calls.empty()) return;
  if (calls.size() == 1 && calls[0]->verb == Verb::lookup) {
    static_cast<LookupCall&>(*calls[0]).result = impl_.lookup(calls[0]->key);
    return;
  }
  std::vector<std::string_view> keys;
  keys.reserve(calls.size());
  for (const Call* const call : calls) {
    if (call->verb == Verb::lookup_batch) {
      const auto& wanted = static_cast<const BatchCall&>(*call).keys;
      keys.insert(keys.end(), wanted.begin(), wanted.end());
    } else {
      keys.push_back(call->key);
    }
  }
  std::vector<Result<Value>> results = impl_.lookup_batch(keys);
  auto next = results.begin();
  for (Call* const call : calls) {
    if (call->verb == Verb::lookup_batch) {
      auto& batch = static_cast<BatchCall&>(*call);
      const auto end = next + std::ssize(batch.keys);
      batch.result.emplace(std::move_iterator(next), std::move_iterator(end));
      next = end;
    } else {
      static_cast<LookupCall&>(*call).result = std::move(*next++);
    }
  }
}

void RawDiskCache::Async::carry_out_contains(std::span<Call* const> calls) {
  if (calls.empty()) return;
  std::vector<std::string_view> keys;
  for (const Call* const call : calls) keys.push_back(call->key);
  const std::vector<Result<Value>> results = impl_.find_values(keys);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    auto& result = static_cast<ContainsCall&>(*calls[i]).result;
    if (results[i] || results[i].error() == Errc::not_found) {
      result.emplace(results[i].has_value());
    } else {
      result.emplace(std::unexpected(results[i].error()));
    }
  }
}

// --- Writing ---

void RawDiskCache::Async::write(Calls calls) {
  std::span<const std::shared_ptr<Call>> left = calls;
  while (!left.empty()) {
    std::size_t done = 0;
    if (left.front()->verb == Verb::lookup_or_load) {
      std::vector<std::shared_ptr<LoadCall>> loads;
      while (done < left.size() && left[done]->verb == Verb::lookup_or_load) {
        loads.push_back(std::static_pointer_cast<LoadCall>(left[done++]));
      }
      land(loads);
    } else {
      done = carry_out_writes(pointers(left));
    }
    deliver(Calls(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(done)));
    left = left.subspan(done);
  }
}

std::size_t RawDiskCache::Async::carry_out_writes(std::span<Call* const> calls) {
  std::size_t writes = 0;
  while (writes < calls.size() && is_entry_write(calls[writes]->verb)) ++writes;
  if (writes > 0) {
    carry_out_entry_writes(calls.first(writes));
    return writes;
  }
  carry_out_alone(*calls.front());
  return 1;
}

void RawDiskCache::Async::carry_out_alone(Call& call) {
  const auto plain = [&]() -> auto& { return static_cast<PlainCall&>(call).result; };
  switch (call.verb) {
    case Verb::update:
    case Verb::update_buffered: {
      auto& update = static_cast<UpdateCall&>(call);
      const Updater updater = std::move(update.updater);  // must not outlive what it ends
      update.result = impl_.update(call.key, updater, call.verb == Verb::update);
      break;
    }
    case Verb::touch:
    case Verb::touch_buffered:
      plain() = impl_.touch(call.key, static_cast<TouchCall&>(call).ttl, call.verb == Verb::touch);
      break;
    case Verb::flush_writes:
      static_cast<FlushCall&>(call).result = impl_.flush_writes();
      break;
    case Verb::clear:
      plain() = impl_.clear();
      break;
    case Verb::clear_at:
      plain() = impl_.clear_at(static_cast<ClearAtCall&>(call).unix_seconds);
      break;
    case Verb::maintain:
      plain() = impl_.maintain();
      break;
    case Verb::train_dictionary:
      plain() = impl_.train_dictionary();
      break;
    default:
      plain() = impl_.for_each_key(static_cast<VisitCall&>(call).each);
      break;
  }
}

void RawDiskCache::Async::carry_out_entry_writes(std::span<Call* const> calls) {
  std::vector<Impl::WriteCall> writes;
  writes.reserve(calls.size());
  for (const Call* const call : calls) {
    const auto& write = static_cast<const WriteCall&>(*call);
    const bool durable = call->verb == Verb::store || call->verb == Verb::remove;
    const bool value = call->verb == Verb::store || call->verb == Verb::store_buffered;
    writes.push_back(
        value ? Impl::store_call(call->key, write.value.bytes(), write.options, durable)
              : Impl::WriteCall{
                    .kind = EntryKind::remove, .key = call->key, .value = {}, .durable = durable});
  }
  std::vector<Result<void>> results = impl_.write_group(writes);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    static_cast<WriteCall&>(*calls[i]).result = std::move(results[i]);
  }
}

// --- The rest ---

void RawDiskCache::Async::do_the_rest(Calls calls) {
  for (const auto& call : calls) {
    carry_out_alone(*call);
    deliver({call});
  }
}

}  // namespace rawcache
