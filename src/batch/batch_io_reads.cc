// The reading half of BatchIOManager: what is buffered from memory, the rest in merged reads.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/copy.h"
#include "base/math.h"
#include "base/mutant.h"
#include "batch/batch_io_manager.h"
#include "batch/buffer_slot.h"
#include "batch/merge.h"

namespace rawcache {
namespace {

/// Partly written blocks that start while the same read is under way, again and again, are not
/// waited for for ever.
constexpr int kRereadsMax = 100;

/// Answers are handed out when so many reads have ended: so few that the device has others in hand
/// meanwhile, so many that the kernel is not entered for each.
constexpr std::size_t kReadsAwaitedMin = 8;
/// In large batches more at once, or looking for those that have ended takes longer than handling
/// them.
constexpr std::size_t kShareAwaited = 16;

constexpr std::size_t kFetchedAheadBytes = std::size_t{4} << 10;
constexpr std::size_t kCacheLineBytes = 64;

/// Memory for more than this is found without the lock.
constexpr std::uint64_t kServedAtOnceBytesMax = std::uint64_t{16} << 10;

void fail(ReadAnswer& answer, Error error) {
  answer.bytes = std::unexpected(std::move(error));
  answer.lease.reset();
  answer.lease_bytes = 0;
}

void give(ReadAnswer& answer, IoLease lease, std::span<const std::byte> bytes) {
  answer.bytes = bytes;
  answer.lease_bytes = lease.bytes.size();
  answer.lease = std::move(lease.owner);
}

}  // namespace

Result<Extent> BatchIOManager::inside_disk(const Extent& extent) const {
  if (extent.size == 0 || extent.offset >= disk_end_) {
    return std::unexpected(Error(
        Errc::invalid_io,
        "read of " + std::to_string(extent.size) + " bytes at " + std::to_string(extent.offset)));
  }
  return Extent{extent.offset, std::min(extent.size, disk_end_ - extent.offset)};
}

Extent BatchIOManager::widened(const Extent& extent) const {
  const std::uint64_t begin = round_down(extent.offset, alignment_);
  return {begin, round_up(extent.end(), alignment_) - begin};
}

bool BatchIOManager::is_pending(const Extent& extent) const {
  return filling_->buffer.overlaps(extent) || std::ranges::any_of(sealed_, [&](const auto& slot) {
           return slot->buffer.overlaps(extent) || slot->edges_overlap(extent);
         });
}

// A block that is written only in part is undefined on the device from the moment that its write
// starts. Reads that were under way then are done again.

ReadAnswer BatchIOManager::read(const Extent& extent, Whole whole) {
  ReadAnswer read;
  for (int tries = 0; tries <= kRereadsMax; ++tries) {
    const std::uint64_t seen = edge_writes_.load(std::memory_order_acquire);
    read = read_once(extent, whole);
    if (edge_writes_.load(std::memory_order_acquire) == seen) break;
    if (mutated(Mutant::kReadsNotRepeated)) break;
  }
  return read;
}

std::vector<ReadAnswer> BatchIOManager::read(std::span<const Extent> extents, Whole whole) {
  std::vector<ReadAnswer> answers(extents.size());
  read(extents, whole,
       [&](std::size_t extent, ReadAnswer& answer) { answers[extent] = std::move(answer); });
  return answers;
}

void BatchIOManager::read(std::span<const Extent> extents, Whole whole, const OnAnswer& on_answer) {
  std::span<const Extent> wanted = extents;
  std::vector<Extent> repeated;
  std::vector<std::size_t> places;  // of those among `extents`
  for (int tries = 0; !wanted.empty(); ++tries) {
    const std::uint64_t seen = edge_writes_.load(std::memory_order_acquire);
    const bool final = tries == kRereadsMax || mutated(Mutant::kReadsNotRepeated);
    std::vector<std::size_t> again;
    read_once(wanted, whole, [&](std::size_t extent, ReadAnswer& answer) {
      const std::size_t place = places.empty() ? extent : places[extent];
      if (final || edge_writes_.load(std::memory_order_acquire) == seen) {
        on_answer(place, answer);
      } else {
        again.push_back(place);
      }
    });
    repeated.clear();
    for (const std::size_t place : again) repeated.push_back(extents[place]);
    wanted = repeated;
    places = std::move(again);
  }
}

ReadAnswer BatchIOManager::read_once(const Extent& extent, Whole whole) {
  ReadAnswer answer;
  const Result<Extent> inside = inside_disk(extent);
  if (!inside) {
    fail(answer, inside.error());
    return answer;
  }
  bool pending = pending_.load(std::memory_order_acquire);
  if (pending) {
    ReadLock lock(buffer_mutex_);
    pending = is_pending(*inside);
  }
  if (!pending) {
    read_alone({*inside, 0}, answer);
    return answer;
  }
  std::vector<Piece> pieces{{*inside, 0}};
  serve_pending(pieces, {&answer, 1}, whole);
  read_merged(pieces, {&answer, 1}, [](std::size_t, ReadAnswer&) {});
  return answer;
}

void BatchIOManager::read_once(std::span<const Extent> extents, Whole whole,
                               const OnAnswer& on_answer) {
  if (extents.size() == 1) {
    ReadAnswer answer = read_once(extents[0], whole);
    return on_answer(0, answer);
  }
  std::vector<ReadAnswer> answers(extents.size());
  const bool pending = pending_.load(std::memory_order_acquire);
  std::vector<Piece> pieces;
  pieces.reserve(extents.size());
  for (std::uint32_t i = 0; i < extents.size(); ++i) {
    const Result<Extent> inside = inside_disk(extents[i]);
    if (!inside) {
      fail(answers[i], inside.error());
    } else if (!pending || whole != Whole::start || !read_buffered(*inside, answers[i])) {
      pieces.push_back({*inside, i});
    }
  }
  if (pending && !pieces.empty()) serve_pending(pieces, answers, whole);
  read_merged(pieces, answers, on_answer);
}

/// What WriteBuffer::view says of all that is buffered.
std::span<const std::byte> BatchIOManager::pending_view(const Extent& extent) const {
  std::span<const std::byte> found = filling_->buffer.view(extent);
  if (!found.empty() || filling_->buffer.overlaps(extent)) return found;
  for (auto slot = sealed_.rbegin(); slot != sealed_.rend(); ++slot) {
    found = (*slot)->buffer.view(extent);
    if (!found.empty() || (*slot)->buffer.overlaps(extent) || (*slot)->edges_overlap(extent)) break;
  }
  return found;
}

// In one step, with the lock taken once, for what most reads of buffered bytes are: small, and all
// in one write.
bool BatchIOManager::read_buffered(const Extent& extent, ReadAnswer& answer) {
  if (!pending_.load(std::memory_order_acquire)) return false;
  if (extent.size == 0 || extent.size > kServedAtOnceBytesMax) return false;
  ReadLock lock(buffer_mutex_);
  const std::span<const std::byte> found = pending_view(extent);
  if (found.empty()) return false;
  IoLease lease = lease_to_copy(found.size());
  if (!lease) return false;
  copy_bytes(lease.bytes.data(), found.data(), found.size());
  const auto bytes = lease.bytes.first(found.size());
  give(answer, std::move(lease), bytes);
  return true;
}

/// Answers what is pending from memory. Leaves in `pieces` what the device has to serve: requests
/// of which nothing is pending, and the holes of those of which a part is.
///
/// Both are then safe to read without the lock: bytes that were not pending at this moment are on
/// the disk, because they are forgotten only once they are durable; those that were have been
/// copied.
void BatchIOManager::serve_pending(std::vector<Piece>& pieces, std::span<ReadAnswer> answers,
                                   Whole whole) {
  const auto none_pending = [&](const Piece& piece) REQUIRES_SHARED(buffer_mutex_) {
    return !is_pending(piece.extent);
  };
  std::vector<Piece> wanted;
  {
    ReadLock lock(buffer_mutex_);
    const auto split = std::partition(pieces.begin(), pieces.end(), none_pending);
    wanted.assign(split, pieces.end());
    pieces.erase(split, pieces.end());
  }
  // Memory is found without the lock. What became durable meanwhile is one large hole.
  std::vector<IoLease> leases;
  leases.reserve(wanted.size());
  for (const Piece& piece : wanted) leases.push_back(lease_to_copy(piece.extent.size));

  std::vector<Extent> covered;
  ReadLock lock(buffer_mutex_);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Piece& piece = wanted[i];
    ReadAnswer& answer = answers[piece.answer];
    if (!leases[i]) {
      fail(answer, {Errc::out_of_memory, "reading what is buffered"});
      continue;
    }
    const std::span<std::byte> into = leases[i].bytes.first(piece.extent.size);
    covered.clear();
    for (const auto& slot : sealed_) {
      slot->read_edges(piece.extent, into, covered);
      slot->buffer.read(piece.extent.offset, into, covered);
    }
    if (!mutated(Mutant::kFillingBufferNotRead)) {
      filling_->buffer.read(piece.extent.offset, into, covered);
    }
    const std::vector<Extent> holes = uncovered(piece.extent, covered);
    if (whole == Whole::start && !holes.empty() && holes.front().offset > piece.extent.offset) {
      give(answer, leases[i], into.first(holes.front().offset - piece.extent.offset));
      continue;
    }
    give(answer, leases[i], into);
    for (const Extent& hole : holes) {
      pieces.push_back({hole, piece.answer, into.data() + (hole.offset - piece.extent.offset)});
    }
  }
}

/// Hands a piece its bytes out of a read of `extent` into `lease`.
void BatchIOManager::hand_out(const Piece& piece, const Extent& extent, IoLease lease,
                              ReadAnswer& answer) {
  const auto bytes = lease.bytes.subspan(piece.extent.offset - extent.offset, piece.extent.size);
  if (piece.copy_to == nullptr) {
    give(answer, std::move(lease), bytes);
  } else if (answer.bytes) {  // else another hole could not be read, and the memory is gone
    std::memcpy(piece.copy_to, bytes.data(), bytes.size());
  }
}

/// Merged reads on their way into memory of their own.
struct BatchIOManager::Reads {
  std::vector<MergedRead> merged;
  std::vector<IoLease> leases;          ///< of each; false: there was no memory
  std::vector<std::size_t> request_of;  ///< each that has memory: which of the batch's requests
  IoBatch batch;
  Result<void> started;

  const IoRequest& request(std::size_t read) const { return batch.requests[request_of[read]]; }
  bool is_done(std::size_t read) const { return !leases[read] || !started || request(read).done; }
  /// Fetches the beginning of what a read has brought, which is in nobody's caches yet.
  void prefetch(std::size_t read) const {
    const std::span<const std::byte> bytes = leases[read].bytes;
    const std::size_t end = std::min(bytes.size(), kFetchedAheadBytes);
    for (std::size_t at = 0; at < end; at += kCacheLineBytes) __builtin_prefetch(&bytes[at], 0, 2);
  }
};

/// Flushes make way for reads that come again and again. Not written without need: other threads
/// read here.
void BatchIOManager::note_device_read() {
  if (!device_read_.load(std::memory_order_relaxed)) {
    device_read_.store(true, std::memory_order_relaxed);
  }
}

void BatchIOManager::start_reads(Reads& reads) {
  if (!reads.merged.empty()) note_device_read();
  reads.leases.resize(reads.merged.size());
  reads.request_of.resize(reads.merged.size());
  reads.batch.requests.reserve(reads.merged.size());
  for (std::size_t i = 0; i < reads.merged.size(); ++i) {
    const Extent& extent = reads.merged[i].extent;
    IoLease& lease = reads.leases[i];
    lease = lease_to_read(extent.size);
    if (!lease) continue;
    reads.request_of[i] = reads.batch.requests.size();
    reads.batch.requests.push_back(
        {.offset = extent.offset, .data = lease.bytes.data(), .size = extent.size});
  }
  reads.started = disk_.submit(reads.batch);
}

/// Gives the piece its part of what has been read into `lease`.
void BatchIOManager::answer_piece(const Piece& piece, const Reads& reads, std::size_t read,
                                  IoLease lease, ReadAnswer& answer) {
  if (!lease) {
    fail(answer, {Errc::out_of_memory, "memory for reading"});
  } else if (!reads.started) {
    fail(answer, reads.started.error());
  } else if (reads.request(read).os_error == 0) {
    hand_out(piece, reads.merged[read].extent, std::move(lease), answer);
  } else if (reads.merged[read].requests.size() > 1 && !mutated(Mutant::kBadSectorSpreads)) {
    read_alone(piece, answer);  // one bad sector must not fail its neighbours
  } else {
    fail(answer, failure_of(reads.request(read)));
  }
}

/// Reads the pieces that `answers` lack, and hands all of them out.
void BatchIOManager::read_merged(std::span<const Piece> pieces, std::span<ReadAnswer> answers,
                                 const OnAnswer& on_answer) {
  std::vector<Extent> extents;
  extents.reserve(pieces.size());
  std::vector<std::uint32_t> lacking(answers.size());  // so many pieces
  for (const Piece& piece : pieces) {
    extents.push_back(piece.extent);
    ++lacking[piece.answer];
  }
  Reads reads;
  reads.merged = merge_reads(extents, read_gap_bytes_, alignment_);
  start_reads(reads);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (lacking[i] == 0) on_answer(i, answers[i]);
  }

  const auto hand_out_read = [&](std::size_t read) {
    const std::vector<std::uint32_t>& wanted = reads.merged[read].requests;
    for (const std::uint32_t& index : wanted) {
      const std::uint32_t answer = pieces[index].answer;
      // The last one takes the memory: it is free as soon as nobody looks at it, not with the
      // batch.
      IoLease& all = reads.leases[read];
      IoLease lease = &index == &wanted.back() ? std::move(all) : all;
      answer_piece(pieces[index], reads, read, std::move(lease), answers[answer]);
      if (--lacking[answer] == 0) on_answer(answer, answers[answer]);
    }
  };
  std::vector<std::size_t> left(reads.merged.size());
  std::iota(left.begin(), left.end(), std::size_t{0});
  std::vector<std::size_t> ended, under_way;
  while (!left.empty()) {
    disk_.wait(reads.batch, std::max(reads.batch.under_way / kShareAwaited, kReadsAwaitedMin));
    ended.clear();
    under_way.clear();
    for (const std::size_t read : left) {
      (reads.is_done(read) ? ended : under_way).push_back(read);
    }
    left.swap(under_way);
    for (std::size_t i = 0; i < ended.size(); ++i) {
      if (i + 1 < ended.size()) reads.prefetch(ended[i + 1]);
      hand_out_read(ended[i]);
    }
  }
}

void BatchIOManager::read_alone(const Piece& piece, ReadAnswer& answer) {
  const Extent extent = widened(piece.extent);
  IoLease lease = lease_to_read(extent.size);
  if (!lease) return fail(answer, {Errc::out_of_memory, "memory for reading"});
  note_device_read();
  if (Result<void> read = disk_.read(extent.offset, lease.bytes.first(extent.size)); !read) {
    return fail(answer, read.error());
  }
  hand_out(piece, extent, std::move(lease), answer);
}

IoLease BatchIOManager::lease_to_read(std::size_t size) {
  IoLease lease = arena_->lease(size);
  return lease ? lease : arena_->heap_lease(size, true);
}

/// Memory for bytes that are copied: a small answer should not hold a page of the arena.
IoLease BatchIOManager::lease_to_copy(std::size_t size) {
  const bool small = size < IoArena::kPageBytes;
  IoLease lease = small ? arena_->heap_lease(size, false) : arena_->lease(size);
  if (lease) return lease;
  return small ? arena_->lease(size) : arena_->heap_lease(size, false);
}

}  // namespace rawcache
