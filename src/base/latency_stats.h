// latency_stats: what a histogram of nanoseconds says, as the public statistics tell it.
#pragma once

#include "base/histogram.h"
#include "rawcache/stats.h"

namespace rawcache {

LatencyStats latency_stats(const Histogram& histogram);

}  // namespace rawcache
