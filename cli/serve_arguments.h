// The arguments of `rawcache serve`: its own, and memcached's letters.
#pragma once

#include "cli/options.h"

namespace CLI {
class App;
}

namespace rawcache::cli {

void add_serve_arguments(CLI::App& command, ServeArguments& arguments);

/// "buffered", "interval:MS" or "sync" into the arguments; false if it is none of them.
bool parse_durability(std::string_view text, ServeArguments& arguments);
/// "keep", "flush" or "max-age:T".
bool parse_on_start(std::string_view text, ServeArguments& arguments);

}  // namespace rawcache::cli
