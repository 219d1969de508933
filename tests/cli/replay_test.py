#!/usr/bin/env python3
"""Guards `rawcache replay`: replay_test.py <rawcache> [part of a test's name]...

Small traces in every format are replayed; what a cache that holds everything misses is known, and so is what one
must miss that holds less.
"""

import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report

OK, USAGE, FAILURE = 0, 2, 8
PROGRAM = ""
SIZE = 1000


def skewed(count, objects, seed=1):
    """Requests of which the low numbers are popular."""
    numbers = random.Random(seed)
    return [int(objects * numbers.random() ** 3) for _ in range(count)]


def pack(requests):
    """A trace of objects of unknown size, as in .rct."""
    numbers = {}
    ids = [numbers.setdefault(request, len(numbers)) for request in requests]
    return b"RCTRACE1" + struct.pack(f"<QQ{len(numbers)}I{len(ids)}I", len(ids), len(numbers), *[1] * len(numbers), *ids)


class ReplayTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-replay-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.requests = skewed(20_000, 2_000)
        self.distinct = len(set(self.requests))

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def run_program(self, *arguments, status=OK):
        done = subprocess.run([PROGRAM, "replay", *arguments], capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done.stdout.decode()

    def replay(self, *arguments):
        """The only row, and the whole answer."""
        answer = json.loads(self.run_program(*arguments, "--json"))
        self.assertEqual(len(answer["rows"]), 1)
        return answer["rows"][0], answer

    def test_every_format_tells_the_same_requests(self):
        lines = "time,object,size\n" + "".join(f"{i},{x},{SIZE}\n" for i, x in enumerate(self.requests))
        general = b"".join(struct.pack("<IQIq", i, x, SIZE, -1) for i, x in enumerate(self.requests))
        paths = [self.write("t.csv", lines.encode()), self.write("t.oracleGeneral", general),
                 self.write("t.rct", pack(self.requests))]
        for path in paths:
            row, _ = self.replay(path, "--capacity", "200%")
            self.assertEqual(row["requests"], len(self.requests))
            self.assertAlmostEqual(row["miss_ratio"], self.distinct / len(self.requests), places=6)
        # By fifo, because the ghost of rc takes a few keys for others, which ones differs by run.
        first, second = (self.replay(path, "--capacity", "10%", "--policy", "fifo")[0] for path in paths[:2])
        self.assertEqual(first["miss_ratio"], second["miss_ratio"])

    def test_policies_and_their_bounds(self):
        path = self.write("t.rct", pack(self.requests))
        ratios = {}
        for policy in ("rc", "fifo", "lru"):
            row, _ = self.replay(path, "--capacity", "10%", "--policy", policy)
            ratios[policy] = row["miss_ratio"]
            self.assertEqual(row["policy"], policy)
            self.assertLessEqual(row["logical_write_amplification"], 1.2 if policy == "rc" else 1.0)
        self.assertLess(ratios["rc"], ratios["fifo"])
        row, _ = self.replay(path, "--capacity", "10%", "--wa-cap", "1")
        self.assertEqual(row["logical_write_amplification"], 1.0)

    def test_admission_spares_the_device(self):
        path = self.write("t.rct", pack(self.requests))
        everything, _ = self.replay(path, "--capacity", "10%")
        some, answer = self.replay(path, "--capacity", "10%", "--admission", "wanted-again")
        self.assertEqual(answer["admission"], "wanted-again")
        self.assertLess(some["device_bytes_per_missed_byte"], everything["device_bytes_per_missed_byte"] / 2)
        self.assertLess(some["miss_ratio"], everything["miss_ratio"] * 1.2)

    def test_a_memory_tier_and_a_file_change_nothing_of_what_is_missed(self):
        path = self.write("t.rct", pack(self.requests))
        how = (path, "--capacity", "10%", "--policy", "fifo")
        plain, _ = self.replay(*how)
        with_memory, _ = self.replay(*how, "--memory", "1MiB")
        on_a_file, _ = self.replay(*how, "--device", str(self.folder / "cache"))
        self.assertEqual(plain["miss_ratio"], with_memory["miss_ratio"])
        self.assertEqual(plain["miss_ratio"], on_a_file["miss_ratio"])

    def test_restarts_lose_no_entry(self):
        path = self.write("t.rct", pack(self.requests))
        row, _ = self.replay(path, "--capacity", "200%", "--restart-every", "7")
        self.assertAlmostEqual(row["miss_ratio"], self.distinct / len(self.requests), places=6)
        on_a_file, _ = self.replay(path, "--capacity", "200%", "--restart-every", "30", "--device",
                                   str(self.folder / "cache"))
        self.assertEqual(on_a_file["miss_ratio"], row["miss_ratio"])
        self.run_program(path, "--capacity", "10%", "--restart-every", "0", status=USAGE)

    def test_a_suite_is_run_at_five_sizes(self):
        packed = subprocess.run(["zstd", "-q"], input=pack(self.requests), capture_output=True, check=False)
        if packed.returncode != 0:
            self.skipTest("zstd is not installed")
        self.write("t.rct.zst", packed.stdout)
        answer = json.loads(self.run_program("--suite", str(self.folder), "--json"))
        self.assertEqual([row["size_percent"] for row in answer["rows"]], [1, 5, 10, 20, 40])
        ratios = [row["miss_ratio"] for row in answer["rows"]]
        self.assertEqual(ratios, sorted(ratios, reverse=True))

    def test_what_is_no_trace_is_refused(self):
        self.run_program(self.write("t.rct", b"RCTRACE1 and nothing else"), "--capacity", "10%", status=USAGE)
        self.run_program(self.write("t.csv", b"no trace\n"), "--capacity", "10%", status=USAGE)
        self.run_program(self.write("u.rct", pack(self.requests)), status=USAGE)
        self.run_program(self.write("u.rct", pack(self.requests)), "--capacity", "0%", status=USAGE)


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    sys.exit(report.run(sys.modules["__main__"], sys.argv[2:]))
