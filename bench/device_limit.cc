// The device's limit: the same patterns of reads and writes with nothing but system calls. No
// index, no checksums, no copies: what any engine that moves the same bytes can reach at most.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>

#include "bench/engine.h"
#include "bench/meter.h"

namespace rawcache::bench {

namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kWriteBytes = std::uint64_t{1} << 20;
constexpr unsigned kWritesInFlight = 4;
/// Reads of neighbours are merged up to this size.
constexpr std::uint64_t kMergedBytesMax = std::uint64_t{512} << 10;
constexpr std::uint64_t kArenaBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kWriteMemoryBytes = std::uint64_t{16} << 20;
constexpr std::array<unsigned, 6> kDepths{4, 8, 16, 32, 64, 128};
constexpr std::uint64_t kTrialNs = 30'000'000;
/// What stands beside a value of rawcache's on the disk: header and key.
constexpr std::uint64_t kEntryHeadBytes = 24 + Key::kBytes;

std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) { return (n + unit - 1) / unit * unit; }

void check(bool ok, const char* what, int error = errno) {
  if (!ok) fail(std::string("limit: ") + what, std::strerror(error));
}

/// Memory for I/O on huge pages, so that a large read is one piece to the device.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : mapped_bytes_(bytes + kHugePageBytes) {
    mapping_ = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(mapping_ != MAP_FAILED, "mmap");
    const auto start = reinterpret_cast<std::uintptr_t>(mapping_);
    data_ = static_cast<std::byte*>(mapping_) + (round_up(start, kHugePageBytes) - start);
    ::madvise(data_, bytes, MADV_HUGEPAGE);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { ::munmap(mapping_, mapped_bytes_); }
  std::byte* data() const { return data_; }

 private:
  std::size_t mapped_bytes_;
  void* mapping_ = nullptr;
  std::byte* data_ = nullptr;
};

/// One io_uring, with a piece of memory for each request in flight.
class Ring {
 public:
  explicit Ring(unsigned depth) {
    const int error = ::io_uring_queue_init(depth, &ring_, 0);
    check(error == 0, "io_uring", -error);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { ::io_uring_queue_exit(&ring_); }

  io_uring_sqe* entry() { return ::io_uring_get_sqe(&ring_); }
  void submit() { check(::io_uring_submit(&ring_) >= 0, "submit"); }
  /// Waits for one completion; returns the number it was submitted with.
  std::uint64_t wait() {
    io_uring_cqe* completion = nullptr;
    const int error = ::io_uring_submit_and_wait(&ring_, 1);
    check(error >= 0, "wait", -error);
    check(::io_uring_peek_cqe(&ring_, &completion) == 0, "peek");
    check(completion->res > 0, "read or write", -completion->res);
    const std::uint64_t number = completion->user_data;
    ::io_uring_cqe_seen(&ring_, completion);
    return number;
  }

 private:
  io_uring ring_{};
};

struct Range {
  std::uint64_t offset = 0, size = 0;
  std::uint64_t end() const { return offset + size; }
};

/// What a thread reads with.
struct Reader {
  Ring ring{kDepths.back()};
  Arena arena{kArenaBytes};
};

class LimitEngine final : public Engine {
 public:
  explicit LimitEngine(bool aligned) : aligned_(aligned) {
    Random random(1);
    for (std::size_t at = 0; at < kWriteMemoryBytes; at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random.next();
      std::memcpy(write_memory_.data() + at, &word, sizeof word);
    }
  }

  void open(const Settings& settings) override {
    stride_ = aligned_ ? round_up(settings.value_bytes,
                                  settings.value_bytes < kPageBytes ? kSectorBytes : kPageBytes)
                       : settings.value_bytes + kEntryHeadBytes;
    entry_bytes_ = settings.value_bytes + Key::kBytes;
    entries_ = settings.entries;
    file_bytes_ = round_up(entries_ * stride_ + kPageBytes, kWriteBytes);
    const std::string path = settings.folder + "/raw.img";
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    if (file_ < 0 && errno == EINVAL) {
      file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    check(file_ >= 0, "open");
    const off_t size = ::lseek(file_, 0, SEEK_END);
    if (static_cast<std::uint64_t>(size) < file_bytes_) fill();
  }

  void close() override { ::close(file_); }

  void put_batch(std::span<const Entry> entries) override {
    for (pending_bytes_ += entries.size() * entry_bytes_; pending_bytes_ >= kWriteBytes;
         pending_bytes_ -= kWriteBytes) {
      write_piece(kWriteBytes);
    }
  }

  void flush() override {
    if (pending_bytes_ > 0) write_piece(round_up(pending_bytes_, kPageBytes));
    pending_bytes_ = 0;
    for (; writes_under_way_ > 0; --writes_under_way_) write_ring_.wait();
    check(::fdatasync(file_) == 0, "fdatasync");
  }

  /// Whoever comes first writes and syncs for all that wait.
  void put_durable(const Entry&) override {
    std::unique_lock lock(mutex_);
    const std::uint64_t ticket = ++tickets_;
    while (durable_ < ticket) {
      if (leading_) {
        turned_.wait(lock);
        continue;
      }
      leading_ = true;
      const std::uint64_t last = tickets_;
      const std::uint64_t size = std::min(
          {round_up((last - durable_) * entry_bytes_, kPageBytes), kWriteMemoryBytes, file_bytes_});
      if (at_ + size > file_bytes_) at_ = 0;
      const Range range{at_, size};
      at_ = range.end();
      lock.unlock();
      check(::pwrite(file_, write_memory_.data(), range.size, static_cast<off_t>(range.offset)) > 0,
            "pwrite");
      check(::fdatasync(file_) == 0, "fdatasync");
      lock.lock();
      durable_ = last;
      leading_ = false;
      turned_.notify_all();
    }
  }

  void get(const Key& key, Sink& sink) override {
    const Range range = range_of(key);
    check(::pread(file_, reader().arena.data(), range.size, static_cast<off_t>(range.offset)) ==
              static_cast<ssize_t>(range.size),
          "pread");
    sink.take_unchecked(1);
  }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    // All the threads of a phase read alike, so the first one finds the depth for all.
    std::call_once(depth_chosen_, [&] { choose_depth(keys.size()); });
    read(ranges_of(keys), depth_);
    sink.take_unchecked(keys.size());
  }

 private:
  Range range_of(const Key& key) const {
    const std::uint64_t start = key.number() * stride_;
    const std::uint64_t offset = start / kSectorBytes * kSectorBytes;
    return {offset, round_up(start + stride_, kSectorBytes) - offset};
  }

  /// Sorted by place, neighbours merged.
  std::vector<Range> ranges_of(std::span<const Key> keys) const {
    std::vector<Range> ranges;
    for (const Key& key : keys) ranges.push_back(range_of(key));
    std::ranges::sort(ranges, {}, &Range::offset);
    std::size_t kept = 0;
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      Range& last = ranges[kept];
      if (ranges[i].offset <= last.end() && ranges[i].end() - last.offset <= kMergedBytesMax) {
        last.size = std::max(last.end(), ranges[i].end()) - last.offset;
      } else {
        ranges[++kept] = ranges[i];
      }
    }
    if (!ranges.empty()) ranges.resize(kept + 1);
    return ranges;
  }

  static Reader& reader() {
    thread_local Reader reader;
    return reader;
  }

  void read(const std::vector<Range>& ranges, unsigned depth) const {
    std::uint64_t slot_bytes = 0;
    for (const Range& range : ranges) slot_bytes = std::max(slot_bytes, range.size);
    slot_bytes = round_up(slot_bytes, kPageBytes);
    const std::uint64_t slots = std::clamp<std::uint64_t>(kArenaBytes / slot_bytes, 1, depth);
    Reader& own = reader();
    std::vector<std::uint64_t> free_slots;
    for (std::uint64_t i = 0; i < slots; ++i) free_slots.push_back(i);
    for (std::size_t next = 0; next < ranges.size() || free_slots.size() < slots;) {
      for (; next < ranges.size() && !free_slots.empty(); ++next) {
        const std::uint64_t slot = free_slots.back();
        free_slots.pop_back();
        io_uring_sqe* entry = own.ring.entry();
        ::io_uring_prep_read(entry, file_, own.arena.data() + slot * slot_bytes,
                             static_cast<unsigned>(ranges[next].size), ranges[next].offset);
        entry->user_data = slot;
      }
      free_slots.push_back(own.ring.wait());
    }
  }

  void choose_depth(std::size_t keys_at_once) {
    Random random(7);
    double best = 0;
    for (const unsigned depth : kDepths) {
      const std::uint64_t start = now_ns();
      std::uint64_t batches = 0;
      for (; batches < 2 || now_ns() - start < kTrialNs; ++batches) {
        std::vector<Key> keys;
        for (std::size_t i = 0; i < keys_at_once; ++i) keys.emplace_back(random.below(entries_));
        read(ranges_of(keys), depth);
      }
      const double rate = static_cast<double>(batches) / static_cast<double>(now_ns() - start);
      if (rate > best) depth_ = depth;
      best = std::max(best, rate);
    }
  }

  void write_piece(std::uint64_t size) {
    if (writes_under_way_ == kWritesInFlight) {
      write_ring_.wait();
      --writes_under_way_;
    }
    if (at_ + size > file_bytes_) at_ = 0;
    io_uring_sqe* entry = write_ring_.entry();
    ::io_uring_prep_write(entry, file_,
                          write_memory_.data() + at_ % kWriteMemoryBytes / size * size,
                          static_cast<unsigned>(size), at_);
    write_ring_.submit();
    at_ += size;
    ++writes_under_way_;
  }

  /// Writes the file once, so that no later write waits for the file system.
  void fill() {
    for (std::uint64_t at = 0; at < file_bytes_; at += kWriteBytes) write_piece(kWriteBytes);
    flush();
    at_ = 0;
  }

  bool aligned_;
  std::uint64_t stride_ = 0, entry_bytes_ = 0, entries_ = 0, file_bytes_ = 0;
  int file_ = -1;

  // put_batch, by one thread.
  std::uint64_t pending_bytes_ = 0, at_ = 0;
  Ring write_ring_{kWritesInFlight};
  Arena write_memory_{kWriteMemoryBytes};
  unsigned writes_under_way_ = 0;

  std::once_flag depth_chosen_;
  unsigned depth_ = kDepths.back();

  // put_durable.
  std::mutex mutex_;
  std::condition_variable turned_;
  std::uint64_t tickets_ = 0, durable_ = 0;
  bool leading_ = false;
};

EngineKind kind(const char* name, const char* description, bool aligned) {
  return {.name = name,
          .description = description,
          .role = EngineKind::Role::limit,
          .writes = !aligned,
          .caches = false,
          .make = [aligned] { return std::make_unique<LimitEngine>(aligned); }};
}

}  // namespace

void add_device_limit(std::vector<EngineKind>& kinds) {
  kinds.push_back(kind("limit",
                       "system calls only: writes of 1 MiB, 4 in flight; reads as long and as "
                       "aligned as rawcache's entries, batches at the best depth",
                       false));
  kinds.push_back(kind("limit-aligned", "the same, every value in pages of its own", true));
}

}  // namespace rawcache::bench
