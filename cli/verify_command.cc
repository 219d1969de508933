// verify: reads everything, lists what is damaged, changes nothing.
#include "cli/commands.h"
#include "cli/forwarding_disk.h"
#include "cli/output.h"
#include "cli/text.h"
#include "rawcache/raw_disk_cache.h"

namespace rawcache::cli {

namespace {

/// Exclusively, because what another process is just writing looks like damage; but what may only
/// be read can still be verified.
Result<std::unique_ptr<Disk>> open_to_verify(const CommonArguments& arguments) {
  DiskOptions options{.engine = arguments.engine, .direct = arguments.direct};
  auto disk = open_disk(arguments.path, options);
  if (!disk && (disk.error() == Errc::permission_denied || disk.error() == Errc::read_only)) {
    options.read_only = true;
    disk = open_disk(arguments.path, options);
  }
  return disk;
}

struct Progress {
  std::uint64_t done = 0, all = 0;
};

/// Takes out what was called damaged only because reading it was cut short.
void keep_what_was_read(VerifyReport& report, const CacheInfo& info, std::uint64_t log_bytes_done) {
  const std::uint64_t log = info.capacity_bytes - info.segments * info.segment_bytes;
  std::erase_if(report.damage,
                [&](const Damage& damage) { return damage.offset >= log + log_bytes_done; });
  report.damage_count = report.damage.size();
  report.bytes_read = log_bytes_done;  // the disk's count includes what was refused
}

void print_report(const VerifyReport& report, const Progress& progress, bool complete) {
  for (const Damage& damage : report.damage) {
    std::string line = "damage at byte " + format_count(damage.offset) + ", " +
                       format_bytes(damage.size) + ": " + damage.what;
    if (!damage.key.empty()) line += ", key " + escape(damage.key);
    print(line + "\n");
  }
  if (report.damage_count > report.damage.size()) {
    print("... and " + format_count(report.damage_count - report.damage.size()) + " more\n");
  }
  if (!complete) {
    print("Interrupted after " + format_bytes(progress.done) + " of " + format_bytes(progress.all) +
          " of the log: ");
  }
  print(report.damage_count == 0 ? "no damage: "
                                 : "damage found: " + format_count(report.damage_count) + ", ");
  print("entries " + format_count(report.entries) + ", batches " + format_count(report.batches) +
        ", read " + format_bytes(report.bytes_read) + "\n");
}

void print_json(const CommonArguments& arguments, const VerifyReport& report, bool complete) {
  JsonWriter json = begin_json("verify");
  json.field("path", arguments.path).field("complete", complete);
  json.field("entries", report.entries).field("batches", report.batches);
  json.field("bytes_read", report.bytes_read).field("damage_count", report.damage_count);
  json.name("damage").begin_array();
  for (const Damage& damage : report.damage) {
    json.begin_object().field("offset", damage.offset).field("size", damage.size);
    json.field("what", damage.what);
    if (!damage.key.empty()) json.name("key").bytes(damage.key);
    json.end_object();
  }
  json.end_array();
  end_json(json);
}

}  // namespace

int run_verify(const VerifyArguments& arguments) {
  auto opened = open_to_verify(arguments);
  if (!opened) return fail(opened.error(), arguments.json);
  InterruptibleDisk disk{std::shared_ptr<Disk>(std::move(*opened))};
  const auto info = RawDiskCache::inspect(disk);
  if (!info) return fail(info.error(), arguments.json);

  catch_interrupts();
  Progress progress{0, info->segments * info->segment_bytes};
  ProgressLine line("Verifying", !arguments.quiet);
  auto report = RawDiskCache::verify(disk, [&](std::uint64_t done, std::uint64_t all) {
    if (interrupted()) return;
    progress = {done, all};
    line.show(done, all);
  });
  line.clear();
  const bool complete = !interrupted();
  if (!report && complete) return fail(report.error(), arguments.json);
  if (!report) report = VerifyReport();
  if (!complete) keep_what_was_read(*report, *info, progress.done);
  if (arguments.json) {
    print_json(arguments, *report, complete);
  } else if (!arguments.quiet) {
    print_report(*report, progress, complete);
  }
  if (!complete) return kExitInterrupted;
  return report->damage_count == 0 ? kExitOk : kExitDamage;
}

}  // namespace rawcache::cli
