#!/usr/bin/env python3
"""Guards what --on-start promises of entries that earlier runs have left: on_start_test.py <rawcache> [part]..."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import Serving

PROGRAM = ""


class OnStart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-on-start-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def after(self, policy, away=0.0, how=signal.SIGTERM):
        """What is found under a key after a restart with this policy."""
        server = Serving(PROGRAM, self.folder, "--durability", "sync", *(["--on-start", policy] if policy else []))
        self.addCleanup(server.kill)
        with server.client() as client:
            self.assertEqual(client.set("key", "old"), "STORED")
        server.stop(how)
        time.sleep(away)
        server.start()
        with server.client() as client:
            found = client.get("key")
            self.assertEqual(client.set("key", "new"), "STORED")
            self.assertEqual(client.get("key"), "new")
        server.stop()
        return found

    def test_keep_is_the_default_and_serves_everything(self):
        self.assertEqual(self.after(None), "old")
        self.assertEqual(self.after("keep", how=signal.SIGKILL), "old")

    def test_flush_serves_nothing_of_before(self):
        self.assertIsNone(self.after("flush"))
        self.assertIsNone(self.after("flush", how=signal.SIGKILL))

    def test_max_age_serves_what_was_there_a_moment_ago(self):
        self.assertEqual(self.after("max-age:1h"), "old")
        self.assertEqual(self.after("max-age:1h", how=signal.SIGKILL), "old")

    def test_max_age_serves_nothing_after_a_longer_absence(self):
        self.assertIsNone(self.after("max-age:1s", away=2.1))
        self.assertIsNone(self.after("max-age:1s", away=2.1, how=signal.SIGKILL))

    def test_other_policies_are_refused(self):
        for policy in ("", "warm", "max-age", "max-age:", "max-age:0s", "max-age:never", "max-age:soon"):
            done = subprocess.run([PROGRAM, "serve", "--path", str(self.folder / "none"), f"--on-start={policy}"],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 2, policy)
            self.assertIn("--on-start", done.stderr)


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM = os.path.abspath(sys.argv[1])
    return report.run(sys.modules["__main__"], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
