// Value: what a lookup hands out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace rawcache {

/// A reference-counted, read-only view of a stored value, in the buffer it was read into.
///
/// Copying shares the bytes. A Value stays valid after its entry was overwritten, removed or
/// evicted and after the cache was closed and destroyed. It holds read-buffer memory as long as it
/// lives: keep it briefly, or copy the bytes out. Threads: like std::shared_ptr; distinct Value
/// objects may be used from distinct threads.
class Value {
 public:
  Value() = default;
  Value(std::shared_ptr<const void> owner, std::span<const std::byte> bytes, std::uint64_t sequence,
        std::uint32_t expires_at, std::uint32_t flags, bool stale = false)
      : owner_(std::move(owner)),
        bytes_(bytes),
        sequence_(sequence),
        expires_at_(expires_at),
        flags_(flags),
        stale_(stale) {}

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::byte* data() const { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  std::string str() const { return std::string(view()); }

  /// The number of the write that stored it: grows with every write of this cache, across restarts.
  std::uint64_t sequence() const { return sequence_; }
  /// Wall-clock second (Unix time) at which it expires; 0: never.
  std::uint32_t expires_at() const { return expires_at_; }
  /// StoreOptions::flags it was stored with.
  std::uint32_t flags() const { return flags_; }
  /// StoreOptions::stale it was stored with.
  bool stale() const { return stale_; }

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
  std::uint64_t sequence_ = 0;
  std::uint32_t expires_at_ = 0;
  std::uint32_t flags_ = 0;
  bool stale_ = false;
};

}  // namespace rawcache
