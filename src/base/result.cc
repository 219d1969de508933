#include "rawcache/result.h"

#include <array>
#include <system_error>

namespace rawcache {

namespace {

struct ErrcText {
  Errc code;
  std::string_view name;
  std::string_view situation;
  std::string_view remedy;  ///< empty if there is nothing to do about it
};

constexpr std::array kErrcTexts{
    ErrcText{Errc::not_found, "not_found", "not found", ""},
    ErrcText{Errc::condition_failed, "condition_failed", "the condition does not hold",
             "look the entry up and decide again"},
    ErrcText{Errc::key_empty, "key_empty", "empty key", "use a key of at least one byte"},
    ErrcText{Errc::key_too_long, "key_too_long", "key too long",
             "use a key of at most 8192 bytes, for example a hash of the long one"},
    ErrcText{Errc::value_too_large, "value_too_large", "value too large",
             "split the value, or format with larger segments"},
    ErrcText{Errc::invalid_options, "invalid_options", "invalid options", "correct the option"},
    ErrcText{Errc::capacity_too_small, "capacity_too_small", "capacity too small",
             "give it more space, smaller segments or fewer expected entries"},
    ErrcText{Errc::invalid_io, "invalid_io", "invalid I/O",
             "keep requests aligned, not empty and inside the disk"},
    ErrcText{Errc::closed, "closed", "cache is closed", "open it again"},
    ErrcText{Errc::no_such_file, "no_such_file", "no such file or device",
             "check the path, or set create_if_missing (rawcache format)"},
    ErrcText{Errc::already_exists, "already_exists", "something is there already",
             "overwrite it explicitly if it may be lost"},
    ErrcText{Errc::is_a_directory, "is_a_directory", "is a directory",
             "name a file in it, or a block device"},
    ErrcText{Errc::not_a_file_or_disk, "not_a_file_or_disk", "neither a file nor a block device",
             "name a regular file or a block device"},
    ErrcText{Errc::permission_denied, "permission_denied", "permission denied",
             "let this user read and write it"},
    ErrcText{Errc::read_only, "read_only", "read-only", "make the file system or device writable"},
    ErrcText{Errc::mounted, "mounted", "device is mounted or in use",
             "unmount it, or name another device"},
    ErrcText{Errc::already_open, "already_open", "already open",
             "close the other cache; only one may have it open"},
    ErrcText{Errc::not_a_cache, "not_a_cache", "not a cache", "format it first (rawcache format)"},
    ErrcText{Errc::unsupported_version, "unsupported_version", "unsupported format version",
             "use a release that knows this version, or format anew"},
    ErrcText{Errc::superblock_damaged, "superblock_damaged", "superblock damaged",
             "its content cannot be trusted; format anew"},
    ErrcText{Errc::checkpoint_lost, "checkpoint_lost", "no valid checkpoint",
             "verify it, then open with rebuild_if_checkpoint_lost"},
    ErrcText{Errc::device_shrunk, "device_shrunk", "device is smaller than when formatted",
             "restore its size, or format anew"},
    ErrcText{Errc::device_grown, "device_grown", "device is larger than when formatted",
             "open with accept_grown, or format anew to use all of it"},
    ErrcText{Errc::wrong_device, "wrong_device", "another cache than expected",
             "check the path and expected_id"},
    ErrcText{Errc::geometry_mismatch, "geometry_mismatch", "formatted with another geometry",
             "leave the format options 0, or format anew"},
    ErrcText{Errc::no_space, "no_space", "no space left", "free space on the file system"},
    ErrcText{Errc::out_of_memory, "out_of_memory", "out of memory",
             "release values, or give it more memory"},
    ErrcText{Errc::too_many_files, "too_many_files", "too many open files",
             "raise the limit (ulimit -n)"},
    ErrcText{Errc::not_supported, "not_supported", "not supported here",
             "let the engine and direct mode be chosen automatically"},
    ErrcText{Errc::io_error, "io_error", "I/O error", "check the device and the kernel log"},
    ErrcText{Errc::sync_failed, "sync_failed", "sync failed",
             "flush again; if it persists, check the device and the kernel log"},
    ErrcText{Errc::flush_failed, "flush_failed", "stored, but the flush failed",
             "nothing is lost yet; flush again"},
    ErrcText{Errc::buffer_full, "buffer_full", "write buffer full",
             "flush again once the device works"},
    ErrcText{Errc::load_failed, "load_failed", "loading failed", "correct the loader"},
    ErrcText{Errc::not_admitted, "not_admitted", "not stored, to spare the device",
             "store it when it is wanted again, or raise device_bytes_per_day"},
};

const ErrcText* text_of(Errc code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kErrcTexts.size() ? &kErrcTexts[index] : nullptr;
}

constexpr bool in_order_of_the_enumeration() {
  for (std::size_t i = 0; i < kErrcTexts.size(); ++i) {
    if (static_cast<std::size_t>(kErrcTexts[i].code) != i) return false;
  }
  return kErrcTexts.size() == static_cast<std::size_t>(Errc::not_admitted) + 1;
}
static_assert(in_order_of_the_enumeration());

}  // namespace

std::string_view errc_name(Errc code) {
  const ErrcText* text = text_of(code);
  return text != nullptr ? text->name : "unknown";
}

std::string Error::message() const {
  const ErrcText* text = text_of(code_);
  std::string line(text != nullptr ? text->situation : "unknown error");
  if (!detail_.empty()) line.append(": ").append(detail_);
  if (os_error_ != 0) {
    line.append(" (").append(std::generic_category().message(os_error_)).append(")");
  }
  if (text != nullptr && !text->remedy.empty()) line.append("; ").append(text->remedy);
  // Paths may hold anything; the message stays one line and does not drive a terminal.
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return line;
}

}  // namespace rawcache
