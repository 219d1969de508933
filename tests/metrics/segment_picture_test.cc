// Guards that the picture shows every segment once, in order of age, within its number of cells.
#include "metrics/segment_picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace rawcache::metrics {
namespace {

using State = SegmentInfo::State;

std::uint32_t segments_in(const std::vector<PictureCell>& cells) {
  return std::accumulate(cells.begin(), cells.end(), 0u,
                         [](std::uint32_t sum, const PictureCell& c) { return sum + c.segments; });
}

TEST(SegmentPicture, OldestComeFirstWhereverTheyLie) {
  const std::vector<SegmentInfo> segments{
      {.state = State::open, .generation = 9, .live_bytes = 10},
      {.state = State::free, .generation = 4},
      {.state = State::sealed, .generation = 5, .live_bytes = 100, .hot_bytes = 50},
      {.state = State::sealed, .main = true, .generation = 7, .live_bytes = 40, .hot_bytes = 40},
  };
  const SegmentPicture picture = segment_picture(segments, 100);
  EXPECT_EQ(picture.segments, 4u);
  EXPECT_EQ(picture.free, 1u);
  ASSERT_EQ(picture.fresh.size(), 2u);
  EXPECT_DOUBLE_EQ(picture.fresh[0].live, 1.0);
  EXPECT_DOUBLE_EQ(picture.fresh[0].hot, 0.5);
  EXPECT_FALSE(picture.fresh[0].open);
  EXPECT_TRUE(picture.fresh[1].open);
  ASSERT_EQ(picture.main.size(), 1u);
  EXPECT_DOUBLE_EQ(picture.main[0].hot, 0.4);

  JsonWriter json;
  write_picture(json, picture);
  EXPECT_EQ(json.take(),
            R"({"segment_bytes": 100, "segments": 4, "free": 1, )"
            R"("fresh": [[1, 0, 1, 0.5], [1, 1, 0.1, 0]], "main": [[1, 0, 0.4, 0.4]]})");
}

TEST(SegmentPicture, ManySegmentsShareCells) {
  for (const std::uint32_t count : {1u, 511u, 512u, 513u, 16384u}) {
    std::vector<SegmentInfo> segments(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      segments[i] = {.state = State::sealed,
                     .main = i % 3 == 0,
                     .generation = count - i,
                     .live_bytes = 64,
                     .hot_bytes = 32};
    }
    const SegmentPicture picture = segment_picture(segments, 64);
    EXPECT_LE(picture.fresh.size() + picture.main.size(), kPictureCellsMax + 1) << count;
    EXPECT_EQ(segments_in(picture.fresh) + segments_in(picture.main), count);
    for (const PictureCell& cell : picture.fresh) {
      EXPECT_DOUBLE_EQ(cell.live, 1.0);
      EXPECT_DOUBLE_EQ(cell.hot, 0.5);
    }
  }
}

TEST(SegmentPicture, RoundedSizesNeverExceedTheWhole) {
  const std::vector<SegmentInfo> segments{
      {.state = State::sealed, .generation = 1, .live_bytes = 110, .hot_bytes = 105}};
  const SegmentPicture picture = segment_picture(segments, 100);
  EXPECT_EQ(picture.fresh[0].live, 1.0);
  EXPECT_EQ(picture.fresh[0].hot, 1.0);
}

TEST(SegmentPicture, NoSegmentsAreAnEmptyPicture) {
  EXPECT_TRUE(segment_picture({}, 100).fresh.empty());
}

}  // namespace
}  // namespace rawcache::metrics
