// Published: a number that one thread at a time writes and any thread reads, without a lock.
#pragma once

#include <atomic>

namespace rawcache {

/// What its writer has done before set() is seen by who gets the value. Can be moved while nobody
/// else looks.
template <typename T>
class Published {
 public:
  Published() = default;
  Published(Published&& other) noexcept : value_(other.get()) {}
  Published& operator=(Published&& other) noexcept {
    set(other.get());
    return *this;
  }
  T get() const { return value_.load(std::memory_order_acquire); }
  void set(T value) { value_.store(value, std::memory_order_release); }

 private:
  std::atomic<T> value_{};
};

}  // namespace rawcache
