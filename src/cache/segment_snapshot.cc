// RawDiskCache::segments: what each segment of the log holds.
#include "cache/cache_impl.h"

namespace rawcache {
namespace {

SegmentInfo::State state_of(const SegmentRecord& record) {
  switch (static_cast<SegmentState>(record.state)) {
    case SegmentState::open:
      return SegmentInfo::State::open;
    case SegmentState::sealed:
      return SegmentInfo::State::sealed;
    case SegmentState::free:
      break;
  }
  return SegmentInfo::State::free;
}

}  // namespace

std::vector<SegmentInfo> RawDiskCache::Impl::segments() const {
  std::vector<SegmentRecord> table;
  {
    MutexLock lock(log_mutex_);
    table = log_->table();
  }
  std::vector<SegmentInfo> segments(table.size());
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    SegmentInfo& info = segments[i];
    info.state = state_of(table[i]);
    info.main = table[i].label == static_cast<std::uint8_t>(Stream::main);
    info.generation = table[i].generation;
    info.queue_position = table[i].queue_position;
    if (info.state == SegmentInfo::State::free) continue;
    info.live_bytes = index_->live_bytes(i);
    info.hot_bytes = index_->hot_bytes(i);
  }
  return segments;
}

}  // namespace rawcache
