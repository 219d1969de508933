// Power cuts: a simulated disk that can be cut off, and recoveries from what it leaves.
#pragma once

#include <cerrno>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "crash/workload.h"
#include "support/faulty_disk.h"
#include "support/sim_disk.h"

namespace rawcache::testing {

using Image = std::vector<std::byte>;

inline constexpr CrashPolicy kPolicies[] = {CrashPolicy::lose_all,  CrashPolicy::keep_all,
                                            CrashPolicy::any_whole, CrashPolicy::any_torn,
                                            CrashPolicy::any_shorn, CrashPolicy::any_garbage};

CrashPolicy any_policy(std::mt19937_64& random);

/// A disk that can be cut off: from then on every I/O fails and nothing reaches the medium.
class CutDisk {
 public:
  explicit CutDisk(Image image) : sim_(new SimDisk(std::move(image))), disk_(own(sim_)) {}
  explicit CutDisk(std::uint64_t bytes) : sim_(new SimDisk(bytes)), disk_(own(sim_)) {}

  FaultyDisk& disk() { return disk_; }
  SimDisk& medium() { return *sim_; }
  const SimDisk& medium() const { return *sim_; }
  bool is_cut() const { return cut_; }
  /// To be called from the hook: this I/O and all after it fail.
  void cut() {
    cut_ = true;
    using Op = FaultyDisk::Op;
    for (const Op op : {Op::read, Op::write, Op::sync}) {
      disk_.fail(op, 1, EIO, FaultyDisk::Repeat::for_ever);
    }
  }
  /// Cuts it at the k-th I/O from now on.
  void cut_at(std::uint64_t k) {
    cut_in_ = k;
    disk_.set_hook([this](const FaultyDisk::Event&) {
      if (cut_in_ > 0 && --cut_in_ == 0) cut();
    });
  }

 private:
  static std::unique_ptr<Disk> own(SimDisk* disk) { return std::unique_ptr<Disk>(disk); }

  SimDisk* const sim_;  ///< owned by disk_
  FaultyDisk disk_;
  bool cut_ = false;
  std::uint64_t cut_in_ = 0;  ///< here and not in the hook, which is copied for each call
};

/// What a recovery from an image found.
struct Recovered {
  Content content;
  Image image;        ///< as the recovered cache leaves it, uncut
  std::string wrong;  ///< whatever no cache may do
  std::uint64_t cuts = 0;
  bool index_was_full = false;
};

/// Opens the image and looks. Now and then the power is cut during recovery, up to twice; now and
/// then it is cut after it, and the second recovery must find the same.
Recovered recover_from(Image image, const Scene& scene, std::mt19937_64& random);

}  // namespace rawcache::testing
