#include "cli/geometry.h"

#include "cli/text.h"

namespace rawcache::cli {

namespace {

std::string engine_text(const CacheInfo& info) {
  std::string text = info.engine + (info.direct ? ", O_DIRECT" : ", through the page cache");
  if (!info.fallback_reason.empty()) text += " (" + info.fallback_reason + ")";
  return text;
}

}  // namespace

std::string geometry_text(const CacheInfo& info, bool with_content) {
  Table table({Table::Align::left, Table::Align::left});
  const auto bytes = [](std::uint64_t n) {
    return format_bytes(n) + " (" + format_count(n) + " bytes)";
  };
  table.add({"id", info.id});
  table.add({"format version", std::to_string(info.format_version)});
  table.add({"device", bytes(info.device_bytes)});
  table.add({"capacity", bytes(info.capacity_bytes)});
  table.add({"segments", format_count(info.segments) + " of " + format_bytes(info.segment_bytes)});
  table.add({"block", format_bytes(info.block_bytes)});
  table.add({"entry alignment", format_bytes(info.entry_alignment)});
  table.add({"largest value", bytes(info.value_bytes_max)});
  table.add({"room for entries", format_count(info.entries_max)});
  table.add({"checkpoints", "2 of " + format_bytes(info.checkpoint_area_bytes)});
  if (with_content) {
    table.add({"last checkpoint",
               info.checkpoint_valid ? "generation " + format_count(info.checkpoint_generation) +
                                           ", " + format_count(info.checkpoint_entries) + " entries"
                                     : "none is valid"});
    table.add({"I/O here", engine_text(info)});
  }
  return table.str();
}

void geometry_json(metrics::JsonWriter& json, const CacheInfo& info) {
  json.field("id", info.id)
      .field("format_version", info.format_version)
      .field("device_bytes", info.device_bytes)
      .field("capacity_bytes", info.capacity_bytes)
      .field("block_bytes", info.block_bytes)
      .field("segment_bytes", info.segment_bytes)
      .field("segments", info.segments)
      .field("entries_max", info.entries_max)
      .field("value_bytes_max", info.value_bytes_max)
      .field("entry_alignment", info.entry_alignment)
      .field("checkpoint_area_bytes", info.checkpoint_area_bytes)
      .field("checkpoint_valid", info.checkpoint_valid)
      .field("checkpoint_generation", info.checkpoint_generation)
      .field("checkpoint_entries", info.checkpoint_entries)
      .field("next_sequence", info.next_sequence)
      .field("engine", info.engine)
      .field("direct", info.direct)
      .field("fallback_reason", info.fallback_reason);
}

}  // namespace rawcache::cli
