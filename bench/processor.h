// The processor on which one thread waits for the device.
#pragma once

#include <sched.h>

#include <optional>
#include <string>

namespace rawcache::bench {

/// A device tells of the end of I/O on one processor, and a thread that waits on another one has to
/// be woken there, which can take as long as the read. Where a thread comes to run is chance, and
/// would decide between two stores.
struct Processor {
  int number = 0;
  double read_us = 0;          ///< what a single read takes there
  double slowest_read_us = 0;  ///< ... and on the worst of the others
};

/// The one of those that this process may use on which single reads of the folder's device take
/// least. Nothing if none is clearly nearer than another, or the device cannot be asked.
std::optional<Processor> nearest_processor(const std::string& folder);

/// Keeps the calling thread on a processor, if there is one, for as long as this lives. Threads
/// that it has made before stay where they are.
class OnProcessor {
 public:
  explicit OnProcessor(const std::optional<Processor>& processor);
  ~OnProcessor();
  OnProcessor(const OnProcessor&) = delete;
  OnProcessor& operator=(const OnProcessor&) = delete;

 private:
  cpu_set_t before_{};
  bool moved_ = false;
};

}  // namespace rawcache::bench
