// UringDisk: io_uring. A batch goes out at full depth in one system call.
#pragma once

#include <memory>

#include "disk/file_descriptor.h"
#include "rawcache/disk.h"

namespace rawcache {

class Ring;
class RingPool;

/// Every batch has a ring of its own from submit until it is done, so that no lock is held and no
/// thread sees another's completions. A single small request is a plain pread or pwrite: one system
/// call less. So is everything when no ring is to be had. Batches keep the file open, so they may
/// outlive the disk.
class UringDisk final : public Disk {
 public:
  /// Takes `fd` only on success. Error: not_supported, with the kernel's reason.
  static Result<std::unique_ptr<UringDisk>> create(FileDescriptor& fd, DiskInfo info);
  ~UringDisk() override;

  /// Why memory given to use_memory is not registered with the kernel (an errno, ENOMEM for
  /// RLIMIT_MEMLOCK); 0 if it is, or none was given or none was needed yet.
  int memory_error() const;

 private:
  class Flight;

  UringDisk(std::shared_ptr<RingPool> rings, DiskInfo info);
  const DiskInfo& do_info() const override { return info_; }
  void do_submit(IoBatch& batch) override;
  bool do_one(IoRequest& request) override;
  void do_wait(IoBatch& batch, std::size_t at_least) override;
  int do_sync() override;
  void do_start_sync(IoBatch& batch) override;
  void do_use_memory(std::span<std::byte> memory) override;
  void start(IoBatch& batch, std::unique_ptr<Ring> ring);

  const DiskInfo info_;
  const std::shared_ptr<RingPool> rings_;
};

}  // namespace rawcache
