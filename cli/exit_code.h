// Exit statuses: what a script can tell from how the tool ended.
#pragma once

#include "rawcache/result.h"

namespace rawcache::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitMiss = 1,       ///< get, rm: no such key
  kExitUsage = 2,      ///< wrong arguments, or a flag is missing that this needs
  kExitNotACache = 3,  ///< not a rawcache device, or not one that can be used as it is
  kExitDamage = 4,     ///< verify found damage
  kExitBusy = 5,       ///< open elsewhere, or mounted
  kExitFailure = 8,    ///< I/O and everything else
  kExitInterrupted = 130,
};

ExitCode exit_code_of(Errc code);

}  // namespace rawcache::cli
