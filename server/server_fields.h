// Every field of ServerStats with its name, unit and meaning, as metrics/stats_fields.h has those
// of Stats.
#pragma once

#include <vector>

#include "metrics/stats_fields.h"
#include "server/stats.h"

namespace rawcache::server {

std::vector<metrics::StatsGroup> server_groups(const ServerStats& stats);

}  // namespace rawcache::server
