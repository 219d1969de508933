#include "cache/log_writer.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "base/assert.h"
#include "base/math.h"
#include "base/mutant.h"
#include "format/bytes.h"
#include "format/size_class.h"

namespace rawcache {
namespace {

/// Parts of a batch; the format counts them in 16 bits.
constexpr std::size_t kPartsMax = 1024;
/// A change of streams wastes half a block twice, and two headers; an entry of this many is worth
/// it.
constexpr unsigned kSwitchBlocks = 8;

/// Fetches memory where the next entry is likely to go, as far as one like this one reaches: else
/// the next lock that is taken waits until all of it has come.
void fetch_for_writing(const std::byte* memory, std::size_t size) {
  constexpr std::size_t kLineBytes = 64, kFetchedBytesMax = 512;
  for (std::size_t at = 0; at < std::min(size, kFetchedBytesMax); at += kLineBytes) {
    __builtin_prefetch(memory + at + kLineBytes, 1);
  }
}

/// So that the next push_back cannot fail.
template <typename T>
void make_room_for_one(std::vector<T>& list) {
  if (list.size() == list.capacity()) list.reserve(2 * list.size() + 1);
}

/// Their callers go on, and what they have waited with may be gone.
void acknowledge(PendingBatch& batch) {
  for (DirectWrite* write : batch.direct) {
    write->state.store(DirectWrite::State::durable, std::memory_order_release);
  }
  batch.direct.clear();
}

}  // namespace

void DirectWrite::fail(const Error& why) noexcept {
  try {
    error = why;
  } catch (const std::bad_alloc&) {
    error = Error(why.code(), {}, why.os_error());
  }
  state.store(State::failed, std::memory_order_release);  // it may be gone now
}

LogWriter::LogWriter(const Superblock& superblock, BatchIOManager& io, Index& index,
                     SegmentLog& log)
    : superblock_(superblock),
      header_bytes_(round_up(sizeof(BatchHeader), superblock.entry_alignment)),
      io_(io),
      index_(index),
      log_(log) {}

Place LogWriter::place_at(std::uint64_t offset) const {
  return {superblock_.id, offset, log_.generation(log_.segment_of(offset))};
}

// --- Appending ---

bool LogWriter::part_takes(std::uint64_t size) const {
  return open_ && !open_->parts.empty() && log_.has_open() &&
         open_->parts.back().segment == log_.open_segment() &&
         // A closed part has been padded; what follows begins another one.
         open_->parts.back().place.offset + open_->parts.back().bytes == log_.head() &&
         log_.fits(size);
}

LogWriter::Appended LogWriter::append(EntryFields& entry, std::uint64_t replay_from, Stream stream,
                                      DirectWrite* direct) {
  log_.select(stream);
  const std::uint64_t exact = entry_bytes(entry);
  const std::uint64_t size = round_up(exact, superblock_.entry_alignment);

  std::span<std::byte> room;
  if (part_takes(size)) {
    log_.make_room_for_record();
    if (direct != nullptr) make_room_for_one(open_->direct);
    room = io_.prepare(log_.head(), size);
  } else if (open_ && open_->parts.size() >= kPartsMax) {
    return {.obstacle = Obstacle::buffer};
  } else {
    if (!log_.has_open() || !log_.fits(header_bytes_ + size)) {
      log_.note_volatile(first_volatile_batch());
      const auto next = log_.usable_free(replay_from);
      if (!next) return {.obstacle = Obstacle::segment};
      go_on_in(*next);
    }
    room = begin_part(size, direct != nullptr);
  }
  if (room.empty()) return {.obstacle = Obstacle::buffer};

  if (entry.sequence == 0) entry.sequence = next_sequence_++;
  PendingPart& part = open_->parts.back();
  const Location location{log_.take(size), size_class(size)};
  std::ranges::fill(room.last(size - exact), std::byte{0});
  const std::uint64_t checksum = encode_entry(
      room.last(size), entry, {superblock_.id, location.offset, part.place.generation});
  io_.commit();
  fetch_for_writing(room.data() + room.size(), size);
  part.bytes += size;
  ++part.entries;
  part.digest = digest_next(part.digest, checksum);
  log_.record({.key_hash = entry.key_hash,
               .sequence = entry.sequence,
               .bytes = static_cast<std::uint32_t>(size),
               .kind = entry.kind},
              location.offset);
  if (direct != nullptr) {
    direct->batch = open_->sequence;
    open_->direct.push_back(direct);
  }
  return {.offset = location.offset, .size_class = location.size_class};
}

Stream LogWriter::main_if_cheap(std::uint64_t entry_bytes) const {
  if (!open_ || open_->parts.empty()) return Stream::main;
  const SegmentRecord& last = log_.table()[open_->parts.back().segment];
  const bool is_main = last.stream == static_cast<std::uint8_t>(Stream::main);
  const bool large = entry_bytes >= std::uint64_t{kSwitchBlocks} * superblock_.block_bytes;
  return is_main || large ? Stream::main : Stream::small;
}

// Header and first entry are reserved together, so that even an entry larger than the buffer
// follows its header in memory.
std::span<std::byte> LogWriter::begin_part(std::uint64_t entry_size, bool direct) {
  close_part();
  log_.make_room_for_record();
  PendingBatch& batch = open_ ? *open_ : spare_;
  make_room_for_one(batch.parts);
  if (direct) make_room_for_one(batch.direct);
  const std::uint64_t offset = log_.head();
  const auto room = io_.prepare(offset, header_bytes_ + entry_size);
  if (room.empty()) return {};
  if (!open_) {
    spare_.sequence = next_batch_++;
    open_ = std::exchange(spare_, {});
  }
  std::ranges::fill(room.first(header_bytes_), std::byte{0});
  log_.take(header_bytes_);
  log_.note_batch(open_->sequence);
  open_->parts.push_back({.segment = log_.open_segment(),
                          .previous_segment = log_.previous_segment(),
                          .place = place_at(offset),
                          .memory = room.data(),
                          .bytes = header_bytes_,
                          .entries = 0,
                          .digest = kDigestStart});
  return room;
}

void LogWriter::close_part() {
  const Stream selected = log_.selected();
  // The last part may lie in another stream than the next.
  for (const Stream stream : {Stream::small, Stream::main}) {
    log_.select(stream);
    const std::uint64_t padding = log_.has_open() ? log_.bytes_to_block() : 0;
    if (padding == 0) continue;
    const auto room = io_.reserve(log_.head(), padding, 0);
    RAWCACHE_ASSERT(!room.empty());  // WriteBuffer keeps a reserve for what is no operation
    log_.take(padding);
  }
  log_.select(selected);
}

void LogWriter::go_on_in(std::uint32_t next) {
  close_part();
  const std::uint64_t batch = open_ ? open_->sequence : next_batch_;
  if (log_.has_open()) place_footer(log_.seal(next, next_sequence_));
  log_.open(next, batch);
}

// Without memory the segment stays without a footer: it will be scanned where others are not.
void LogWriter::place_footer(SealedSegment sealed) try {
  const std::uint64_t size = footer_bytes(sealed.records.bytes().size(), superblock_.block_bytes);
  AlignedBuffer buffer = AlignedBuffer::allocate(size);
  if (buffer.empty()) return;
  footers_.reserve(footers_.size() + 1);
  const std::uint64_t offset = sealed.offset + log_.segment_bytes() - size;
  PendingFooter footer{std::move(sealed), buffer.bytes()};
  write_footer(footer);
  io_.adopt(offset, std::move(buffer));
  footers_.push_back(std::move(footer));
} catch (const std::bad_alloc&) {
}

// Withdrawn records are shorter, so that a block may be left at the start.
void LogWriter::write_footer(const PendingFooter& footer) const {
  const SealedSegment& sealed = footer.sealed;
  const std::span<const std::byte> records = sealed.records.bytes();
  encode_footer(footer.bytes.last(footer_bytes(records.size(), superblock_.block_bytes)), records,
                sealed.trailer, {superblock_.id, sealed.offset, sealed.trailer.generation});
}

bool LogWriter::leave_segment(std::uint64_t replay_from, Stream stream) {
  log_.select(stream);
  log_.note_volatile(first_volatile_batch());
  const auto next = log_.usable_free(replay_from);
  if (next) go_on_in(*next);
  return next.has_value();
}

void LogWriter::withdraw_last(Location location, const DirectWrite* direct) {
  withdraw_entry_at(*open_, location.offset);
  settle_withdrawn(*open_);
  if (direct != nullptr) open_->direct.pop_back();
}

// --- Closing and confirming ---

void LogWriter::write_headers(PendingBatch& batch) {
  for (std::size_t i = 0; i < batch.parts.size(); ++i) {
    const PendingPart& part = batch.parts[i];
    BatchHeader header{};
    header.part = static_cast<std::uint16_t>(i);
    header.parts = static_cast<std::uint16_t>(batch.parts.size());
    header.sequence = batch.sequence;
    header.durable_through =
        mutated(Mutant::kBatchSaysItIsDurable) ? batch.sequence : durable_through_;
    header.entries = part.entries;
    header.bytes = static_cast<std::uint32_t>(part.bytes);
    header.generation = part.place.generation;
    header.time = batch.time;
    header.previous_segment = part.previous_segment;
    header.since_previous = batch.since_previous & kSincePreviousMax;
    header.stream = log_.table()[part.segment].stream;
    header.digest = part.digest;
    std::array<std::byte, sizeof(BatchHeader)> bytes;
    encode_batch_header(bytes, header, part.place);
    // Reads that go past an entry's end may look there.
    io_.patch([&] { std::ranges::copy(bytes, part.memory); });
  }
}

Result<void> LogWriter::seal(std::int64_t now) {
  if (!io_.can_seal()) return std::unexpected(Errc::buffer_full);
  if (open_) {
    close_part();
    open_->time = static_cast<std::uint32_t>(now);
    open_->since_previous = static_cast<std::uint32_t>(open_->sequence - previous_batch_);
    write_headers(*open_);
  }
  // Before it is sealed: both know it then, or neither does.
  PendingBatch& batch = sealed_.emplace_back();
  const Result<bool> closed = io_.seal();
  if (!closed || !*closed) sealed_.pop_back();
  if (!closed) return std::unexpected(closed.error());
  if (!*closed) return {};
  // A buffer may hold nothing but a footer; it is counted like the others.
  batch.sequence = next_batch_;
  if (open_) {
    batch = std::move(*open_);
    previous_batch_ = batch.sequence;
    open_.reset();
    if (mutated(Mutant::kAcknowledgedWhenSealed)) acknowledge(batch);
  }
  return {};
}

void LogWriter::sealed_durable(std::size_t buffers) {
  RAWCACHE_ASSERT(buffers <= sealed_.size());
  for (; buffers > 0; --buffers) {
    PendingBatch& batch = sealed_.front();
    if (!batch.parts.empty()) durable_through_ = batch.sequence;
    acknowledge(batch);
    batch.parts.clear();
    spare_ = {.parts = std::move(batch.parts), .direct = std::move(batch.direct)};
    sealed_.pop_front();
  }
  std::erase_if(footers_, [&](const PendingFooter& footer) {
    return footer.sealed.trailer.last_batch <= durable_through_;
  });
}

std::uint64_t LogWriter::usable_free_count(std::uint64_t replay_from) {
  log_.note_volatile(first_volatile_batch());
  return log_.usable_free_count(replay_from);
}

std::uint64_t LogWriter::first_volatile_batch() const {
  return sealed_.empty() ? first_unsealed_batch() : sealed_.front().sequence;
}

void LogWriter::resume(std::uint64_t next_batch, std::uint64_t next_sequence,
                       std::uint64_t durable_through) {
  next_batch_ = next_batch;
  next_sequence_ = next_sequence;
  durable_through_ = durable_through;
  previous_batch_ = durable_through;
}

// --- Failure ---

void LogWriter::fail(const Error& error) {
  ++disturbances_;
  // Newest first, so that two writes of one key put back what was before the older one.
  if (open_) withdraw_direct(*open_, error);
  for (auto batch = sealed_.rbegin(); batch != sealed_.rend(); ++batch) {
    if (batch->direct.empty()) continue;
    withdraw_direct(*batch, error);
    write_headers(*batch);
  }
}

void LogWriter::withdraw_direct(PendingBatch& batch, const Error& error) {
  if (batch.direct.empty()) return;
  for (auto it = batch.direct.rbegin(); it != batch.direct.rend(); ++it) {
    const DirectWrite& write = **it;
    if (!mutated(Mutant::kFailedStoreStaysVisible)) put_back(write);
    if (!mutated(Mutant::kFailedStoreStaysInBatch)) withdraw_entry_at(batch, write.location.offset);
    ++disturbances_;
    ++withdrawn_;
  }
  settle_withdrawn(batch);
  for (DirectWrite* write : batch.direct) write->fail(error);
  batch.direct.clear();
}

void LogWriter::put_back(const DirectWrite& write) {
  // Not if its segment has been freed or reused since.
  const auto still_there = [&](Location before) {
    const SegmentRecord& record = log_.table()[log_.segment_of(before.offset)];
    return record.state != static_cast<std::uint8_t>(SegmentState::free) &&
           record.generation == write.before_generation;
  };
  const bool restorable = write.before && still_there(*write.before);
  if (write.remove) {
    // Whatever has been stored or removed since is newer.
    if (restorable && !index_.find(write.key_hash) && !is_overwritten(write)) {
      // Out of memory here loses a slot that was erased a moment ago: an eviction, no wrong answer.
      (void)index_.put(write.key_hash, *write.before);
    }
  } else if (restorable) {
    index_.replace(write.key_hash, write.location, *write.before);
  } else {
    index_.erase_if_at(write.key_hash, write.location.offset);
  }
}

// By an entry that waits for a batch as this one does: a later one of its key would not be there
// otherwise.
bool LogWriter::is_overwritten(const DirectWrite& write) const {
  const auto by = [&](const PendingBatch& batch) {
    return std::ranges::any_of(batch.parts, [&](const PendingPart& part) {
      EntryWalker walker = walker_of(part);
      while (const auto entry = walker.next()) {
        if (entry->key_hash == write.key_hash && entry->sequence > write.sequence &&
            entry->kind != EntryKind::withdrawn) {
          return true;
        }
      }
      return false;
    });
  };
  return std::ranges::any_of(sealed_, by) || (open_ && by(*open_));
}

bool LogWriter::awaits(std::uint64_t key_hash) const {
  bool found = false;
  for_each_direct([&](const DirectWrite& write) { found |= write.key_hash == key_hash; });
  return found;
}

void LogWriter::withdraw_entry_at(PendingBatch& batch, std::uint64_t offset) {
  for (PendingPart& part : batch.parts) {
    if (!part.holds(offset)) continue;
    const std::uint64_t within = offset - part.place.offset;
    const Place place{superblock_.id, offset, part.place.generation};
    const auto entry = decode_entry({part.memory + within, part.bytes - within}, place);
    RAWCACHE_ASSERT(entry.has_value());
    io_.patch([&] { withdraw_entry({part.memory + within, entry->bytes}, place); });
  }
}

void LogWriter::settle_withdrawn(PendingBatch& batch) {
  for (PendingPart& part : batch.parts) {
    EntryWalker walker = walker_of(part);
    part.digest = kDigestStart;
    while (const auto next = walker.next()) part.digest = digest_next(part.digest, next->checksum);
  }
  const auto is_withdrawn = [&batch](std::uint64_t offset) {
    const auto holder = std::ranges::find_if(
        batch.parts, [offset](const PendingPart& part) { return part.holds(offset); });
    if (holder == batch.parts.end()) return false;
    const std::span<const std::byte> bytes(holder->memory + (offset - holder->place.offset),
                                           sizeof(EntryHeader));
    return load<EntryHeader>(bytes).kind == static_cast<std::uint8_t>(EntryKind::withdrawn);
  };
  log_.withdraw_records(is_withdrawn);
  for (PendingFooter& footer : footers_) {
    SealedSegment& sealed = footer.sealed;
    if (std::ranges::find(batch.parts, sealed.segment, &PendingPart::segment) ==
        batch.parts.end()) {
      continue;
    }
    if (!mutated(Mutant::kFailedStoreStaysInFooter)) {
      sealed.records.withdraw(
          [&](std::uint32_t offset) { return is_withdrawn(sealed.offset + offset); });
    }
    io_.patch([&] { write_footer(footer); });
  }
}

EntryWalker LogWriter::walker_of(const PendingPart& part) const {
  BatchHeader header{};
  header.generation = part.place.generation;
  header.entries = part.entries;
  header.bytes = static_cast<std::uint32_t>(part.bytes);
  return {{part.memory, part.bytes}, header, part.place, superblock_.entry_alignment};
}

void LogWriter::discard() {
  for (PendingBatch& batch : sealed_) acknowledge(batch);
  if (open_) acknowledge(*open_);
  sealed_.clear();
  open_.reset();
  footers_.clear();
  previous_batch_ = durable_through_;
  if (!mutated(Mutant::kSameBatchAfterClear)) ++next_batch_;
  ++disturbances_;
}

}  // namespace rawcache
