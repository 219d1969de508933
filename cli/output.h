// Where output goes: data to stdout, errors and progress to stderr, colour and motion to terminals
// only.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/exit_code.h"
#include "metrics/json.h"
#include "rawcache/result.h"

namespace rawcache::cli {

using metrics::JsonWriter;

bool stdin_is_terminal();
bool stdout_is_terminal();
/// stdout may be drawn on: a terminal that is not dumb.
bool stdout_is_drawable();
/// stderr may be drawn on: a terminal that is not dumb.
bool stderr_is_terminal();

/// Bold on a terminal, unless NO_COLOR is set.
std::string bold(std::string_view text);

/// Writes to stdout. Failures are noted and shown by finish_output.
void print(std::string_view text);
/// Flushes stdout; kExitFailure instead of `code` if anything could not be written.
int finish_output(int code);

/// Says `rawcache: <message>` on stderr.
void complain(std::string_view message);
/// Shows an error and returns its exit status. With `json` also as an object on stdout.
int fail(const Error& error, bool json);
/// The same in other words than those of Error::message().
int fail(const Error& error, std::string_view message, bool json);
int fail_usage(std::string_view message, bool json);

/// Begins the one object that --json prints; every object says what made it.
JsonWriter begin_json(std::string_view command);
/// Ends and prints it.
void end_json(JsonWriter& json);

/// One line on stderr that says how far something is; nothing if that is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what, bool wanted = true);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::uint64_t done, std::uint64_t all);
  void say(std::string_view text);
  void clear();

 private:
  std::string what_;
  bool wanted_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// From now on Ctrl-C (and SIGTERM) only sets what interrupted() says; the second one ends the
/// process.
void catch_interrupts();
bool interrupted();

}  // namespace rawcache::cli
