// The results as JSON, one run per line.
#include <sys/utsname.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <thread>

#include "bench/comparison.h"

namespace rawcache::bench {

namespace {

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result.push_back('\\');
    result.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  return result + '"';
}

/// One object on one line.
class Line {
 public:
  Line& field(std::string_view name, std::string_view text) { return add(name, quoted(text)); }
  Line& field(std::string_view name, std::uint64_t number) {
    return add(name, std::to_string(number));
  }
  Line& field(std::string_view name, double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", std::isfinite(number) ? number : 0);
    return add(name, text);
  }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  Line& add(std::string_view name, const std::string& value) {
    if (!text_.empty()) text_ += ", ";
    text_ += quoted(name) + ": " + value;
    return *this;
  }
  std::string text_;
};

void append_list(std::string& text, std::string_view name, const std::vector<Line>& lines) {
  text += ",\n" + quoted(name) + ": [";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += (i == 0 ? "\n  " : ",\n  ") + lines[i].text();
  }
  text += "\n]";
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string_view role_name(EngineKind::Role role) {
  switch (role) {
    case EngineKind::Role::subject:
      return "subject";
    case EngineKind::Role::peer:
      return "peer";
    case EngineKind::Role::limit:
      return "limit";
  }
  return "";
}

Line line_of(const Result& run) {
  const Sample& sample = run.sample;
  Line line;
  line.field("value_bytes", run.value_bytes)
      .field("phase", run.phase)
      .field("engine", run.engine)
      .field("repetition", std::uint64_t{run.repetition})
      .field("entries", run.entries)
      .field("operations", sample.operations)
      .field("found", sample.found)
      .field("wrong", sample.wrong)
      .field("seconds", sample.seconds)
      .field("cpu_s", sample.cpu_s)
      .field("settle_s", sample.settle_s)
      .field("settled_cpu_s", sample.settled_cpu_s)
      .field("others_cpu_cores", sample.others_cpu_cores)
      .field("p50_us", sample.p50_us)
      .field("p99_us", sample.p99_us)
      .field("p999_us", sample.p999_us)
      .field("written_bytes", sample.written_bytes)
      .field("read_bytes", sample.read_bytes)
      .field("device_written_bytes", sample.device_written_bytes)
      .field("device_read_bytes", sample.device_read_bytes)
      .field("disk_bytes", sample.disk_bytes)
      .field("memory_bytes", sample.memory_bytes)
      .field("end_memory_bytes", sample.end_memory_bytes)
      .field("page_cache_bytes", sample.page_cache_bytes);
  return line;
}

Line settings_line(const Plan& plan, const Results& results) {
  utsname system{};
  ::uname(&system);
  Line line;
  line.field("cpu", cpu_model())
      .field("cores", std::uint64_t{std::thread::hardware_concurrency()})
      .field("kernel", system.release)
      .field("caches_dropped_by", results.caches_dropped_by)
      .field("read_us_nearest", results.processor ? results.processor->read_us : 0)
      .field("read_us_elsewhere", results.processor ? results.processor->slowest_read_us : 0)
      .field("repeat", std::uint64_t{plan.repeat})
      .field("seconds_per_run", plan.seconds)
      .field("data_bytes", plan.data_bytes)
      .field("cache_bytes", plan.cache_bytes)
      .field("write_buffer_bytes", plan.write_buffer_bytes)
      .field("memory_group", plan.memory_group.empty() ? "none" : "yes")
      .field("key_bytes", std::uint64_t{Key::kBytes});
  return line;
}

}  // namespace

std::string to_json(const Plan& plan, const Results& results) {
  std::string text = "{\"settings\": " + settings_line(plan, results).text();
  std::vector<Line> lines;
  for (const EngineKind& kind : plan.engines) {
    lines.emplace_back()
        .field("name", kind.name)
        .field("role", role_name(kind.role))
        .field("description", kind.description);
  }
  append_list(text, "engines", lines);
  lines.clear();
  for (const Phase& phase : plan.phases) {
    lines.emplace_back().field("name", phase.name).field("title", phase.title);
  }
  append_list(text, "phases", lines);
  lines.clear();
  for (const std::string& name : missing_engines()) lines.emplace_back().field("name", name);
  append_list(text, "missing", lines);
  lines.clear();
  for (const Failure& failure : results.failures) {
    lines.emplace_back()
        .field("value_bytes", failure.value_bytes)
        .field("phase", failure.phase)
        .field("engine", failure.engine)
        .field("how", failure.how);
  }
  append_list(text, "failures", lines);
  lines.clear();
  for (const Result& run : results.runs) lines.push_back(line_of(run));
  append_list(text, "runs", lines);
  return text + "\n}\n";
}

}  // namespace rawcache::bench
