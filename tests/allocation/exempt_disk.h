// ExemptDisk: a simulated disk needs memory that no real one does.
#pragma once

#include <cerrno>

#include "allocation/failing_allocator.h"
#include "rawcache/disk.h"

namespace rawcache::testing {

/// Passes everything on to a disk that outlives it, and spares its allocations.
class ExemptDisk final : public Disk {
 public:
  explicit ExemptDisk(Disk& disk) : disk_(disk) {}

 private:
  const DiskInfo& do_info() const override { return disk_.info(); }
  void do_submit(IoBatch& batch) override {
    const FailingAllocator::Exempt exempt;
    (void)disk_.submit(batch);
  }
  void do_wait(IoBatch& batch, std::size_t at_least) override {
    const FailingAllocator::Exempt exempt;
    disk_.wait(batch, at_least);
  }
  int do_sync() override {
    const FailingAllocator::Exempt exempt;
    return disk_.sync() ? 0 : EIO;
  }
  Disk& disk_;
};

}  // namespace rawcache::testing
