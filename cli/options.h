// What the commands are told, and how sizes and durations are written.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rawcache/options.h"
#include "server/options.h"

namespace rawcache::cli {

/// "4096", "64KiB", "1.5 GiB", "10GB": K, M, G, T and KiB ... are powers of 1024, KB ... of 1000.
/// Case does not matter. Nothing if it is not a size or too large.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// "90", "90s", "5m", "2h", "1d", "4w"; "never" is negative, as in StoreOptions::ttl.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);

/// Holds for all commands.
struct CommonArguments {
  std::string path;
  bool json = false;
  IoEngine engine = IoEngine::automatic;
  DirectIo direct = DirectIo::automatic;
};

struct FormatArguments : CommonArguments {
  FormatOptions format;
  bool yes = false;
  bool force = false;
  bool dry_run = false;
};

struct PutArguments : CommonArguments {
  std::string key;
  std::string value;
  bool has_value = false;
  std::string file;
  std::chrono::seconds ttl{0};
  bool create = false;
  std::uint64_t capacity = 0;
};

struct GetArguments : CommonArguments {
  std::string key;
  std::string output;
};

struct RmArguments : CommonArguments {
  std::string key;
};

struct KeysArguments : CommonArguments {
  bool with_details = false;
};

struct StatsArguments : CommonArguments {  ///< path: also the address of a server's statistics
  bool watch = false;
  std::chrono::seconds interval{1};
  unsigned count = 0;  ///< of looks; 0: until interrupted
};

struct VerifyArguments : CommonArguments {
  bool quiet = false;
};

struct ReplayArguments : CommonArguments {  ///< path: the file to replay on; empty: in memory
  std::string trace;
  std::string suite;           ///< or a directory of traces
  std::uint64_t capacity = 0;  ///< bytes as the trace counts them
  double percent = 0;          ///< or of the trace's footprint
  EvictionPolicyKind policy = EvictionPolicyKind::rc;
  double wa_cap = Options().wa_cap;
  Admission admission = Admission::all;
  double admission_percent = 5;    ///< of the capacity, in memory instead
  std::uint64_t memory_bytes = 0;  ///< of the memory tier
  std::uint32_t scale = 1;
  double restart_percent = 0;  ///< of the requests; 0: none
};

struct ServeArguments : CommonArguments {
  server::ServerOptions server;
  bool create = false;
  std::uint64_t capacity = 0;
  std::chrono::milliseconds flush_interval{100};  ///< zero: none
  server::OnStart on_start = server::OnStart::keep;
  std::chrono::seconds max_age{0};
  Admission admission = Admission::all;
  std::uint64_t admission_memory_bytes = Options().admission_memory_bytes;
  std::uint64_t device_bytes_per_day = 0;
  std::uint64_t memory_bytes = 0;
  std::string user;  ///< to go on as, once everything is open
  std::optional<std::uint16_t> port;
  std::vector<std::string> hosts;
  std::string ignored;
};

struct BenchArguments : CommonArguments {
  std::uint64_t capacity = 0;  ///< 0: chosen
  double sync_delay_ms = 0;
  std::uint32_t max_operations = Options().max_operations;
  std::uint64_t max_buffer_bytes = Options().max_buffer_bytes;
  BatchMode mode = BatchMode::fixed;
  std::vector<std::uint64_t> sizes{4_KiB, 64_KiB, 1_MiB};
  std::uint32_t operations = 0;   ///< 0: chosen by size
  std::uint32_t repetitions = 0;  ///< 0: chosen
  bool quick = false;
  bool yes = false;
  bool force = false;
};

}  // namespace rawcache::cli
