#!/usr/bin/env python3
"""Traces that nobody recorded, and what LRU and S3-FIFO miss of them: synthetic_traces.py DIR [RESULT.json...].

Writes traces of known make to DIR as .rct.zst, the same ones every time. With results of `rawcache replay --suite DIR
--json` it writes no traces but a table: what they miss, beside what LRU and S3-FIFO in memory miss at the same size.
"""

import argparse
import bisect
import collections
import itertools
import json
import math
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from replay_plot import name_of, table

PERCENTS = (1, 5, 10, 20, 40)
NEW = 10**7  # numbers from here on are asked for by scans and loops only


def zipf(numbers, count, objects, exponent):
    """Requests of `objects` whose popularity falls with their number."""
    sums = list(itertools.accumulate(1 / i**exponent for i in range(1, objects + 1)))
    return [bisect.bisect(sums, numbers.random() * sums[-1]) for _ in range(count)]


def with_scans(requests):
    """After every 10,000 requests 5,000 of objects that are asked for once."""
    mixed = []
    for i in range(0, len(requests), 10_000):
        mixed += requests[i:i + 10_000] + list(range(NEW + i, NEW + i + 5_000))
    return mixed


def with_loop(requests, length):
    """Every other request goes round in a loop."""
    return [x for i, request in enumerate(requests) for x in (request, NEW + i % length)]


def short_lived(numbers, count):
    """Objects that are asked for often at first, and never again after a while."""
    return [i // 10 - int(numbers.expovariate(1 / 2_000)) for i in range(count)]


def make():
    """Name -> (requests, whether objects have sizes)."""
    numbers = random.Random(7)
    shifting = [x + i * 3_000 for i in range(10) for x in zipf(numbers, 20_000, 20_000, 0.9)]
    return {
        "zipf-0.8": (zipf(numbers, 200_000, 30_000, 0.8), False),
        "zipf-1.1": (zipf(numbers, 200_000, 60_000, 1.1), False),
        "zipf-sized": (zipf(numbers, 200_000, 30_000, 0.9), True),
        "zipf-scans": (with_scans(zipf(numbers, 150_000, 20_000, 0.9)), False),
        "zipf-loop": (with_loop(zipf(numbers, 100_000, 15_000, 0.9), 8_000), False),
        "shifting": (shifting, False),
        "short-lived": (short_lived(numbers, 200_000), False),
        "loop": (list(range(9_000)) * 15, False),
    }


def sized(requests, has_sizes):
    """Ids in order of first use, and the size of each."""
    numbers = random.Random(8)
    ids = {}
    requests = [ids.setdefault(request, len(ids)) for request in requests]
    sizes = [min(200_000, max(100, int(numbers.lognormvariate(9, 1)))) if has_sizes else 1 for _ in ids]
    return requests, sizes


def lru(requests, sizes, capacity):
    """The miss ratio of LRU in memory."""
    held, used, misses = collections.OrderedDict(), 0, 0
    for request in requests:
        if request in held:
            held.move_to_end(request)
            continue
        misses += 1
        held[request] = True
        used += sizes[request]
        while used > capacity:
            used -= sizes[held.popitem(last=False)[0]]
    return misses / len(requests)


class Queue:
    """Objects in order, with their hits, and what they take."""

    def __init__(self, sizes):
        self.hits, self.used, self.sizes = collections.OrderedDict(), 0, sizes

    def push(self, number, hits=0):
        self.hits[number] = hits
        self.used += self.sizes[number]

    def pop(self):
        number, hits = self.hits.popitem(last=False)
        self.used -= self.sizes[number]
        return number, hits

    def remove(self, number):
        del self.hits[number]
        self.used -= self.sizes[number]


def s3_fifo(requests, sizes, capacity):
    """The miss ratio of S3-FIFO in memory: a tenth small, a ghost of nine, two hits to join the main queue."""
    small, main, ghost = Queue(sizes), Queue(sizes), Queue(sizes)

    def evict():
        if small.hits and main.used <= capacity * 0.9:
            number, hits = small.pop()
            if hits >= 2:
                return main.push(number)
            ghost.push(number)
            while ghost.used > capacity * 0.9:
                ghost.pop()
            return None
        while main.hits:
            number, hits = main.pop()
            if hits == 0:
                break
            main.push(number, min(hits, 3) - 1)
        return None

    misses = 0
    for request in requests:
        queue = next((queue for queue in (small, main) if request in queue.hits), None)
        if queue:
            queue.hits[request] += 1
            continue
        misses += 1
        queue = small
        if request in ghost.hits:
            ghost.remove(request)
            queue = main
        while small.used + main.used + sizes[request] > capacity and (small.hits or main.hits):
            evict()
        queue.push(request)
    return misses / len(requests)


def write(folder, name, requests, sizes):
    """As `rawcache replay` reads it."""
    packed = b"RCTRACE1" + struct.pack(f"<QQ{len(sizes)}I{len(requests)}I", len(requests), len(sizes), *sizes, *requests)
    done = subprocess.run(["zstd", "-q"], input=packed, stdout=subprocess.PIPE, check=True)
    (folder / f"{name}.rct.zst").write_bytes(done.stdout)


def compare(traces, results):
    """The table, and the geometric means below it."""
    found = {(name_of(result), row["trace"], row["size_percent"]): row["miss_ratio"]
             for result in results for row in result["rows"]}
    names = ["S3-FIFO", *(name_of(result) for result in results)]
    rows, logs = [], dict.fromkeys(names, 0.0)
    for trace, (requests, sizes) in traces.items():
        for percent in PERCENTS:
            capacity = sum(sizes) * percent / 100
            by_lru = lru(requests, sizes, capacity)
            found["S3-FIFO", trace, percent] = s3_fifo(requests, sizes, capacity)
            missed = [found[name, trace, percent] for name in names]
            for name, ratio in zip(names, missed):
                logs[name] += math.log(ratio / by_lru)
            rows.append([trace, f"{percent} %", f"{by_lru:.4f}", *(f"{ratio:.4f}" for ratio in missed)])
    means = [f"{math.exp(logs[name] / len(rows)):.4f}" for name in names]
    rows.append(["geometric mean", "", "1", *means])
    return table(["trace", "size", "LRU", *names], rows)


def main():
    """Writes traces, or a table of what was missed of them."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("folder", metavar="DIR", type=pathlib.Path)
    arguments.add_argument("results", nargs="*", metavar="RESULT.json")
    given = arguments.parse_args()
    traces = {name: sized(*trace) for name, trace in make().items()}
    if not given.results:
        given.folder.mkdir(parents=True, exist_ok=True)
        for name, trace in traces.items():
            write(given.folder, name, *trace)
        return 0
    results = []
    for path in given.results:
        with open(path, encoding="utf-8") as file:
            results.append(json.load(file))
    sys.stdout.write(compare(traces, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
