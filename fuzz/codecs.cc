// Entry, batch, footer, checkpoint, superblock and dictionary codecs: hostile bytes are refused or
// decode to something that encodes to the same bytes; nothing is read outside them.
#include <vector>

#include "format/batch.h"
#include "format/bytes.h"
#include "format/checkpoint.h"
#include "format/dictionary.h"
#include "format/segment.h"
#include "format/superblock.h"
#include "format/value_codec.h"
#include "fuzz/input.h"

namespace rawcache::fuzz {
namespace {

constexpr CacheId kId{1, 2};
constexpr Place kPlace{.id = kId, .offset = 0x20000, .generation = 3};
constexpr std::uint32_t kAlignment = 4;

using Bytes = std::vector<std::byte>;

template <typename T>
void seal_start(Bytes& bytes, std::uint32_t magic, Place place) {
  if (bytes.size() < sizeof(T)) return;
  auto value = load<T>(bytes);
  value.magic = magic;
  if constexpr (requires { T::generation; }) place.generation = kPlace.generation;
  value.checksum = checksum_of(value, place_seed(place));
  save(std::span(bytes), value);
}

void entry(Bytes bytes) {
  if (const auto found = decode_entry(bytes, kPlace)) {
    expect(found->bytes <= bytes.size(), "an entry ends behind its bytes");
  }
  // The same key and value, encoded, come back.
  Input input(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  EntryFields fields;
  fields.sequence = input.take<std::uint64_t>();
  fields.expires_at = input.take<std::uint32_t>();
  fields.kind = input.take_below(4) == 0 ? EntryKind::remove : EntryKind::value;
  const std::string key = "k" + input.take_text(input.take<std::uint8_t>());
  const std::string value = fields.kind == EntryKind::value ? input.take_rest() : std::string();
  if (fields.kind != EntryKind::value) fields.expires_at = 0;
  fields.key = key;
  fields.key_hash = hash_key(key, kId);
  fields.value = std::as_bytes(std::span(value));
  fields.value_hash = hash_value(fields.value);
  Bytes out(entry_bytes(key.size(), value.size(), fields.expires_at != 0));
  const std::uint64_t checksum = encode_entry(out, fields, kPlace);
  const auto found = decode_entry(out, kPlace);
  expect(found && found->key == key && std::ranges::equal(found->value, fields.value) &&
             found->sequence == fields.sequence && found->expires_at == fields.expires_at &&
             found->checksum == checksum,
         "an entry does not come back");
  withdraw_entry(out, kPlace);
  const auto withdrawn = decode_entry(out, kPlace);
  expect(withdrawn && withdrawn->kind == EntryKind::withdrawn, "an entry cannot be withdrawn");
}

void batch(Bytes bytes, bool sealed) {
  if (sealed && bytes.size() >= sizeof(BatchHeader)) {
    auto header = load<BatchHeader>(bytes);
    header.magic = kBatchMagic;
    Place place = kPlace;
    place.generation = header.generation;
    header.checksum = checksum_of(header, place_seed(place));
    save(std::span(bytes), header);
  }
  const auto header = decode_batch_header(bytes, kPlace);
  if (!header) return;
  Place place = kPlace;
  place.generation = header->generation;
  const auto part = std::span(bytes).first(std::min<std::size_t>(header->bytes, bytes.size()));
  EntryWalker walker(part, *header, place, kAlignment);
  std::size_t found = 0;
  while (walker.next()) ++found;
  expect(found <= part.size() / kAlignment, "a part holds more entries than fit");
  expect(!walker.complete() || found == header->entries, "a part with gaps is complete");
}

void footer(Bytes bytes, bool sealed) {
  if (bytes.size() < sizeof(FooterTrailer)) return;
  if (sealed) {
    const auto at = std::span(bytes).last(sizeof(FooterTrailer));
    auto trailer = load<FooterTrailer>(at);
    trailer.magic = kFooterMagic;
    Place place = kPlace;
    place.generation = trailer.generation;
    if (trailer.records_bytes <= bytes.size()) {
      trailer.records_checksum =
          hash64(std::span(bytes).first(trailer.records_bytes), place_seed(place));
    }
    trailer.checksum = checksum_of(trailer, place_seed(place));
    save(at, trailer);
  }
  const auto trailer = decode_footer_trailer(bytes, kPlace);
  if (!trailer) return;
  const auto records =
      decode_footer_records(bytes, *trailer, {kAlignment, kSegmentBytesMax}, kPlace);
  if (!records) return;
  FooterRecords again(kAlignment);
  for (const FooterRecord& record : *records) {
    expect(record.offset >= again.end() && record.bytes > 0, "records of a footer overlap");
    again.make_room_for_one();
    again.add(record);
  }
  // Numbers may have been written with leading zeros.
  expect(again.bytes().size() <= trailer->records_bytes, "a footer has other records");
}

void checkpoint(Bytes bytes, bool sealed) {
  if (sealed) seal_start<CheckpointHeader>(bytes, kCheckpointMagic, {.id = kId, .offset = 0x20000});
  (void)decode_checkpoint_header(bytes, kPlace);
  if (bytes.size() < sizeof(ChunkHeader)) return;
  const auto chunk = load<ChunkHeader>(bytes);
  if (sealed && chunk.payload_bytes <= bytes.size() - sizeof chunk) {
    encode_chunk(bytes, chunk.number, chunk.generation, chunk.payload_bytes, kPlace);
  }
  const auto decoded = decode_chunk(bytes, chunk.number, chunk.generation, kPlace);
  expect(!decoded || decoded->payload_bytes <= bytes.size() - sizeof chunk,
         "a chunk ends behind its bytes");
}

void superblock(Bytes bytes, bool sealed) {
  if (sealed && bytes.size() >= sizeof(Superblock)) {
    auto value = load<Superblock>(bytes);
    value.magic = kSuperblockMagic;
    value.version = kFormatVersion;
    value.checksum = checksum_of(value, place_seed({.id = value.id}));
    save(std::span(bytes), value);
  }
  const auto decoded = decode_superblock(bytes, 0);
  if (!decoded) return;
  expect(decoded->segments_end() <= decoded->device_bytes && decoded->segments >= kSegmentsMin,
         "a superblock's parts leave the device");
  expect(entry_bytes_max(*decoded) <= decoded->segment_bytes, "an entry larger than a segment");
}

void dictionary(Bytes bytes, bool sealed) {
  if (sealed && bytes.size() >= sizeof(DictionaryHeader)) {
    auto header = load<DictionaryHeader>(bytes);
    header.magic = kDictionaryMagic;
    const auto content = std::span(bytes).subspan(sizeof(header));
    header.content_hash =
        hash64(content.first(std::min<std::size_t>(header.bytes, content.size())));
    header.checksum = checksum_of(header, place_seed(kPlace));
    save(std::span(bytes), header);
  }
  const auto decoded = decode_dictionary(bytes, kPlace);
  if (!decoded) return;
  expect(decoded->bytes.size() <= bytes.size() - sizeof(DictionaryHeader),
         "a dictionary ends behind its bytes");
  // Whatever it holds, and whatever is taken for a value that was compressed with it.
  const auto made = Dictionary::create(decoded->bytes, 1);
  if (!made) return;
  ValueCodec codec;
  Bytes out(300);
  (void)codec.decompress(Codec::zstd_dictionary, decoded->bytes, out, made.get());
  Bytes packed(2 * out.size());
  const auto size = codec.compress(Codec::zstd_dictionary, 1, out, packed, made.get());
  if (!size) return;
  Bytes back(out.size(), std::byte{0xEE});
  const auto value = std::span(packed).first(*size);
  expect(codec.decompress(Codec::zstd_dictionary, value, back, made.get()) && back == out,
         "a value does not come back from a dictionary");
}

}  // namespace
}  // namespace rawcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rawcache::fuzz;
  Input input(data, size);
  const auto kind = input.take_below(5);
  const bool sealed = input.take_bool();
  const std::string rest = input.take_rest();
  const auto* const begin = reinterpret_cast<const std::byte*>(rest.data());
  Bytes bytes(begin, begin + rest.size());
  if (kind == 0) entry(std::move(bytes));
  if (kind == 1) batch(std::move(bytes), sealed);
  if (kind == 2) footer(std::move(bytes), sealed);
  if (kind == 3) checkpoint(std::move(bytes), sealed);
  if (kind == 4) {
    superblock(bytes, sealed);
    dictionary(std::move(bytes), sealed);
  }
  return 0;
}
