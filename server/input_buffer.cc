#include "server/input_buffer.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "server/options.h"

namespace rawcache::server {

namespace {
constexpr std::size_t kGrowth = 4;
}  // namespace

std::span<std::byte> InputBuffer::room(std::size_t capacity_max) {
  if (capacity_ == 0) {
    if (!grow(std::min(usual_, capacity_max))) (void)grow(kConnectionBufferMin);
  } else if (begin_ > 0) {
    std::memmove(memory_.get(), memory_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity_ && capacity_ < capacity_max) {
    (void)grow(std::min(capacity_ * kGrowth, capacity_max));
  }
  return {memory_.get() + end_, capacity_ - end_};
}

// Who fills what there is gets more next time, and less work per byte.
void InputBuffer::filled(std::size_t bytes) {
  end_ += bytes;
  if (end_ == capacity_) {
    usual_ = std::max(usual_, capacity_ * kGrowth);
  } else if (bytes < usual_ / kGrowth) {
    usual_ = std::max(usual_ / kGrowth, kFirstCapacity);
  }
}

bool InputBuffer::grow(std::size_t capacity) {
  const std::size_t more = capacity > kConnectionBufferMin ? capacity - kConnectionBufferMin : 0;
  if (more > taken_ && !budget_.take(more - taken_)) return false;
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[capacity]);
  if (!memory) {
    if (more > taken_) budget_.give_back(more - taken_);
    return false;
  }
  taken_ = std::max(more, taken_);
  if (end_ > begin_) std::memcpy(memory.get(), memory_.get() + begin_, end_ - begin_);
  memory_ = std::move(memory);
  end_ -= begin_;
  begin_ = 0;
  capacity_ = capacity;
  return true;
}

void InputBuffer::release() {
  budget_.give_back(taken_);
  memory_.reset();
  taken_ = capacity_ = begin_ = end_ = 0;
}

}  // namespace rawcache::server
