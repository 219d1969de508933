#!/usr/bin/env python3
"""Guards examples/cluster, and with it what docs/scaling.md says: cluster_test.py <rawcache> <source> [part]..."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report

PROGRAM = ""
SOURCE = pathlib.Path()
SKIPPED = 77


def python_with_clients():
    """An interpreter that has Debian's client libraries, if any; they are installed for Debian's own."""
    if all(importlib.util.find_spec(module) for module in ("pymemcache", "pylibmc")):
        return sys.executable
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


class Cluster(unittest.TestCase):
    def run_example(self, policy):
        done = subprocess.run(
            [python_with_clients(), str(SOURCE / "examples/cluster/cluster.py"), "--rawcache", PROGRAM,
             "--on-start", policy], capture_output=True, text=True, timeout=240, check=False)
        if done.returncode == SKIPPED:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_a_killed_server_costs_its_keys_and_comes_back_warm(self):
        out = self.run_example("keep")
        self.assertEqual(out.count("comes back warm"), 2, out)
        self.assertIn("as old as it is", out)

    def test_with_flush_it_comes_back_empty(self):
        self.assertEqual(self.run_example("flush").count("it is empty"), 2)


class MovedKeys(unittest.TestCase):
    def test_ketama_and_rendezvous_move_only_what_has_to_move(self):
        done = subprocess.run([sys.executable, str(SOURCE / "examples/cluster/moved_keys.py"), "--nodes", "50",
                               "--keys", "20000", "--json"], capture_output=True, text=True, timeout=120, check=True)
        results = json.loads(done.stdout)
        for event in ("one_leaves", "one_joins", "one_percent_leaves"):
            self.assertGreater(results["modulo"][event], 0.95)
            for mapping in ("ketama", "rendezvous"):
                self.assertTrue(0.01 < results[mapping][event] < 0.03, (mapping, event, results))


def main():
    global PROGRAM, SOURCE
    if len(sys.argv) < 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM, SOURCE = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    return report.run(sys.modules["__main__"], sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
