#include "cli/output.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/text.h"

namespace rawcache::cli {

namespace {

// Of the process, as the streams and signals are.
bool output_failed = false;
volatile std::sig_atomic_t interrupt_seen = 0;

void on_interrupt(int) { interrupt_seen = 1; }

bool is_drawable(int fd) {
  const char* terminal = std::getenv("TERM");
  return ::isatty(fd) != 0 && terminal != nullptr && std::strcmp(terminal, "dumb") != 0;
}

}  // namespace

ExitCode exit_code_of(Errc code) {
  switch (code) {
    case Errc::not_found:
      return kExitMiss;
    case Errc::key_empty:
    case Errc::key_too_long:
    case Errc::value_too_large:
    case Errc::invalid_options:
    case Errc::capacity_too_small:
    case Errc::already_exists:
      return kExitUsage;
    case Errc::not_a_cache:
    case Errc::unsupported_version:
    case Errc::superblock_damaged:
    case Errc::checkpoint_lost:
    case Errc::device_shrunk:
    case Errc::device_grown:
    case Errc::wrong_device:
    case Errc::geometry_mismatch:
      return kExitNotACache;
    case Errc::mounted:
    case Errc::already_open:
      return kExitBusy;
    default:
      return kExitFailure;
  }
}

bool stdin_is_terminal() { return ::isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) != 0; }
bool stdout_is_drawable() { return is_drawable(STDOUT_FILENO); }
bool stderr_is_terminal() { return is_drawable(STDERR_FILENO); }

std::string bold(std::string_view text) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool plain = (no_color != nullptr && *no_color != '\0') || !is_drawable(STDOUT_FILENO);
  return plain ? std::string(text) : "\033[1m" + std::string(text) + "\033[0m";
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) output_failed = true;
}

int finish_output(int code) {
  if (std::fflush(stdout) != 0) output_failed = true;
  if (!output_failed) return code;
  complain("the output could not be written");
  return kExitFailure;
}

void complain(std::string_view message) {
  std::fflush(stdout);
  std::fprintf(stderr, "rawcache: %.*s\n", static_cast<int>(message.size()), message.data());
}

namespace {

int fail_with(std::string_view name, std::string_view message, int code, bool json) {
  complain(message);
  if (json) {
    JsonWriter writer = begin_json("error");
    writer.name("error").begin_object();
    writer.field("code", name).field("message", message).field("exit_status", code);
    writer.end_object();
    end_json(writer);
  }
  return code;
}

}  // namespace

int fail(const Error& error, std::string_view message, bool json) {
  return fail_with(errc_name(error.code()), message, exit_code_of(error.code()), json);
}

int fail(const Error& error, bool json) { return fail(error, error.message(), json); }

int fail_usage(std::string_view message, bool json) {
  return fail_with("usage", message, kExitUsage, json);
}

JsonWriter begin_json(std::string_view command) {
  JsonWriter json;
  json.begin_object().field("command", command).field("json_version", 1);
  return json;
}

void end_json(JsonWriter& json) {
  json.end_object();
  print(json.take() + "\n");
}

ProgressLine::ProgressLine(std::string what, bool wanted)
    : what_(std::move(what)), wanted_(wanted && stderr_is_terminal()) {}

void ProgressLine::show(std::uint64_t done, std::uint64_t all) {
  if (!wanted_ || all == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (done < all && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double share = static_cast<double>(done) / static_cast<double>(all);
  say(bar(share, 30) + " " + format_percent(share) + " of " + format_bytes(all));
}

void ProgressLine::say(std::string_view text) {
  if (!wanted_) return;
  shown_ = true;
  std::fprintf(stderr, "\r\033[K%s %.*s", what_.c_str(), static_cast<int>(text.size()),
               text.data());
  std::fflush(stderr);
}

void ProgressLine::clear() {
  if (!shown_) return;
  shown_ = false;
  std::fputs("\r\033[K", stderr);
}

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace rawcache::cli
