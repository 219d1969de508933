// PosixDisk: pread and pwrite; large batches are spread over a few threads.
#pragma once

#include <memory>

#include "disk/file_descriptor.h"
#include "rawcache/disk.h"

namespace rawcache {

/// Carries out the whole request, however many system calls it takes. Returns 0 or an errno. A read
/// that meets the end of the file is EIO: requests lie inside the disk.
int transfer(int fd, const IoRequest& request);

/// Returns 0 or an errno.
int sync_data(int fd);

/// Batches of fewer than kSpreadRequests are done when submit returns. The others go to worker
/// threads, started when first needed, which a waiting caller helps. Batches keep the file open and
/// the workers alive, so they may outlive the disk.
class PosixDisk final : public Disk {
 public:
  static constexpr std::size_t kSpreadRequests = 4;
  static constexpr unsigned kWorkers = 8;

  PosixDisk(FileDescriptor fd, DiskInfo info, unsigned workers = kWorkers);
  ~PosixDisk() override;

 private:
  class Pool;
  struct Work;

  const DiskInfo& do_info() const override { return info_; }
  void do_submit(IoBatch& batch) override;
  bool do_one(IoRequest& request) override;
  void do_wait(IoBatch& batch, std::size_t at_least) override;
  int do_sync() override;

  const DiskInfo info_;
  const std::shared_ptr<Pool> pool_;
};

}  // namespace rawcache
