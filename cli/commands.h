// The commands. Each does its work, prints, and returns the exit status.
#pragma once

#include "cli/options.h"

namespace rawcache::cli {

int run_format(const FormatArguments& arguments);
int run_inspect(const CommonArguments& arguments);
int run_put(const PutArguments& arguments);
int run_get(const GetArguments& arguments);
int run_rm(const RmArguments& arguments);
int run_keys(const KeysArguments& arguments);
int run_stats(const StatsArguments& arguments);
/// run_stats for a server, or again and again.
int run_watch(const StatsArguments& arguments);
int run_verify(const VerifyArguments& arguments);
int run_replay(const ReplayArguments& arguments);
int run_serve(const ServeArguments& arguments);
int run_bench_batch_io(const BenchArguments& arguments);

}  // namespace rawcache::cli
