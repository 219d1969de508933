// stats --watch: looks at a server, or at a file that somebody else may have open, again and again.
#include <poll.h>

#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/text.h"
#include "cli/watch_view.h"
#include "rawcache/raw_disk_cache.h"
#include "server/http_client.h"

namespace rawcache::cli {

namespace {

constexpr std::chrono::milliseconds kAnswerTimeout{5000};
constexpr unsigned kLinesPerHeader = 20;

class Watched {
 public:
  virtual ~Watched() = default;
  virtual Result<void> look() = 0;
  virtual std::string screen() const = 0;
  virtual std::string header() const = 0;
  virtual std::string line() const = 0;
  virtual void write(JsonWriter& json) const = 0;
};

class WatchedServer final : public Watched {
 public:
  explicit WatchedServer(std::string address) : address_(std::move(address)) {}

  Result<void> look() override {
    const auto text = server::http_get(address_, "/metrics", kAnswerTimeout);
    const auto now = std::chrono::steady_clock::now();
    if (!text) return std::unexpected(text.error());
    before_ = std::exchange(after_, metrics::read_prometheus(*text));
    seconds_ = std::chrono::duration<double>(now - at_).count();
    at_ = now;
    const auto uptime = after_.find("rawcache_server_uptime_seconds");
    if (uptime == after_.end()) {
      return std::unexpected(Error(Errc::not_a_cache, address_ + " shows no metrics of rawcache"));
    }
    if (restarted(before_, after_)) before_.clear();
    if (before_.empty()) seconds_ = uptime->second;
    return {};
  }
  std::string screen() const override { return watch_screen(address_, interval()); }
  std::string header() const override { return watch_header(); }
  std::string line() const override { return watch_line(interval()); }
  void write(JsonWriter& json) const override { write_watch(json, interval()); }

 private:
  WatchedInterval interval() const { return {before_, after_, seconds_}; }

  const std::string address_;
  metrics::Samples before_, after_;
  double seconds_ = 0;
  std::chrono::steady_clock::time_point at_{};
};

/// A file or device is only looked at, not opened as a cache, so it may be in use. What its user
/// has in memory it does not show.
class WatchedFile final : public Watched {
 public:
  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  Result<void> look() override {
    auto info = RawDiskCache::inspect(path_);
    if (!info) return std::unexpected(info.error());
    written_ = info->next_sequence - (seen_ ? info_.next_sequence : info->next_sequence);
    info_ = std::move(*info);
    seen_ = true;
    return {};
  }
  std::string screen() const override {
    Table table({Table::Align::left, Table::Align::left});
    table.add({"Checkpoint", format_count(info_.checkpoint_generation)});
    table.add({"Entries in it",
               format_count(info_.checkpoint_entries) + " of " + format_count(info_.entries_max)});
    table.add({"Writes by then", format_count(info_.next_sequence) + ", since the last look " +
                                     format_count(written_)});
    return bold(escape(path_)) + "  " + format_bytes(info_.capacity_bytes) + " in " +
           format_count(info_.segments) + " segments\n\n" + table.str() +
           "\nOf a file only its last checkpoint can be seen from outside; a server that uses it\n"
           "tells everything: rawcache stats --watch http://HOST:PORT (its --http)\n";
  }
  std::string header() const override { return "checkpoint     entries      writes  since last\n"; }
  std::string line() const override {
    char text[128];
    std::snprintf(text, sizeof text, "%10s %11s %11s %11s\n",
                  format_count(info_.checkpoint_generation).c_str(),
                  format_count(info_.checkpoint_entries).c_str(),
                  format_count(info_.next_sequence).c_str(), format_count(written_).c_str());
    return text;
  }
  void write(JsonWriter& json) const override {
    json.field("checkpoint_generation", info_.checkpoint_generation);
    json.field("checkpoint_entries", info_.checkpoint_entries);
    json.field("next_sequence", info_.next_sequence).field("written_since_last_look", written_);
  }

 private:
  const std::string path_;
  CacheInfo info_;
  bool seen_ = false;
  std::uint64_t written_ = 0;
};

/// The terminal is drawn over from the top, without a cursor, until this goes.
class Screen {
 public:
  Screen() { print("\033[?25l\033[H\033[2J"); }
  ~Screen() { print("\033[?25h"); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static void draw(const std::string& text) {
    std::string lines = "\033[H";
    for (const char c : text) {
      if (c == '\n') lines += "\033[K";
      lines.push_back(c);
    }
    print(lines + "\033[J");
  }
};

void show(const Watched& watched, const StatsArguments& arguments, bool drawn, unsigned lines) {
  if (arguments.json) {
    JsonWriter json = begin_json("stats");
    json.field(server::is_http_address(arguments.path) ? "server" : "path", arguments.path);
    watched.write(json);
    end_json(json);
  } else if (drawn) {
    Screen::draw(watched.screen());
  } else if (!arguments.watch) {
    print(watched.screen());
  } else {
    if (lines % kLinesPerHeader == 0) print(watched.header());
    print(watched.line());
  }
  std::fflush(stdout);
}

/// Until the time is over, or a signal came.
void pause_for(std::chrono::seconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  for (auto now = end - time; now < end && !interrupted(); now = std::chrono::steady_clock::now()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - now).count();
    (void)::poll(nullptr, 0, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
  }
}

/// What Error says of I/O is about devices.
std::string trouble(const StatsArguments& arguments, const Error& error) {
  const bool server = server::is_http_address(arguments.path);
  return server && error == Errc::io_error ? error.detail() : error.message();
}

}  // namespace

int run_watch(const StatsArguments& arguments) {
  std::unique_ptr<Watched> watched;
  if (server::is_http_address(arguments.path)) {
    watched = std::make_unique<WatchedServer>(arguments.path);
  } else {
    watched = std::make_unique<WatchedFile>(arguments.path);
  }
  if (auto seen = watched->look(); !seen) {
    return fail(seen.error(), trouble(arguments, seen.error()), arguments.json);
  }
  const unsigned count = arguments.watch ? arguments.count : 1;
  const bool drawn = arguments.watch && !arguments.json && stdout_is_drawable();
  std::optional<Screen> screen;
  if (drawn) screen.emplace();
  catch_interrupts();
  unsigned lines = 0;
  show(*watched, arguments, drawn, lines);
  for (unsigned looks = 1; count == 0 || looks < count; ++looks) {
    pause_for(arguments.interval);
    if (interrupted()) break;
    if (auto seen = watched->look(); seen) {
      show(*watched, arguments, drawn, ++lines);
    } else if (drawn) {
      Screen::draw(trouble(arguments, seen.error()) + "\nTrying again ...\n");
      std::fflush(stdout);
    } else {
      complain(
          trouble(arguments, seen.error()));  // a server may be restarted; what follows says so
    }
  }
  return kExitOk;
}

}  // namespace rawcache::cli
