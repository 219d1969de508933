// The options of `rawcache replay`, and that of admission, which other commands have too.
#pragma once

#include "cli/options.h"

namespace CLI {
class App;
}

namespace rawcache::cli {

void add_replay_arguments(CLI::App& command, ReplayArguments& arguments);
/// --admission all or wanted-again.
void add_admission_option(CLI::App& command, Admission& admission);

}  // namespace rawcache::cli
