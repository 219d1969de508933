// Placing batches elsewhere, when the device has failed again and again where they are.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "cache/log_writer.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// Room in a write buffer for headers, padding and footers that appear when batches are placed
/// anew.
constexpr std::uint64_t kRelocationRoomBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kNotKnown = ~std::uint64_t{0};

}  // namespace

std::uint64_t LogWriter::largest_batch_bytes() const {
  std::uint64_t largest = 0;
  const auto consider = [&](const PendingBatch& batch) {
    std::uint64_t bytes = 0;
    for (const PendingPart& part : batch.parts) {
      bytes += round_up(part.bytes, superblock_.block_bytes);
    }
    largest = std::max(largest, bytes);
  };
  for (const PendingBatch& batch : sealed_) consider(batch);
  if (open_) consider(*open_);
  return largest;
}

std::uint64_t LogWriter::segments_to_relocate() const {
  // Places them in thought.
  std::uint64_t segments = 1;
  std::uint64_t position = 0;
  std::uint64_t records_bytes = 0;
  const auto place = [&](const PendingBatch& batch) {
    position = round_up(position, superblock_.block_bytes) + header_bytes_;
    for (const PendingPart& part : batch.parts) {
      EntryWalker walker = walker_of(part);
      while (const auto entry = walker.next()) {
        const std::uint64_t size = round_up(entry->bytes, superblock_.entry_alignment);
        const std::uint64_t end =
            round_up(position + size, superblock_.block_bytes) +
            footer_bytes(records_bytes + kFooterRecordBytesMax, superblock_.block_bytes);
        if (end > log_.segment_bytes()) {
          ++segments;
          position = header_bytes_;
          records_bytes = 0;
        }
        position += size;
        records_bytes += kFooterRecordBytesMax;
      }
    }
  };
  for (const PendingBatch& batch : sealed_) place(batch);
  if (open_) place(*open_);
  return segments;
}

bool LogWriter::relocate(std::uint64_t replay_from, std::int64_t now) {
  log_.note_volatile(first_volatile_batch());
  if (log_.usable_free_count(replay_from) < segments_to_relocate()) return false;

  const std::uint64_t first_volatile = first_volatile_batch();
  // Elsewhere the same entries may need more headers and padding. `memory` is what the old batches'
  // bytes live in.
  sealed_.emplace_back();  // for the open one
  const auto memory = io_.take_all(largest_batch_bytes() + kRelocationRoomBytes);
  if (!memory) {
    sealed_.pop_back();
    return false;
  }
  const bool last_is_open = open_.has_value();
  if (open_) sealed_.back() = std::move(*open_);
  if (!open_) sealed_.pop_back();
  open_.reset();
  place_again(last_is_open, first_volatile, replay_from, now);
  return true;
}

/// What is in sealed_.
void LogWriter::place_again(bool last_is_open, std::uint64_t first_volatile,
                            std::uint64_t replay_from, std::int64_t now) noexcept {
  std::deque<PendingBatch> batches;
  batches.swap(sealed_);
  footers_.clear();
  previous_batch_ = durable_through_;
  ++disturbances_;

  const std::uint32_t next = *log_.usable_free(replay_from);
  for (const Stream stream : {Stream::main, Stream::small}) {
    log_.select(stream);
    log_.abandon(first_volatile);
  }
  // Where copies are is not known until they have been placed: what they were made from waits.
  log_.copies_moved(first_volatile, kNotKnown);
  log_.open(next, next_batch_);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    append_again(batches[i], replay_from);
    if (i + 1 < batches.size() || !last_is_open) {
      const auto sealed = seal(now);
      RAWCACHE_ASSERT(sealed.has_value());
    }
  }
  log_.copies_moved(kNotKnown, next_batch_ - 1);
}

void LogWriter::append_again(const PendingBatch& batch, std::uint64_t replay_from) {
  for (const PendingPart& part : batch.parts) {
    EntryWalker walker = walker_of(part);
    while (const auto view = walker.next()) {
      if (view->kind == EntryKind::withdrawn) continue;
      EntryFields entry = fields_of(*view);
      const Appended appended = append(entry, replay_from);
      RAWCACHE_ASSERT(appended.obstacle == Obstacle::none);
      const std::uint64_t bytes = round_up(view->bytes, superblock_.entry_alignment);
      const Location before{walker.offset(), size_class(bytes)};
      index_.replace(view->key_hash, before, appended.location());
    }
  }
}

}  // namespace rawcache
