#include "cli/raw_io.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>

namespace rawcache::cli {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::uint64_t round_down(std::uint64_t n, std::uint64_t unit) { return n - n % unit; }
std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return round_down(n + unit - 1, unit);
}

}  // namespace

Nanoseconds now_ns() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<Nanoseconds>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

IoMemory::IoMemory(std::size_t bytes) : mapping_bytes_(bytes + kHugePageBytes) {
  mapping_ = ::mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    return;
  }
  const auto start = reinterpret_cast<std::uintptr_t>(mapping_);
  auto* aligned = static_cast<std::byte*>(mapping_) + (round_up(start, kHugePageBytes) - start);
  ::madvise(aligned, round_up(bytes, kHugePageBytes), MADV_HUGEPAGE);
  bytes_ = {aligned, bytes};
  std::mt19937_64 random(1);
  auto* words = reinterpret_cast<std::uint64_t*>(aligned);
  for (std::size_t i = 0; i < bytes / sizeof *words; ++i) words[i] = random();
}

IoMemory::~IoMemory() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapping_bytes_);
}

Result<Nanoseconds> write_through(Disk& disk, const Extent& where, const IoMemory& memory) {
  // One batch for each place in flight, always waiting for the oldest.
  std::array<IoBatch, kRawWritesInFlight> flights;
  const Nanoseconds start = now_ns();
  std::size_t turn = 0;
  Result<void> result;
  for (std::uint64_t at = where.offset; at < where.end() && result; at += kRawWriteBytes) {
    IoBatch& flight = flights[turn];
    disk.wait(flight, flight.under_way);
    for (const IoRequest& request : flight.requests) {
      if (request.os_error != 0)
        result = std::unexpected(Error(Errc::io_error, "write", request.os_error));
    }
    if (!result) break;
    const std::size_t size = std::min<std::uint64_t>(kRawWriteBytes, where.end() - at);
    std::byte* data = memory.bytes().data() + turn * kRawWriteBytes;
    flight.requests.assign(
        1, {.kind = IoRequest::Kind::write, .offset = at, .data = data, .size = size});
    result = disk.submit(flight);
    turn = (turn + 1) % flights.size();
  }
  for (IoBatch& flight : flights) {
    disk.wait(flight, flight.under_way);
    for (const IoRequest& request : flight.requests) {
      if (request.os_error != 0)
        result = std::unexpected(Error(Errc::io_error, "write", request.os_error));
    }
  }
  if (result) result = disk.sync();
  if (!result) return std::unexpected(result.error());
  return now_ns() - start;
}

Result<Nanoseconds> read_batches(Disk& disk, std::vector<IoBatch>& batches) {
  const Nanoseconds start = now_ns();
  for (IoBatch& batch : batches) {
    if (auto ran = disk.run(batch); !ran) return std::unexpected(ran.error());
  }
  return now_ns() - start;
}

std::vector<IoBatch> random_batches(const DiskInfo& info, const Extent& region,
                                    std::uint64_t read_bytes, std::size_t reads,
                                    std::size_t batches, const IoMemory& memory) {
  static std::mt19937_64 random(2);
  const std::uint64_t unit = info.io_alignment;
  const std::uint64_t stride = round_up(read_bytes, info.memory_alignment);
  std::uniform_int_distribution<std::uint64_t> place(0, (region.size - read_bytes) / unit);
  std::vector<IoBatch> result(batches);
  for (IoBatch& batch : result) {
    std::vector<std::uint64_t> offsets(reads);
    for (std::uint64_t& offset : offsets) {
      offset = round_up(region.offset, unit) + place(random) * unit;
    }
    std::sort(offsets.begin(), offsets.end());
    for (std::size_t i = 0; i < reads; ++i) {
      const std::size_t at = i * stride % (memory.bytes().size() - stride + 1);
      batch.requests.push_back(
          {.offset = offsets[i],
           .data = memory.bytes().data() + round_down(at, info.memory_alignment),
           .size = read_bytes});
    }
  }
  return result;
}

std::vector<IoBatch> run_batches(const DiskInfo& info, const Extent& region,
                                 std::uint64_t run_bytes, std::uint64_t piece_bytes,
                                 std::size_t batches, const IoMemory& memory) {
  static std::mt19937_64 random(3);
  const std::uint64_t unit = info.io_alignment;
  const std::uint64_t run = std::min(
      round_up(run_bytes, unit), round_down(std::min(region.size, memory.bytes().size()), unit));
  std::uniform_int_distribution<std::uint64_t> place(0, (region.size - run) / unit);
  std::vector<IoBatch> result(batches);
  for (IoBatch& batch : result) {
    const std::uint64_t start = round_up(region.offset, unit) + place(random) * unit;
    for (std::uint64_t at = 0; at < run; at += piece_bytes) {
      batch.requests.push_back({.offset = start + at,
                                .data = memory.bytes().data() + at,
                                .size = std::min(piece_bytes, run - at)});
    }
  }
  return result;
}

}  // namespace rawcache::cli
