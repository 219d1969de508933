#include "cache/device_signature.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/aligned_buffer.h"
#include "base/math.h"
#include "format/superblock.h"

namespace rawcache {
namespace {

struct Signature {
  std::size_t offset;
  std::string_view magic;
  const char* name;
};

using namespace std::string_view_literals;

/// The well-known ones; offsets from the start of the device.
constexpr Signature kSignatures[] = {
    {0, "RWCACHE1"sv, "a rawcache"},
    {kSuperblockOffsets[1], "RWCACHE1"sv, "a rawcache"},
    {1080, "\x53\xEF"sv, "an ext2/3/4 file system"},
    {0, "XFSB"sv, "an XFS file system"},
    {65600, "_BHRfS_M"sv, "a btrfs file system"},
    {512, "EFI PART"sv, "a GPT partition table"},
    {4096, "EFI PART"sv, "a GPT partition table"},
    {510, "\x55\xAA"sv, "a partition table or boot sector"},
    {0, "LUKS\xBA\xBE"sv, "a LUKS container"},
    {536, "LVM2 001"sv, "an LVM physical volume"},
    {4096, "\xFC\x4E\x2B\xA9"sv, "a Linux RAID member"},
    {0, "hsqs"sv, "a squashfs file system"},
    {32769, "CD001"sv, "an ISO 9660 file system"},
    {4086, "SWAPSPACE2"sv, "swap space"},
    {4120, "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA"sv, "a bcache device"},
    {3, "NTFS    "sv, "an NTFS file system"},
    {1024, "\x10\x20\xF5\xF2"sv, "an F2FS file system"},
};
constexpr std::size_t kLookedAtBytes = std::size_t{128} << 10;

}  // namespace

Result<std::string> find_signature(Disk& disk) {
  const std::size_t size = std::min<std::uint64_t>(
      kLookedAtBytes, round_down(disk.info().size_bytes, disk.info().io_alignment));
  if (size == 0) return std::string();
  AlignedBuffer buffer = AlignedBuffer::allocate(kLookedAtBytes);
  if (buffer.empty()) return std::unexpected(Errc::out_of_memory);
  if (auto read = disk.read(0, buffer.bytes().first(size)); !read) {
    return std::unexpected(read.error());
  }
  for (const Signature& signature : kSignatures) {
    if (std::memcmp(buffer.data() + signature.offset, signature.magic.data(),
                    signature.magic.size()) == 0) {
      return std::string(signature.name);
    }
  }
  return std::string();
}

}  // namespace rawcache
