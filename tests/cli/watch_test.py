#!/usr/bin/env python3
"""Guards `rawcache stats` of servers and `--watch`: watch_test.py <rawcache> [part of a test's name]...

Runs real servers; what is shown must be what was asked of them, on terminals, in pipes and as JSON.
"""

import http.server
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import Serving, drain, free_port

OK, USAGE, NOT_A_CACHE, FAILURE = 0, 2, 3, 8
PROGRAM = ""


class SomebodyElse(http.server.BaseHTTPRequestHandler):
    """Answers nothing but an error, and says nothing."""

    def log_message(self, *_):
        pass


class WatchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-watch-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def serve(self, **options):
        server = Serving(PROGRAM, self.folder, **options)
        self.addCleanup(server.kill)
        return server

    def stats(self, *arguments, status=OK):
        done = subprocess.run([PROGRAM, "stats", *arguments], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def start_watching(self, *arguments, **options):
        process = subprocess.Popen([PROGRAM, "stats", *arguments, "--watch"], text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **options)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class OfAServer(WatchTest):
    def ask(self, server, gets):
        with server.client() as client:
            client.set("there", "v" * 1000)
            for i in range(gets):
                client.get("there" if i % 4 else "nowhere")

    def test_one_look_shows_what_happened_since_the_start(self):
        server = self.serve()
        self.ask(server, 40)
        time.sleep(1.1)  # rates are per second of uptime, which is counted in whole ones
        seen = json.loads(self.stats(server.address, "--json").stdout)
        self.assertEqual(round(seen["per_second"]["gets"] * seen["interval_s"]), 40)
        self.assertEqual(round(seen["per_second"]["sets"] * seen["interval_s"]), 1)
        self.assertEqual(seen["hit_ratio"]["interval"], 0.75)
        self.assertEqual(seen["hit_ratio"]["1000"], 0.75)
        self.assertEqual(seen["entries"], 1)
        self.assertEqual(seen["server"], server.address)
        text = self.stats(server.address).stdout
        for part in ("since the start", "75.0 %", "Write amplification", "p99.9", "lookup batch"):
            self.assertIn(part, text)
        self.assertLess(max(map(len, text.splitlines())), 80)

    def test_each_further_look_shows_what_happened_since_the_one_before(self):
        server = self.serve()
        self.ask(server, 40)
        watch = self.start_watching(server.address, "--json", "--count", "3")
        first = json.loads(watch.stdout.readline())
        self.ask(server, 8)
        seen = [json.loads(line) for line in watch.stdout]
        self.assertEqual(watch.wait(), OK)
        self.assertEqual(first["hit_ratio"]["interval"], 0.75)
        gets = [round(look["per_second"]["gets"] * look["interval_s"]) for look in seen]
        self.assertEqual(sum(gets), 8)
        self.assertEqual(len(seen), 2)
        lookups = sum(look["latency_s"]["lookup_batch"]["per_second"] * look["interval_s"] for look in seen)
        self.assertEqual(round(lookups), 8)
        reads = sum(look["latency_s"]["get"]["per_second"] * look["interval_s"] for look in seen)
        writes = sum(look["latency_s"]["write"]["per_second"] * look["interval_s"] for look in seen)
        self.assertEqual((round(reads), round(writes)), (8, 1))
        for look in seen:
            self.assertTrue(0.9 < look["interval_s"] < 30, look)
            calls = look["latency_s"]["lookup_batch"]
            if calls["per_second"] > 0:
                self.assertTrue(0 < calls["p50"] <= calls["p99"] <= calls["p999"] < 20, calls)
            else:
                self.assertIsNone(calls["p50"])

    def test_in_a_pipe_it_is_a_line_per_look_under_one_header(self):
        server = self.serve(http=f"unix:{self.folder}/http")
        out = self.stats(server.address, "--watch", "--count", "2").stdout
        self.assertNotIn("\x1b", out)
        lines = out.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[0].split()[:4], ["hit", "hit100s", "gets/s", "sets/s"])
        self.assertLess(max(map(len, lines)), 90)

    def watch_on_a_terminal(self, server, terminal_type):
        controller, terminal = pty.openpty()
        process = subprocess.Popen([PROGRAM, "stats", server.address, "--watch"], stdout=terminal,
                                   env={**os.environ, "TERM": terminal_type})
        self.addCleanup(process.kill)
        os.close(terminal)
        seen = os.read(controller, 65536).decode()
        while "Connections" not in seen and "gets/s" not in seen:
            seen += os.read(controller, 65536).decode()
        process.send_signal(signal.SIGINT)
        seen += drain(controller)
        os.close(controller)
        self.assertEqual(process.wait(timeout=30), OK)
        return seen

    def test_on_a_terminal_the_screen_is_drawn_over_and_the_cursor_comes_back(self):
        server = self.serve()
        seen = self.watch_on_a_terminal(server, "xterm")
        self.assertTrue(seen.startswith("\x1b[?25l\x1b[H\x1b[2J"), seen)
        self.assertTrue(seen.endswith("\x1b[?25h"), seen)
        self.assertNotIn("\x1b", self.watch_on_a_terminal(server, "dumb"))

    def test_a_server_that_is_restarted_is_waited_for(self):
        server = self.serve()
        self.ask(server, 40)
        watch = self.start_watching(server.address)
        watch.stdout.readline()
        self.assertIn("75.0 %", watch.stdout.readline())
        self.assertEqual(server.stop(), OK)
        complaint = watch.stderr.readline()
        while "refused" not in complaint and "reset" not in complaint.lower():
            self.assertNotEqual(complaint, "")
            complaint = watch.stderr.readline()
        server.start()
        line = watch.stdout.readline()
        while line and float(line.split()[2].replace(",", "")) != 0:
            line = watch.stdout.readline()
        self.assertTrue(line)
        self.assertNotIn("-", re.sub(r" -(?=\s)", "", line))  # no negative rate

    def test_what_does_not_answer_as_a_server_of_ours_is_an_error_that_says_so(self):
        with http.server.HTTPServer(("127.0.0.1", 0), SomebodyElse) as other:
            threading.Thread(target=other.handle_request, daemon=True).start()
            error = self.stats(f"http://127.0.0.1:{other.server_port}", status=FAILURE).stderr
            self.assertIn("501", error)
        for address, status, words in ((f"http://127.0.0.1:{free_port()}", FAILURE, "refused"),
                                       (f"unix:{self.folder}/nobody", FAILURE, "No such file"),
                                       ("http://127.0.0.1", USAGE, "HOST:PORT"),
                                       (f"unix:{'x' * 200}", USAGE, "too long")):
            error = self.stats(address, "--json", status=status)
            self.assertIn(words, error.stderr)
            self.assertEqual(json.loads(error.stdout)["error"]["exit_status"], status)


class OfAFile(WatchTest):
    def test_its_checkpoints_are_seen_while_it_is_in_use(self):
        server = self.serve()
        with server.client() as client:
            for i in range(20):
                client.set(f"key-{i}", "v")
        path = str(self.folder / "cache")
        watch = self.start_watching(path, "--json")
        first = json.loads(watch.stdout.readline())
        self.assertEqual(server.stop(), OK)  # which writes a checkpoint
        last = first
        while last["checkpoint_generation"] == first["checkpoint_generation"]:
            last = json.loads(watch.stdout.readline())
        self.assertEqual((first["checkpoint_entries"], last["checkpoint_entries"]), (0, 20))
        self.assertGreaterEqual(last["written_since_last_look"], 20)
        self.assertEqual(last["path"], path)

    def test_people_are_told_what_a_file_cannot_tell(self):
        self.serve().stop()
        path = self.folder / "cache"
        before = path.read_bytes()
        lines = self.stats(str(path), "--watch", "--count", "1").stdout.splitlines()
        self.assertEqual((len(lines), lines[0].split()[0]), (2, "checkpoint"))
        self.assertEqual(path.read_bytes(), before)

    def test_what_is_no_cache_is_refused(self):
        path = self.folder / "other"
        path.write_bytes(b"hello" * 100000)
        self.stats(str(path), "--watch", status=NOT_A_CACHE)

    def test_times_and_counts_need_watch_and_must_make_sense(self):
        for arguments in (["--count", "1"], ["--interval", "1s"], ["--watch", "--count", "0"],
                          ["--watch", "--interval", "0"], ["--watch", "--interval", "soon"],
                          ["--watch", "--interval", "never"]):
            self.stats("file", *arguments, status=USAGE)


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM = os.path.abspath(sys.argv[1])
    return report.run(sys.modules["__main__"], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
