// Traces of requests to a cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rawcache/result.h"

namespace rawcache::cli {

struct Trace {
  std::string name;
  std::vector<std::uint32_t> sizes;     ///< of each object, bytes; 1 if it is not known
  std::vector<std::uint32_t> requests;  ///< objects, in order
  bool unit_sizes = true;               ///< every size is 1
  std::uint64_t footprint() const;      ///< sum of the sizes
};

/// Reads a trace: ".rct", ".oracleGeneral" or ".csv" (time, object, size), each also with ".zst".
/// Errors: no_such_file, invalid_options (not such a trace), out_of_memory, io_error.
Result<Trace> read_trace(const std::string& path);

}  // namespace rawcache::cli
