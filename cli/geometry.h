// What a cache is, shown after `format` and by `inspect`.
#pragma once

#include <string>

#include "metrics/json.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

/// Lines for people. `with_content`: also what the checkpoint says.
std::string geometry_text(const CacheInfo& info, bool with_content);
/// Fields of the object that is open.
void geometry_json(metrics::JsonWriter& json, const CacheInfo& info);

}  // namespace rawcache::cli
