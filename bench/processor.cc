#include "bench/processor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "bench/engine.h"
#include "bench/meter.h"
#include "bench/statistics.h"
#include "bench/workload.h"

namespace rawcache::bench {

namespace {

constexpr std::size_t kFileBytes = std::size_t{16} << 20;
constexpr std::size_t kReadBytes = 4096;
constexpr std::size_t kWriteBytes = std::size_t{1} << 20;
constexpr int kProcessorsMax = 16;  ///< so many are tried
constexpr int kRounds = 5;
constexpr int kReadsPerRound = 200;
/// Where the others are not slower by this factor no processor is nearer than they, and where a
/// read takes less than this there is no device to wait for.
constexpr double kSlowerElsewhere = 1.15;
constexpr double kReadUsMin = 5;

/// A file without a name, past the page cache.
class ProbeFile {
 public:
  explicit ProbeFile(const std::string& folder) {
    file_ = ::open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC | O_DIRECT, 0600);
    memory_.reset(std::aligned_alloc(kReadBytes, kWriteBytes));
    usable_ = file_ >= 0 && memory_;
    if (usable_) std::fill_n(static_cast<char*>(memory_.get()), kWriteBytes, 'x');
    for (std::size_t at = 0; at < kFileBytes && usable_; at += kWriteBytes) {
      usable_ = ::pwrite(file_, memory_.get(), kWriteBytes, static_cast<off_t>(at)) == kWriteBytes;
    }
    usable_ = usable_ && ::fdatasync(file_) == 0;
  }
  ~ProbeFile() {
    if (file_ >= 0) ::close(file_);
  }
  ProbeFile(const ProbeFile&) = delete;
  ProbeFile& operator=(const ProbeFile&) = delete;

  bool usable() const { return usable_; }

  /// Microseconds of the middle one of so many reads.
  double read_us(Random& random, int reads) const {
    std::vector<double> took;
    for (int i = 0; i < reads; ++i) {
      const auto at = static_cast<off_t>(random.below(kFileBytes / kReadBytes) * kReadBytes);
      const std::uint64_t start = now_ns();
      if (::pread(file_, memory_.get(), kReadBytes, at) != kReadBytes) break;
      took.push_back(static_cast<double>(now_ns() - start) / 1e3);
    }
    return took.empty() ? 0 : median(std::move(took));
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  int file_ = -1;
  std::unique_ptr<void, Free> memory_;
  bool usable_ = true;
};

}  // namespace

std::optional<Processor> nearest_processor(const std::string& folder) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return std::nullopt;
  std::vector<Processor> processors;
  for (int i = 0; i < CPU_SETSIZE && processors.size() < kProcessorsMax; ++i) {
    if (CPU_ISSET(i, &allowed)) processors.push_back({.number = i});
  }
  if (processors.size() < 2) return std::nullopt;
  const ProbeFile file(folder);
  if (!file.usable()) return std::nullopt;

  Random random(11);
  std::vector<std::vector<double>> medians(processors.size());
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < processors.size(); ++i) {
      const OnProcessor here(processors[i]);
      medians[i].push_back(file.read_us(random, kReadsPerRound));
    }
  }
  for (std::size_t i = 0; i < processors.size(); ++i) {
    processors[i].read_us = median(std::move(medians[i]));
  }
  const auto [best, worst] = std::ranges::minmax_element(processors, {}, &Processor::read_us);
  Processor nearest = *best;
  nearest.slowest_read_us = worst->read_us;
  if (nearest.read_us < kReadUsMin || worst->read_us < kSlowerElsewhere * nearest.read_us) {
    return std::nullopt;
  }
  return nearest;
}

OnProcessor::OnProcessor(const std::optional<Processor>& processor) {
  if (!processor) return;
  if (::sched_getaffinity(0, sizeof before_, &before_) != 0) {
    fail("sched_getaffinity", std::strerror(errno));
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor->number, &one);
  moved_ = ::sched_setaffinity(0, sizeof one, &one) == 0;
  if (!moved_) fail("sched_setaffinity", std::strerror(errno));
}

OnProcessor::~OnProcessor() {
  if (moved_) ::sched_setaffinity(0, sizeof before_, &before_);
}

}  // namespace rawcache::bench
