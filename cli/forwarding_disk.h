// Disks that stand before another one: for slow syncs, and for giving up half-way.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "rawcache/disk.h"

namespace rawcache::cli {

/// Passes everything on.
class ForwardingDisk : public Disk {
 public:
  explicit ForwardingDisk(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}

 protected:
  const DiskInfo& do_info() const override { return disk_->info(); }
  void do_submit(IoBatch& batch) override;
  void do_wait(IoBatch& batch, std::size_t at_least) override { disk_->wait(batch, at_least); }
  int do_sync() override;
  void do_start_sync(IoBatch& batch) override { disk_->start_sync(batch); }
  void do_use_memory(std::span<std::byte> memory) override { disk_->use_memory(memory); }

 private:
  std::shared_ptr<Disk> disk_;
};

/// Every sync takes `delay` longer, like a device that really writes to its medium.
class DelayingDisk final : public ForwardingDisk {
 public:
  DelayingDisk(std::shared_ptr<Disk> disk, std::chrono::nanoseconds delay)
      : ForwardingDisk(std::move(disk)), delay_(delay) {}

 private:
  struct Delayed;  // a sync under way

  void do_wait(IoBatch& batch, std::size_t at_least) override;
  int do_sync() override;
  void do_start_sync(IoBatch& batch) override;
  std::chrono::nanoseconds delay_;
};

/// Fails all reads once the user has interrupted, so that whatever reads comes to an end.
class InterruptibleDisk final : public ForwardingDisk {
 public:
  using ForwardingDisk::ForwardingDisk;

 private:
  void do_submit(IoBatch& batch) override;
};

}  // namespace rawcache::cli
