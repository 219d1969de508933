#!/usr/bin/env python3
"""Compares `rawcache serve` with memcached and its extstore: server_bench.py BUILD_FOLDER [--quick] [--dir FOLDER].

Both serve the same keys and values on a Unix socket, on the same disk, with the same memory: a control group
bounds what they allocate and the page cache of what they read and write, and there is three times as much data.
One at a time is loaded, in turn, by the same client (bench/server_load.cc), which checks every value; the other
is stopped meanwhile. `./x bench --server` builds and runs it. The status is 1 if a goal is missed.
"""

import argparse
import contextlib
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time

import server_process

DATA_MB = 480
CONNECTIONS, DEPTH = 4, 100
GENTLE_MB_PER_S = 32  # of sets, which extstore keeps
SETS_GOAL, SETS_RATIO_GOAL, BATCH_RATIO_GOAL = 75_000, 1.5, 2.0


class Comparison:
    def __init__(self, arguments, value_bytes):
        build = pathlib.Path(arguments.build)
        self.load_program = str(build / "bench/server_load")
        self.commands = server_process.commands(build)
        self.folder, self.runs, self.value_bytes = arguments.dir, arguments.runs, value_bytes
        self.keys = DATA_MB * 1_000_000 // (value_bytes + 64)
        self.figures = {}  # (measure, server) -> one number per run

    def start(self, name):
        return server_process.Server(name, self.commands[name], self.folder)

    def load(self, server, **options):
        return server.load(self.load_program, value_bytes=self.value_bytes, connections=CONNECTIONS, **options)

    def note(self, measure, server, value):
        self.figures.setdefault((measure, server.name), []).append(value)

    def median(self, measure, name):
        return statistics.median(self.figures[measure, name])

    def ratio(self, measure):
        """The median of the ratios of runs next to each other."""
        pairs = zip(self.figures[measure, "rawcache"], self.figures[measure, "extstore"])
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def kept(self, server):
        """The share of all keys that are found, by looking for each of them."""
        found = self.load(server, keys=self.keys, requests=self.keys // 100, keys_per_get=100)
        return 100 * found["hits"] / (found["hits"] + found["misses"])

    def measure_sets(self):
        """A new server each time, and as many sets as go."""
        for _ in range(self.runs):
            for name in self.commands:
                server = self.start(name)
                try:
                    result = self.load(server, set=True, keys=self.keys, requests=self.keys, depth=DEPTH)
                    self.note("sets/s", server, result["stored"] / result["seconds"])
                    self.note("CPU per set, us", server, result["server_cpu_s"] / result["requests"] * 1e6)
                    time.sleep(1)  # what it writes in the background
                    self.note("sets kept, %", server, self.kept(server))
                finally:
                    server.stop()

    def measure_gets(self):
        """Servers that hold everything, and keys that are no longer in memory: the older half."""
        with contextlib.ExitStack() as stack:
            servers = []
            for name in self.commands:
                server = self.start(name)
                stack.callback(server.stop)
                rate = GENTLE_MB_PER_S * 1_000_000 // self.value_bytes if name == "extstore" else 0
                self.load(server, set=True, keys=self.keys, requests=self.keys, depth=10, rate=rate)
                time.sleep(1)
                self.note("kept before the gets, %", server, self.kept(server))
                self.note("memory, MB", server, server.memory_mb())
                self.note("index per million entries, MB", server, server.index_bytes(self.keys))
                server.signal(signal.SIGSTOP)
                servers.append(server)
            for run in range(self.runs):
                for server in servers:
                    server.signal(signal.SIGCONT)
                    self.get(server, run)
                    server.signal(signal.SIGSTOP)

    def get(self, server, run):
        common = {"shuffled": True, "keys": self.keys // 2, "seed": run + 1}
        server.forget_pages()
        batch = self.load(server, requests=400, keys_per_get=100, **common)
        self.note("keys of multi-gets/s", server, batch["hits"] / batch["seconds"])
        self.note("CPU per key of a multi-get, us", server, batch["server_cpu_s"] / (100 * batch["requests"]) * 1e6)
        server.forget_pages()
        single = self.load(server, requests=12_000, **common)
        self.note("single gets/s", server, single["hits"] / single["seconds"])
        self.note("single gets, median, us", server, single["p50_us"])
        self.note("single gets, p99, us", server, single["p99_us"])
        self.note("CPU per single get, us", server, single["server_cpu_s"] / single["requests"] * 1e6)

    def goals(self):
        """(what, whether it is reached)"""
        least = min(SETS_GOAL, SETS_RATIO_GOAL * self.median("sets/s", "extstore"))
        yield "every set kept", min(self.figures["sets kept, %", "rawcache"]) == 100
        if self.value_bytes >= 4096:
            yield f"{least:,.0f} sets/s", self.median("sets/s", "rawcache") >= least
            yield f"multi-gets {BATCH_RATIO_GOAL:.0f} times as fast", \
                self.ratio("keys of multi-gets/s") >= BATCH_RATIO_GOAL
        yield "p99 of single gets not above extstore's", self.ratio("single gets, p99, us") <= 1

    def report(self):
        print(f"\nValues of {self.value_bytes} bytes, {self.keys:,} keys, medians of {self.runs} runs (least to most)")
        print("| | rawcache | extstore | ratio |\n|---|---|---|---|")
        for measure in dict.fromkeys(measure for measure, _ in self.figures):
            cells = []
            for name in ("rawcache", "extstore"):
                values = self.figures[measure, name]
                digits = 0 if max(values) >= 1000 else 1
                spread = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else ""
                cells.append(f"{statistics.median(values):,.{digits}f}{spread}")
            print(f"| {measure} | {' | '.join(cells)} | {self.ratio(measure):.2f} |")
        for what, reached in self.goals():
            print(f"{'reached' if reached else 'MISSED'}: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="where rawcache and bench/server_load are")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="a folder on the disk to measure")
    parser.add_argument("--runs", type=int, help="of each measurement (5)")
    parser.add_argument("--value-bytes", type=int, nargs="+", help="(1024 4096)")
    parser.add_argument("--quick", action="store_true", help="one run, of values of 4 KiB")
    arguments = parser.parse_args()
    arguments.runs = arguments.runs or (1 if arguments.quick else 5)
    arguments.value_bytes = arguments.value_bytes or ([4096] if arguments.quick else [1024, 4096])
    if shutil.which("memcached") is None:
        sys.exit("memcached is not installed")
    reached = True
    for value_bytes in arguments.value_bytes:
        comparison = Comparison(arguments, value_bytes)
        comparison.measure_sets()
        comparison.measure_gets()
        comparison.report()
        reached = reached and all(good for _, good in comparison.goals())
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
