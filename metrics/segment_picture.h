// The log as a picture: its segments by age and heat, in a bounded number of cells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "metrics/json.h"
#include "rawcache/stats.h"

namespace rawcache::metrics {

/// Neighbours in age, shown as one.
struct PictureCell {
  std::uint32_t segments = 0;
  bool open = false;  ///< one of them is being filled
  double live = 0;    ///< share of their bytes in entries that would be found, 0 to 1
  double hot = 0;     ///< share in entries that have been asked for, at most `live`
};

struct SegmentPicture {
  std::uint64_t segment_bytes = 0;
  std::uint64_t segments = 0, free = 0;
  std::vector<PictureCell> fresh, main;  ///< oldest first
};

inline constexpr std::size_t kPictureCellsMax = 512;

/// At most `cells_max` cells in all, or one more for rounding.
SegmentPicture segment_picture(std::span<const SegmentInfo> segments, std::uint64_t segment_bytes,
                               std::size_t cells_max = kPictureCellsMax);

/// An object; cells are arrays [segments, open, live, hot].
void write_picture(JsonWriter& json, const SegmentPicture& picture);

}  // namespace rawcache::metrics
