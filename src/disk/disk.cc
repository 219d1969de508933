// The gate of Disk: every request is checked and counted here, whoever implements the disk.
#include "rawcache/disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"

namespace rawcache {

namespace {

std::string describe(const DiskInfo& info, const IoRequest& request) {
  std::string text = request.kind == IoRequest::Kind::read ? "read of " : "write of ";
  text.append(std::to_string(request.size)).append(" bytes at ");
  text.append(std::to_string(request.offset));
  if (!info.path.empty()) text.append(" of ").append(info.path);
  return text;
}

/// What is wrong with the request; null if nothing.
const char* fault_of(const DiskInfo& info, const IoRequest& request) {
  if (request.size == 0) return "empty";
  const bool aligned = is_aligned(request.offset, info.io_alignment);
  if (!aligned && !mutated(Mutant::kUnalignedAccepted)) return "offset not aligned";
  if (!is_aligned(request.size, info.io_alignment)) return "size not aligned";
  if (request.offset > info.size_bytes || request.size > info.size_bytes - request.offset) {
    return "outside the disk";
  }
  if (request.data == nullptr) return "no memory";
  return nullptr;
}

bool is_memory_aligned(const DiskInfo& info, const void* data) {
  return is_aligned(reinterpret_cast<std::uintptr_t>(data), info.memory_alignment);
}

Result<void> check(const DiskInfo& info, const IoRequest& request) {
  const char* fault = fault_of(info, request);
  if (fault == nullptr && !is_memory_aligned(info, request.data)) fault = "memory not aligned";
  if (fault == nullptr) return {};
  return std::unexpected(Error(Errc::invalid_io, describe(info, request) + ": " + fault));
}

Error failure_of(const DiskInfo& info, const IoRequest& request) {
  const bool full = request.os_error == ENOSPC || request.os_error == EDQUOT;
  return {full ? Errc::no_space : Errc::io_error, describe(info, request), request.os_error};
}

}  // namespace

Result<void> Disk::submit(IoBatch& batch) {
  RAWCACHE_ASSERT(batch.under_way == 0);
  const DiskInfo& disk = info();
  for (const IoRequest& request : batch.requests) {
    if (Result<void> checked = check(disk, request); !checked) return checked;
  }
  std::uint64_t reads = 0, read_bytes = 0, writes = 0, written_bytes = 0;
  for (IoRequest& request : batch.requests) {
    request.done = false;
    request.os_error = 0;
    const bool read = request.kind == IoRequest::Kind::read;
    ++(read ? reads : writes);
    (read ? read_bytes : written_bytes) += request.size;
  }
  if (reads != 0) {
    reads_.fetch_add(reads, std::memory_order_relaxed);
    read_bytes_.fetch_add(read_bytes, std::memory_order_relaxed);
  }
  if (writes != 0) {
    writes_.fetch_add(writes, std::memory_order_relaxed);
    written_bytes_.fetch_add(written_bytes, std::memory_order_relaxed);
  }
  if (batch.requests.empty()) return {};

  do_submit(batch);
  if (batch.under_way == 0) finish(batch);
  return {};
}

std::size_t Disk::wait(IoBatch& batch, std::size_t at_least) {
  if (batch.under_way == 0) return 0;
  do_wait(batch, std::min(at_least, batch.under_way));
  if (batch.under_way == 0) finish(batch);
  return batch.under_way;
}

void Disk::finish(IoBatch& batch) {
  batch.engine_state.reset();
  const auto failed = std::count_if(batch.requests.begin(), batch.requests.end(),
                                    [](const IoRequest& r) { return r.os_error != 0; });
  if (failed != 0) {
    errors_.fetch_add(static_cast<std::uint64_t>(failed), std::memory_order_relaxed);
  }
}

Result<void> Disk::run(IoBatch& batch) {
  if (Result<void> started = submit(batch); !started) return started;
  wait(batch, batch.under_way);
  for (const IoRequest& request : batch.requests) {
    if (request.os_error != 0) return std::unexpected(failure_of(info(), request));
  }
  return {};
}

Error Disk::sync_failure(int os_error) const {
  return {Errc::sync_failed, info().path.empty() ? "sync" : "sync of " + info().path, os_error};
}

Result<void> Disk::sync() {
  syncs_.fetch_add(1, std::memory_order_relaxed);
  const int error = do_sync();
  if (error == 0) return {};
  errors_.fetch_add(1, std::memory_order_relaxed);
  return std::unexpected(sync_failure(error));
}

void Disk::start_sync(IoBatch& batch) {
  RAWCACHE_ASSERT(batch.under_way == 0);
  batch.requests.assign(1, {.kind = IoRequest::Kind::sync});
  syncs_.fetch_add(1, std::memory_order_relaxed);
  do_start_sync(batch);
  if (batch.under_way == 0) finish(batch);
}

Result<void> Disk::finish_sync(IoBatch& batch) {
  wait(batch, batch.under_way);
  const int error = batch.requests.front().os_error;
  if (error == 0) return {};
  return std::unexpected(sync_failure(error));
}

void Disk::do_start_sync(IoBatch& batch) {
  IoRequest& request = batch.requests.front();
  request.os_error = do_sync();
  request.done = true;
}

Result<void> Disk::run_one(IoRequest request) {
  if (Result<void> checked = check(info(), request); !checked) return checked;
  if (!do_one(request)) {
    IoBatch batch;
    batch.requests.push_back(request);
    return run(batch);
  }
  const bool read = request.kind == IoRequest::Kind::read;
  (read ? reads_ : writes_).fetch_add(1, std::memory_order_relaxed);
  (read ? read_bytes_ : written_bytes_).fetch_add(request.size, std::memory_order_relaxed);
  if (request.os_error == 0) return {};
  errors_.fetch_add(1, std::memory_order_relaxed);
  return std::unexpected(failure_of(info(), request));
}

Result<void> Disk::read(std::uint64_t offset, std::span<std::byte> into) {
  IoRequest request{
      .kind = IoRequest::Kind::read, .offset = offset, .data = into.data(), .size = into.size()};
  if (is_memory_aligned(info(), into.data()) || fault_of(info(), request) != nullptr) {
    return run_one(request);
  }
  AlignedBuffer bounce = AlignedBuffer::allocate(into.size());
  if (bounce.empty()) {
    return std::unexpected(Error(Errc::out_of_memory, describe(info(), request)));
  }
  request.data = bounce.data();
  if (Result<void> ran = run_one(request); !ran) return ran;
  if (mutated(Mutant::kBounceNotCopied)) return {};
  std::memcpy(into.data(), bounce.data(), into.size());
  return {};
}

Result<void> Disk::write(std::uint64_t offset, std::span<const std::byte> from) {
  // Engines do not write to the memory of a write request.
  IoRequest request{.kind = IoRequest::Kind::write,
                    .offset = offset,
                    .data = const_cast<std::byte*>(from.data()),
                    .size = from.size()};
  if (is_memory_aligned(info(), from.data()) || fault_of(info(), request) != nullptr) {
    return run_one(request);
  }
  AlignedBuffer bounce = AlignedBuffer::allocate(from.size());
  if (bounce.empty()) {
    return std::unexpected(Error(Errc::out_of_memory, describe(info(), request)));
  }
  std::memcpy(bounce.data(), from.data(), from.size());
  request.data = bounce.data();
  return run_one(request);
}

DiskCounters Disk::counters() const {
  DiskCounters counters;
  counters.reads = reads_.load(std::memory_order_relaxed);
  counters.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  counters.writes = writes_.load(std::memory_order_relaxed);
  counters.written_bytes = written_bytes_.load(std::memory_order_relaxed);
  counters.syncs = syncs_.load(std::memory_order_relaxed);
  counters.errors = errors_.load(std::memory_order_relaxed);
  return counters;
}

}  // namespace rawcache
