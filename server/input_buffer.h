// InputBuffer: bytes of a connection that are not parsed yet. Holds no memory while it is empty.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "server/memory_budget.h"

namespace rawcache::server {

class InputBuffer {
 public:
  explicit InputBuffer(MemoryBudget& budget) : budget_(budget) {}
  ~InputBuffer() { release(); }
  InputBuffer(const InputBuffer&) = delete;
  InputBuffer& operator=(const InputBuffer&) = delete;

  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(memory_.get()) + begin_, end_ - begin_};
  }
  std::size_t size() const { return end_ - begin_; }
  std::size_t capacity() const { return capacity_; }
  /// Forgets the first bytes. Views of the rest stay valid.
  void consume(std::size_t bytes) { begin_ += bytes; }

  /// Room behind what is there: at least one byte, after moving and, if that is not enough, growing
  /// to at most `capacity_max`. Empty: it is full, or the budget is used up.
  std::span<std::byte> room(std::size_t capacity_max);
  void filled(std::size_t bytes);
  /// Gives the memory back if nothing is in it.
  void shrink() {
    if (begin_ == end_) release();
  }

 private:
  static constexpr std::size_t kFirstCapacity = 16384;

  bool grow(std::size_t capacity);
  void release();

  MemoryBudget& budget_;
  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
  std::size_t taken_ = 0;               ///< of the budget
  std::size_t usual_ = kFirstCapacity;  ///< what is taken for a start
};

}  // namespace rawcache::server
