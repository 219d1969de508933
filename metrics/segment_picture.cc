#include "metrics/segment_picture.h"

#include <algorithm>
#include <cmath>

namespace rawcache::metrics {

namespace {

/// Every `per_cell` segments become one cell.
std::vector<PictureCell> cells_of(std::vector<const SegmentInfo*>& segments,
                                  std::uint64_t segment_bytes, std::size_t per_cell) {
  std::ranges::sort(segments, {}, [](const SegmentInfo* s) { return s->generation; });
  std::vector<PictureCell> cells((segments.size() + per_cell - 1) / per_cell);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    PictureCell& cell = cells[i / per_cell];
    ++cell.segments;
    cell.open |= segments[i]->state == SegmentInfo::State::open;
    cell.live += static_cast<double>(segments[i]->live_bytes);
    cell.hot += static_cast<double>(segments[i]->hot_bytes);
  }
  for (PictureCell& cell : cells) {
    const double bytes = static_cast<double>(segment_bytes) * cell.segments;
    cell.live = std::min(cell.live / bytes, 1.0);
    cell.hot = std::min(cell.hot / bytes, cell.live);
  }
  return cells;
}

double rounded(double share) { return std::round(share * 1000) / 1000; }

void write_cells(JsonWriter& json, const std::vector<PictureCell>& cells) {
  json.begin_array();
  for (const PictureCell& cell : cells) {
    json.begin_array().value(cell.segments).value(cell.open ? 1 : 0);
    json.value(rounded(cell.live)).value(rounded(cell.hot)).end_array();
  }
  json.end_array();
}

}  // namespace

SegmentPicture segment_picture(std::span<const SegmentInfo> segments, std::uint64_t segment_bytes,
                               std::size_t cells_max) {
  std::vector<const SegmentInfo*> fresh, main;
  for (const SegmentInfo& info : segments) {
    if (info.state != SegmentInfo::State::free) (info.main ? main : fresh).push_back(&info);
  }
  const std::size_t used = fresh.size() + main.size();
  const std::size_t per_cell = std::max<std::size_t>((used + cells_max - 1) / cells_max, 1);
  return {.segment_bytes = segment_bytes,
          .segments = segments.size(),
          .free = segments.size() - used,
          .fresh = cells_of(fresh, segment_bytes, per_cell),
          .main = cells_of(main, segment_bytes, per_cell)};
}

void write_picture(JsonWriter& json, const SegmentPicture& picture) {
  json.begin_object().field("segment_bytes", picture.segment_bytes);
  json.field("segments", picture.segments).field("free", picture.free);
  write_cells(json.name("fresh"), picture.fresh);
  write_cells(json.name("main"), picture.main);
  json.end_object();
}

}  // namespace rawcache::metrics
