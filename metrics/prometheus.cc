#include "metrics/prometheus.h"

#include <charconv>
#include <cmath>

namespace rawcache::metrics {

namespace {

/// Backslash and line feed are escaped in helps, quotes in label values as well.
std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\' || (quotes && c == '"')) {
      out.push_back('\\');
      out.push_back(c);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

/// The shortest text that reads back as this number.
std::string number_text(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "+Inf" : "-Inf";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  return {text, end};
}

double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

std::string family_name(std::string_view prefix, const StatsField& field) {
  std::string name = std::string(prefix) + '_' + field.name;
  if (field.unit == Unit::nanoseconds) {
    if (name.ends_with("_ns")) name.resize(name.size() - 3);
    name += "_seconds";
  }
  if (field.kind == Kind::counter && !std::holds_alternative<LatencyStats>(field.value)) {
    name += "_total";
  }
  return name;
}

}  // namespace

void PrometheusText::begin_family(std::string_view name, Type type, std::string_view help) {
  constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  text_ += "# HELP " + std::string(name) + ' ' + escaped(help, false) + '\n';
  text_ += "# TYPE " + std::string(name) + ' ' + kTypes[static_cast<int>(type)] + '\n';
}

void PrometheusText::begin_sample(std::string_view name, const Labels& labels) {
  text_ += name;
  if (!labels.empty()) {
    char separator = '{';
    for (const auto& [label, value] : labels) {
      text_.push_back(separator);
      text_ += std::string(label) + "=\"" + escaped(value, true) + '"';
      separator = ',';
    }
    text_.push_back('}');
  }
  text_.push_back(' ');
}

void PrometheusText::sample(std::string_view name, const Labels& labels, double value) {
  begin_sample(name, labels);
  text_ += number_text(value) + '\n';
}

void PrometheusText::sample(std::string_view name, const Labels& labels, std::uint64_t value) {
  begin_sample(name, labels);
  text_ += std::to_string(value) + '\n';
}

void PrometheusText::histogram(const std::string& name, std::string_view help,
                               const LatencyStats& latency) {
  begin_family(name, Type::histogram, help);
  const std::string bucket = name + "_bucket";
  for (std::size_t i = 0; i < kLatencyBounds; i += 2) {
    sample(bucket, {{"le", number_text(seconds(latency_bound_ns(i)))}}, latency.below[i]);
  }
  sample(bucket, {{"le", "+Inf"}}, latency.count);
  sample(name + "_sum", {}, seconds(latency.sum_ns));
  sample(name + "_count", {}, latency.count);
}

void PrometheusText::fields(std::string_view prefix, const std::vector<StatsGroup>& groups) {
  for (const StatsGroup& group : groups) {
    for (const StatsField& field : group.fields) {
      if (field.kind == Kind::derived) continue;
      const std::string name = family_name(prefix, field);
      if (const auto* latency = std::get_if<LatencyStats>(&field.value)) {
        histogram(name, field.help, *latency);
        continue;
      }
      begin_family(name, field.kind == Kind::counter ? Type::counter : Type::gauge, field.help);
      if (const auto* number = std::get_if<double>(&field.value)) {
        sample(name, {}, *number);
      } else if (const auto count = std::get<std::uint64_t>(field.value);
                 field.unit == Unit::nanoseconds) {
        sample(name, {}, seconds(count));
      } else {
        sample(name, {}, count);
      }
    }
  }
}

}  // namespace rawcache::metrics
