#!/usr/bin/env python3
"""Runs every kind of proof for a share of the given time and sums up: prove.py [--minutes N | --ci].

Programs of tests print one line of JSON per figure (tests/support/proof.h); fuzz targets print libFuzzer's
statistics. `./x prove` builds what is run here. Two programs run at a time. The last line is
`N passed, M failed`; a violation, a crash or a program that is missing is a failure.
`--ci` runs the same seeds every time, as many as the share of `./x test` wants: what has passed once fails
only when the code has changed. Fresh seeds are for `--minutes`. `--self-test` checks the summing up.
"""

import argparse
import concurrent.futures
import functools
import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "build/release/tests"
FUZZ = ROOT / "build/fuzz/fuzz"
WORKERS = 2
FUZZ_FLAGS = ["-len_control=0", "-rss_limit_mb=2048", "-timeout=30", "-close_fd_mask=3", "-print_final_stats=1"]

# (name, program, filter of its tests, weight, seeds with --ci); weight 0: runs once, however long it takes;
# seeds 0: as many as the test has by itself, from its first on, with more time more. The weights are such that 60 minutes on two cores reach 8 million
# crash states, 4 million faults, 30 million fuzz executions, 10 million calls in histories, 3,000 power cuts.
PROOFS = [
    ("power cuts of processes", "power_cut_test", "*", 3, 4),
    ("crash states", "crash_test", "Crash.AfterAPowerCut*", 25, 5000),
    ("crashes in format, rot", "crash_test", "Crash.*-*AfterAPowerCut*", 1, 200),
    ("every crash, short runs", "exhaustive_test", "*SequenceOfAFewCalls*", 1, 0),
    ("every crash, longer runs", "exhaustive_test", "*LongerSequences*", 4, 600),
    ("random runs", "model_test", "*", 1, 400),
    ("histories", "history_test", "History.*", 2, 20),
    ("kills", "kill_test", "*", 1, 10),
    ("fault sweeps", "fault_test", "*FaultSweep*", 0, 0),
    ("fault sweeps, random", "fault_test", "FaultVolume.*RandomScenario*", 1, 500),
    ("faults, one after another", "fault_test", "FaultVolume.*AgainAndAgain*", 7, 5600),
    ("silent faults", "fault_test", "FaultVolume.*Rotten*", 3, 4600),
    ("allocation failures", "allocation_test", "*", 0, 0),
]
# (name, weight, length of inputs, executions with --ci)
FUZZ_TARGETS = [("codecs", 8, 4096, 970_000), ("image", 3, 512, 3_000), ("operations", 3, 1024, 1_000),
                ("configuration", 1, 256, 10_000), ("command_line", 1, 256, 20_000), ("commands", 1, 512, 20_000),
                ("http_request", 1, 512, 40_000)]
CI_FIRST_SEED = 1_000_001  # others than those of the tests by themselves
# Folders and files whose branches are counted.
COVERED = {
    "batch": "src/batch/",
    "format": "src/format/",
    "disk": "src/disk/",
    "recovery": r"src/cache/(recovery|replay|segment_scan|checkpoint_io|superblock_io)\.",
}


class Outcome:
    def __init__(self, name, seconds):
        self.name = name
        self.seconds = seconds
        self.figures = {}  # kind: count
        self.seeds = set()
        self.violations = 0
        self.skipped = 0
        self.words = ""  # of what went wrong
        self.note = ""  # to be said whatever happened


def read_json(outcome, text):
    for line in text.splitlines():
        if not line.startswith('{"kind"'):
            continue
        figure = json.loads(line)
        outcome.figures[figure["kind"]] = outcome.figures.get(figure["kind"], 0) + figure["count"]
        outcome.violations += figure["violations"]
        if figure["seeds"]:
            outcome.seeds.add(figure["seeds"])
    outcome.skipped = len(re.findall(r"^\[  SKIPPED \] .*\(\d+ ms\)$", text, re.M))
    if not outcome.figures and not outcome.skipped:
        outcome.violations += 1
        outcome.note = f"{outcome.name}: nothing was done"


def read_fuzz(outcome, text):
    found = re.search(r"stat::number_of_executed_units: (\d+)", text)
    outcome.figures["fuzz_executions"] = int(found.group(1)) if found else 0


def read_mutants(outcome, text):
    found = re.search(r"^mutants killed (\d+) of (\d+)$", text, re.M)
    killed, planted = (int(n) for n in found.groups()) if found else (0, 1)
    outcome.figures["mutants_killed"] = killed
    outcome.violations = planted - killed
    outcome.note = f"mutants killed {killed} of {planted}"


def finish(outcome, run, read):
    text = run.stdout.decode(errors="replace")
    read(outcome, text)
    if run.returncode != 0:
        outcome.violations = max(1, outcome.violations)
    if outcome.violations:
        outcome.words = text[-3000:]
    return outcome


def run_command(name, seconds, command, read):
    started = time.monotonic()
    outcome = Outcome(name, seconds)
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    except OSError as error:
        outcome.violations, outcome.words = 1, str(error)
        return outcome
    finish(outcome, run, read)
    outcome.seconds = time.monotonic() - started
    return outcome


def tests_in(program, arguments):
    """How many tests of a program share its time."""
    try:
        text = subprocess.run([program, "--gtest_list_tests", *arguments], capture_output=True, text=True).stdout
    except OSError:
        return 1
    return max(1, sum(line.startswith("  ") for line in text.splitlines()))


def run_test(name, program, tests, seconds, first_seed, seeds):
    """For so many seconds, or so many seeds, or, if both are 0, as the tests have it."""
    program = str(TESTS / program)
    arguments = [f"--gtest_filter={tests}"]
    command = [program, *arguments, "--json"]
    if seconds:
        command += [f"--seconds={seconds / tests_in(program, arguments):.1f}", f"--first-seed={first_seed}"]
    elif seeds:
        command += [f"--seeds={seeds}", f"--first-seed={first_seed}"]
    return run_command(name, seconds, command, read_json)


def run_fuzz(name, limit, length, seed, artifacts):
    with tempfile.TemporaryDirectory() as corpus:
        command = [str(FUZZ / f"fuzz_{name}"), limit, f"-seed={seed % 2**32}", f"-max_len={length}",
                   f"-artifact_prefix={artifacts}/{name}-", *FUZZ_FLAGS, corpus, str(ROOT / "fuzz/corpus" / name)]
        return run_command(f"fuzz {name}", 0, command, read_fuzz)


@functools.cache
def lines_of(file):
    return pathlib.Path(file).read_text().splitlines()


def is_planted(file, line, column):
    """Whether a condition is one of src/base/mutant.h: without the mutants it has one outcome."""
    return lines_of(file)[line - 1][column - 1:].lstrip("!").startswith("mutated(")


def merge_branches(files, areas):
    """{area: {(file, line, column): [taken, not taken]}}. Conditions inside RAWCACHE_ASSERT are not counted: they
    have one outcome by design. Nor are planted bugs."""
    merged = {area: {} for area in areas}
    for file in files:
        for area in areas:
            if not re.search(areas[area], file["filename"]):
                continue
            for line, column, _, _, taken, not_taken, *_ in file["branches"]:
                if is_planted(file["filename"], line, column):
                    continue
                counts = merged[area].setdefault((file["filename"], line, column), [0, 0])
                counts[0] += taken
                counts[1] += not_taken
    return merged


def coverage():
    """Rows of (area, outcomes taken, all outcomes of branches), from a run of all tests; None if not built.
    What was never taken is listed in build/prove/uncovered.txt."""
    build = ROOT / "build/coverage"
    if not (build / "build.ninja").exists():
        return None
    profiles = build / "profiles"
    for old in glob.glob(str(profiles / "*")):
        os.unlink(old)
    environment = dict(os.environ, LLVM_PROFILE_FILE=str(profiles / "%4m.profraw"))  # merged as they come
    subprocess.run(["ctest", "--test-dir", str(build), "-j2"], env=environment, stdout=subprocess.DEVNULL)
    merged = str(build / "all.profdata")
    raw = glob.glob(str(profiles / "*.profraw"))
    subprocess.run(["llvm-profdata-19", "merge", "--failure-mode=all", "-sparse", "-o", merged, *raw], check=True,
                   stderr=subprocess.DEVNULL)
    programs = [p for pattern in ("tests/*_test", "fuzz/fuzz_*") for p in glob.glob(str(build / pattern))]
    programs = [p for p in programs if os.access(p, os.X_OK) and os.path.isfile(p)]
    objects = [word for program in programs[1:] for word in ("-object", program)]
    exported = subprocess.run(["llvm-cov-19", "export", "-skip-expansions", "-skip-functions",
                               f"-instr-profile={merged}", programs[0], *objects, str(ROOT / "src")],
                              capture_output=True, text=True, check=True).stdout
    rows, uncovered = [], []
    for area, branches in merge_branches(json.loads(exported)["data"][0]["files"], COVERED).items():
        taken = sum((counts[0] > 0) + (counts[1] > 0) for counts in branches.values())
        rows.append((area, taken, 2 * len(branches)))
        uncovered += [f"{os.path.relpath(file, ROOT)}:{line}:{column}: never {'false' if counts[0] else 'true'}"
                      for (file, line, column), counts in sorted(branches.items()) if 0 in counts]
    (ROOT / "build/prove/uncovered.txt").write_text("\n".join(uncovered) + "\n")
    return rows


def print_table(outcomes, first_seed, covered):
    print(f"\n{'proof':<28}{'figure':<20}{'count':>14}{'violations':>12}{'seconds':>9}  seeds")
    totals = {}
    for outcome in outcomes:
        seeds = ", ".join(sorted(outcome.seeds)) or "-"
        for kind, count in outcome.figures.items() or [("-", 0)]:
            print(f"{outcome.name:<28}{kind:<20}{count:>14,}{outcome.violations:>12}{outcome.seconds:>9.0f}  {seeds}")
            totals[kind] = totals.get(kind, 0) + count
        if outcome.skipped:
            print(f"{'':<28}{outcome.skipped} tests skipped here")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    print(f"\nFirst seed {first_seed}, commit {commit.stdout.strip() or 'unknown'}. In all:")
    for kind, count in sorted(totals.items()):
        print(f"  {kind:<22}{count:>14,}")
    for outcome in outcomes:
        if outcome.note:
            print(f"  {outcome.note}")
    for area, taken, branches in covered or []:
        print(f"  branches of {area:<10}{taken:>9} of {branches} ({100 * taken / max(1, branches):.1f} %)")
    bad = [outcome for outcome in outcomes if outcome.violations]
    for outcome in bad:
        print(f"\n--- {outcome.name} ---\n{outcome.words}")
    print(f"\n{len(outcomes) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad or not outcomes else 0


def prove(minutes, first_seed, with_coverage):
    """For so many minutes; 0: as many seeds and executions as --ci has."""
    artifacts = ROOT / "build/prove"
    artifacts.mkdir(parents=True, exist_ok=True)
    covered = coverage() if with_coverage else None
    weights = sum(weight for *_, weight, _ in PROOFS) + sum(weight for _, weight, *_ in FUZZ_TARGETS)
    unit = minutes * 60 * WORKERS / weights
    planned = [(weight, run_test, name, program, tests, weight * unit, first_seed if seeds or not weight else 1,
                0 if minutes else seeds)
               for name, program, tests, weight, seeds in PROOFS]
    planned += [(weight, run_fuzz, name, f"-max_total_time={max(1, round(weight * unit))}" if minutes
                 else f"-runs={runs}", length, first_seed, artifacts)
                for name, weight, length, runs in FUZZ_TARGETS]
    planned.append((0, run_command, "mutants", 0, (sys.executable, str(ROOT / "tools/mutants.py")), read_mutants))
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        longest_first = sorted(planned, key=lambda plan: -plan[0])  # so that no worker is left with it at the end
        jobs = {plan[1:]: pool.submit(*plan[1:]) for plan in longest_first}
        outcomes = [jobs[plan[1:]].result() for plan in planned]
    return print_table(outcomes, first_seed, covered)


def self_test():
    line = '{"kind":"a","count":%d,"violations":%d,"seeds":"1..2"}\n'
    text = "noise\n" + line % (3, 0) + line % (4, 1) + "[  SKIPPED ] A.B (0 ms)\n[  SKIPPED ] A.B\n"
    outcome = Outcome("x", 1)
    read_json(outcome, text)
    ok = (outcome.figures, outcome.violations, outcome.skipped, outcome.seeds) == ({"a": 7}, 1, 1, {"1..2"})
    fuzz = run_command("f", 1, ["sh", "-c", "echo stat::number_of_executed_units: 12; exit 77"], read_fuzz)
    ok = ok and fuzz.figures == {"fuzz_executions": 12} and fuzz.violations == 1
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "src/format/a.cc")
        source.parent.mkdir(parents=True)
        source.write_text(" if_this\n !mutated(Mutant::kA)\n")
        branches = [{"filename": str(source), "branches": [[1, 2, 1, 9, 5, 0, 0, 0, 4], [1, 2, 1, 9, 0, 1, 0, 0, 4],
                                                           [2, 2, 2, 9, 0, 0, 0, 0, 4]]}]
        ok = ok and merge_branches(branches, COVERED)["format"] == {(str(source), 1, 2): [5, 1]}
    idle = run_command("m", 1, ["true"], read_json)
    ok = ok and idle.violations == 1
    missing = run_command("m", 1, ["/nowhere/program"], read_json)
    ok = ok and missing.violations == 1
    survived = run_command("m", 1, ["sh", "-c", "echo mutants killed 8 of 9; exit 1"], read_mutants)
    ok = ok and survived.violations == 1 and survived.figures == {"mutants_killed": 8}
    print(f"self-test: {'ok' if ok else 'wrong'}")
    return 0 if ok else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all of it, builds and coverage apart")
    parser.add_argument("--ci", action="store_true", help="fixed seeds and counts, no coverage")
    parser.add_argument("--first-seed", type=int, default=int(time.time()), help="today's by default")
    parser.add_argument("--no-coverage", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.ci:
        return prove(0, CI_FIRST_SEED, False)
    return prove(arguments.minutes, arguments.first_seed, not arguments.no_coverage)


if __name__ == "__main__":
    sys.exit(main())
