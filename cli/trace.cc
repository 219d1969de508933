#include "cli/trace.h"

#include <zstd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <string_view>
#include <unordered_map>

namespace rawcache::cli {
namespace {

constexpr std::string_view kPackMagic = "RCTRACE1";
/// A trace that unpacks to more is refused.
constexpr std::size_t kTraceBytesMax = std::size_t{8} << 30;

Error not_a_trace(const std::string& path, const char* why) {
  return {Errc::invalid_options, path + ": " + why};
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(Error(Errc::no_such_file, path));
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) return std::unexpected(Error(Errc::io_error, path));
  return bytes;
}

Result<std::string> unpack(const std::string& path, const std::string& packed) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          &ZSTD_freeDStream);
  if (!stream) return std::unexpected(Error(Errc::out_of_memory, "unpacking a trace"));
  std::string bytes;
  std::string piece(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::size_t left = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(left)) return std::unexpected(not_a_trace(path, "not zstd"));
    bytes.append(piece, 0, out.pos);
    if (bytes.size() > kTraceBytesMax) return std::unexpected(not_a_trace(path, "too large"));
  }
  if (left != 0) return std::unexpected(not_a_trace(path, "cut off"));
  return bytes;
}

/// Numbers objects in the order of their first use; a size is that of the first use.
class Numbering {
 public:
  explicit Numbering(Trace& trace) : trace_(trace) {}
  void add(std::uint64_t object, std::uint32_t size) {
    const auto [place, added] =
        numbers_.try_emplace(object, static_cast<std::uint32_t>(trace_.sizes.size()));
    if (added) trace_.sizes.push_back(std::max(size, std::uint32_t{1}));
    trace_.requests.push_back(place->second);
  }

 private:
  Trace& trace_;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers_;
};

bool read_pack(std::string_view bytes, Trace& trace) {
  std::uint64_t counts[2];
  const std::size_t head = kPackMagic.size() + sizeof(counts);
  if (bytes.size() < head || !bytes.starts_with(kPackMagic)) return false;
  std::memcpy(counts, bytes.data() + kPackMagic.size(), sizeof(counts));
  const std::uint64_t words = (bytes.size() - head) / sizeof(std::uint32_t);
  if (counts[0] > words || counts[1] != words - counts[0]) return false;
  trace.requests.resize(counts[0]);
  trace.sizes.resize(counts[1]);
  const std::size_t sizes_bytes = trace.sizes.size() * sizeof(std::uint32_t);
  std::memcpy(trace.sizes.data(), bytes.data() + head, sizes_bytes);
  std::memcpy(trace.requests.data(), bytes.data() + head + sizes_bytes,
              trace.requests.size() * sizeof(std::uint32_t));
  return std::ranges::all_of(trace.requests,
                             [&](std::uint32_t object) { return object < trace.sizes.size(); });
}

/// libCacheSim's: time (u32), object (u64), size (u32), next access (i64), packed.
bool read_oracle_general(std::string_view bytes, Trace& trace) {
  constexpr std::size_t kRecordBytes = 24;
  if (bytes.empty() || bytes.size() % kRecordBytes != 0) return false;
  Numbering numbering(trace);
  for (std::size_t at = 0; at < bytes.size(); at += kRecordBytes) {
    std::uint64_t object = 0;
    std::uint32_t size = 0;
    std::memcpy(&object, bytes.data() + at + 4, sizeof(object));
    std::memcpy(&size, bytes.data() + at + 12, sizeof(size));
    numbering.add(object, size);
  }
  return true;
}

/// Lines of time, object, size; the object is a number or any text. A first line that has no number
/// as its size is a heading.
bool read_csv(std::string_view bytes, Trace& trace) {
  Numbering numbering(trace);
  bool first = true;
  while (!bytes.empty()) {
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    bytes.remove_prefix(std::min(bytes.size(), line.size() + 1));
    const bool heading = std::exchange(first, false);
    const std::size_t one = line.find(',');
    if (line.empty()) continue;
    if (one == line.npos) return false;
    const std::size_t two = line.find(',', one + 1);
    std::uint32_t size = 1;
    if (two != line.npos) {
      std::string_view text = line.substr(two + 1);
      while (text.starts_with(' ')) text.remove_prefix(1);
      if (std::from_chars(text.data(), text.data() + text.size(), size).ec != std::errc()) {
        if (heading) continue;
        return false;
      }
    }
    const std::string_view object = line.substr(one + 1, two - one - 1);
    numbering.add(std::hash<std::string_view>()(object), size);
  }
  return !trace.requests.empty();
}

}  // namespace

std::uint64_t Trace::footprint() const {
  return std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
}

Result<Trace> read_trace(const std::string& path) try {
  auto bytes = read_file(path);
  if (!bytes) return std::unexpected(bytes.error());
  std::filesystem::path name = std::filesystem::path(path).filename();
  if (name.extension() == ".zst") {
    bytes = unpack(path, *bytes);
    if (!bytes) return std::unexpected(bytes.error());
    name = name.stem();
  }
  Trace trace;
  trace.name = name.stem().string();
  bool read = false;
  if (bytes->starts_with(kPackMagic)) {
    read = read_pack(*bytes, trace);
  } else if (name.extension() == ".csv") {
    read = read_csv(*bytes, trace);
  } else if (name.extension() == ".oracleGeneral" || name.extension() == ".bin") {
    read = read_oracle_general(*bytes, trace);
  }
  if (!read) return std::unexpected(not_a_trace(path, "not a trace of a known format"));
  trace.unit_sizes = std::ranges::all_of(trace.sizes, [](std::uint32_t size) { return size == 1; });
  return trace;
} catch (const std::bad_alloc&) {
  return std::unexpected(Error(Errc::out_of_memory, path));
}

}  // namespace rawcache::cli
