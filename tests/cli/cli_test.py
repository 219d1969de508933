#!/usr/bin/env python3
"""Guards what the command line promises: cli_test.py <rawcache> [part of a test's name]...

Runs the real program on files in a temporary folder and looks at exit status, stdout, stderr and at the
files themselves. Prints one line per case; with GTEST_OUTPUT=xml:<folder>/ also a report as GoogleTest
writes it, so that the cases are counted like all others.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report

OK, MISS, USAGE, NOT_A_CACHE, DAMAGE, BUSY, FAILURE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 8, 130
PROGRAM = ""
ALL_BYTES = bytes(range(256))


class Outcome:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err.decode(errors="replace")

    def json(self):
        lines = self.out.decode().splitlines()
        assert len(lines) == 1, f"one line of JSON expected: {lines}"
        return json.loads(lines[0])


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class CliTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-cli-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = str(self.folder / "cache")

    def run_program(self, *arguments, stdin=b"", stdout=subprocess.PIPE, env=None):
        done = subprocess.run(
            [PROGRAM, *arguments], input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120,
            env={**os.environ, **(env or {})}, check=False,
        )
        return Outcome(done.returncode, done.stdout or b"", done.stderr)

    def expect(self, status, *arguments, err="", **options):
        """Runs; the status must be this one, stderr must contain `err` and be empty on success."""
        outcome = self.run_program(*arguments, **options)
        self.assertEqual(outcome.status, status, f"{arguments}: {outcome.err}")
        self.assertIn(err, outcome.err)
        if status in (OK, DAMAGE):
            self.assertEqual(outcome.err, "")
        elif status != INTERRUPTED:
            self.assertTrue(outcome.err.startswith("rawcache: "), outcome.err)
        return outcome

    def make_cache(self, *arguments):
        self.expect(OK, "format", self.path, "--capacity", "16MiB", *arguments)

    def put(self, key, value, *arguments):
        self.expect(OK, "put", self.path, key, *arguments, stdin=value)

    def get(self, key):
        return self.expect(OK, "get", self.path, key).out


class Entries(CliTest):
    def test_a_value_comes_back_byte_for_byte_from_another_process(self):
        self.make_cache()
        for name, value in {"all": ALL_BYTES, "empty": b"", "line": b"x\n", "large": ALL_BYTES * 100}.items():
            self.put(name, value)
            self.assertEqual(self.get(name), value)

    def test_a_value_is_taken_from_the_argument_a_file_or_standard_input(self):
        self.make_cache()
        source = self.folder / "source"
        source.write_bytes(ALL_BYTES)
        self.expect(OK, "put", self.path, "a", "an argument", stdin=b"not this")
        self.expect(OK, "put", self.path, "b", "--file", str(source))
        self.expect(OK, "put", self.path, "c", "-", stdin=b"input")
        self.assertEqual([self.get(k) for k in "abc"], [b"an argument", ALL_BYTES, b"input"])

    def test_get_writes_to_a_file_on_demand(self):
        self.make_cache()
        self.put("k", ALL_BYTES)
        target = self.folder / "target"
        outcome = self.expect(OK, "get", self.path, "k", "--output", str(target))
        self.assertEqual(outcome.out, b"")
        self.assertEqual(target.read_bytes(), ALL_BYTES)
        self.expect(FAILURE, "get", self.path, "k", "-o", str(self.folder / "no" / "target"))

    def test_output_that_cannot_be_written_is_a_failure(self):
        self.make_cache()
        self.put("k", b"value")
        with open("/dev/full", "wb") as full:
            self.expect(FAILURE, "get", self.path, "k", stdout=full, err="could not be written")

    def test_an_absent_key_is_status_1_and_no_output(self):
        self.make_cache()
        outcome = self.expect(MISS, "get", self.path, "nobody", err="not found: nobody")
        self.assertEqual(outcome.out, b"")
        self.expect(MISS, "rm", self.path, "nobody", err="not found")
        self.assertFalse(self.expect(MISS, "get", self.path, "nobody", "--json").json()["found"])

    def test_rm_removes_for_good(self):
        self.make_cache()
        self.put("k", b"1")
        self.expect(OK, "rm", self.path, "k")
        self.expect(MISS, "get", self.path, "k")
        self.expect(MISS, "rm", self.path, "k")

    def test_an_entry_lives_as_long_as_its_ttl(self):
        self.make_cache()
        self.put("short", b"1", "--ttl", "1s")
        self.put("long", b"2", "--ttl", "2h")
        self.put("ever", b"3", "--ttl", "never")
        time.sleep(1.1)
        self.expect(MISS, "get", self.path, "short")
        left = self.expect(OK, "get", self.path, "long", "--json").json()["expires_at"] - time.time()
        self.assertTrue(7100 < left <= 7201, left)
        self.assertEqual(self.expect(OK, "get", self.path, "ever", "--json").json()["expires_at"], 0)

    def test_keys_lists_every_key_on_one_line_each(self):
        self.make_cache()
        for key in ("plain", "two\nlines", "tab\t", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\x1b[31m", "a\\b"):
            self.put(key, b"12345")
        listed = self.expect(OK, "keys", self.path).out.decode().splitlines()
        self.assertEqual(sorted(listed), sorted(
            ["plain", "two\\nlines", "tab\\t", "\u00e9", "\\x1b[31m", "a\\\\b"]))
        rows = self.expect(OK, "keys", self.path, "--long").out.decode().splitlines()
        self.assertTrue(any(row.split() == ["5", "1", "never", "plain"] for row in rows), rows)

    def test_binary_keys_and_values_survive_json(self):
        self.make_cache()
        key = b'\xff\x01"\\\xc3'
        subprocess.run([PROGRAM, "put", self.path, key], input=ALL_BYTES, check=True)
        got = self.expect(OK, "get", self.path, key, "--json").json()
        self.assertEqual(got["key"].encode("latin-1"), key)
        self.assertEqual(got["value"].encode("latin-1"), ALL_BYTES)
        listed = self.expect(OK, "keys", self.path, "--json").json()
        self.assertEqual([k["key"].encode("latin-1") for k in listed["keys"]], [key])
        self.assertEqual((listed["count"], listed["complete"]), (1, True))

    def test_put_makes_a_cache_only_when_asked_and_only_where_nothing_is(self):
        self.expect(FAILURE, "put", self.path, "k", "v", err="no such file")
        self.expect(USAGE, "put", self.path, "k", "v", "--create", err="--capacity")
        self.expect(OK, "put", self.path, "k", "v", "--create", "--capacity", "16MiB")
        self.expect(OK, "put", self.path, "l", "w", "--create", "--capacity", "16MiB")
        self.assertEqual((self.get("k"), self.get("l")), (b"v", b"w"))
        other = self.folder / "other"
        other.write_bytes(b"precious" * 1000)
        self.expect(NOT_A_CACHE, "put", str(other), "k", "v", "--create", "--capacity", "16MiB")
        self.assertEqual(other.read_bytes(), b"precious" * 1000)

    def test_a_bad_key_or_value_changes_nothing(self):
        self.make_cache()
        limit = self.expect(OK, "inspect", self.path, "--json").json()["value_bytes_max"]
        self.expect(USAGE, "put", self.path, "", "v", err="empty key")
        self.expect(USAGE, "put", self.path, "k" * 8193, "v", err="8192")
        self.expect(USAGE, "put", self.path, "k", stdin=bytes(limit + 1), err="value too large")
        self.assertEqual(self.expect(OK, "keys", self.path).out, b"")
        self.put("k", bytes(limit))
        self.assertEqual(self.get("k"), bytes(limit))


class Format(CliTest):
    def test_it_shows_the_geometry_that_inspect_shows(self):
        made = self.expect(OK, "format", self.path, "--capacity", "32MiB", "--segment", "1MiB",
                           "--block", "8KiB", "--expected-entries", "1000", "--json").json()
        seen = self.expect(OK, "inspect", self.path, "--json").json()
        for name in ("id", "segments", "entries_max", "value_bytes_max", "capacity_bytes"):
            self.assertEqual(made[name], seen[name], name)
        self.assertEqual((made["segment_bytes"], made["block_bytes"]), (1 << 20, 8192))
        self.assertEqual(made["device_bytes"], 32 << 20)
        self.assertIn("1 MiB", self.expect(OK, "inspect", self.path).out.decode())

    def test_sizes_have_decimal_and_binary_units(self):
        for text, size in {"16777216": 16777216, "16M": 1 << 24, "16MiB": 1 << 24, "16mb": 16000000,
                           "0.015625 GiB": 1 << 24}.items():
            made = self.expect(OK, "format", self.path, "--capacity", text, "--dry-run", "--json").json()
            self.assertEqual(made["device_bytes"], size // 512 * 512, text)
        for text in ("", "x", "-1", "1X", "1KiBs", "99999999999999999999", "1e9", "0x10"):
            self.expect(USAGE, "format", self.path, f"--capacity={text}", err="--capacity")

    def test_a_dry_run_changes_nothing(self):
        self.expect(OK, "format", self.path, "--capacity", "16MiB", "--dry-run")
        self.assertFalse(os.path.exists(self.path))
        self.make_cache()
        before = digest(self.path)
        outcome = self.expect(OK, "format", self.path, "--dry-run")
        self.assertIn("Would make", outcome.out.decode())
        self.assertEqual(digest(self.path), before)

    def test_what_exists_is_formatted_only_with_yes(self):
        pathlib.Path(self.path).write_bytes(bytes(16 << 20))
        self.expect(USAGE, "format", self.path, err="--yes")
        self.assertEqual(pathlib.Path(self.path).read_bytes(), bytes(16 << 20))
        self.expect(OK, "format", self.path, "--yes")
        self.expect(OK, "inspect", self.path)

    def test_a_cache_is_overwritten_only_with_force(self):
        self.make_cache()
        self.put("k", b"v")
        before = digest(self.path)
        self.expect(USAGE, "format", self.path, "--yes", err="--force")
        self.expect(USAGE, "format", self.path, "--force", err="--yes")
        self.assertEqual(digest(self.path), before)
        self.expect(OK, "format", self.path, "--yes", "--force")
        self.assertEqual(self.expect(OK, "keys", self.path).out, b"")

    def test_a_known_file_system_is_overwritten_only_with_force(self):
        image = bytearray(16 << 20)
        image[1080:1082] = b"\x53\xef"  # ext4
        pathlib.Path(self.path).write_bytes(image)
        self.expect(USAGE, "format", self.path, "--yes", err="ext2/3/4")
        self.assertEqual(pathlib.Path(self.path).read_bytes(), image)
        self.expect(OK, "format", self.path, "--yes", "--force")

    def format_on_a_terminal(self, answer):
        controller, terminal = pty.openpty()
        with subprocess.Popen([PROGRAM, "format", self.path], stdin=terminal, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            os.write(controller, answer.encode() + b"\n")
            _, err = process.communicate(timeout=60)
        os.close(controller)
        os.close(terminal)
        self.assertIn("Type its path", err.decode())
        return process.returncode

    def test_on_a_terminal_the_path_has_to_be_typed(self):
        pathlib.Path(self.path).write_bytes(bytes(16 << 20))
        self.assertEqual(self.format_on_a_terminal("yes"), USAGE)
        self.assertEqual(pathlib.Path(self.path).read_bytes(), bytes(16 << 20))
        self.assertEqual(self.format_on_a_terminal(self.path), OK)
        self.expect(OK, "inspect", self.path)

    def test_absurd_sizes_name_what_is_wrong_and_leave_no_file(self):
        for status, arguments, err in (
            (USAGE, [], "--capacity"),
            (USAGE, ["--capacity", "0"], "--capacity"),
            (USAGE, ["--capacity", "64KiB"], "capacity too small"),
            (USAGE, ["--capacity", "16MiB", "--block", "1000"], "block_bytes"),
            (USAGE, ["--capacity", "16MiB", "--block", "1GiB"], "--block"),
            (USAGE, ["--capacity", "1GiB", "--segment", "128MiB"], "segment_bytes"),
            (USAGE, ["--capacity", "16MiB", "--expected-entries", "99999999999"], "capacity too small"),
            (FAILURE, ["--capacity", "100TiB"], "no space"),
        ):
            self.expect(status, "format", self.path, *arguments, err=err)
            self.assertFalse(os.path.exists(self.path), arguments)


class WhatLiesAtThePath(CliTest):
    COMMANDS = (("inspect",), ("stats",), ("verify",), ("keys",), ("get", "k"), ("rm", "k"), ("put", "k", "v"))

    def everywhere(self, status, err):
        for command, *rest in self.COMMANDS:
            self.expect(status, command, self.path, *rest, err=err)

    def test_nothing(self):
        self.everywhere(FAILURE, "no such file")
        self.assertFalse(os.path.exists(self.path))

    def test_a_directory(self):
        os.mkdir(self.path)
        self.everywhere(FAILURE, "directory")
        self.expect(FAILURE, "format", self.path, "--yes", "--force", "--capacity", "16MiB", err="directory")

    def test_a_fifo(self):
        os.mkfifo(self.path)
        self.everywhere(FAILURE, "neither a file nor a block device")

    def test_a_file_that_is_no_cache(self):
        pathlib.Path(self.path).write_bytes(b"hello" * 100000)
        before = digest(self.path)
        self.everywhere(NOT_A_CACHE, "not a cache")
        self.assertEqual(digest(self.path), before)

    def test_a_cache_that_was_cut_or_grew(self):
        self.make_cache()
        os.truncate(self.path, 8 << 20)
        self.expect(NOT_A_CACHE, "get", self.path, "k", err="smaller")
        os.truncate(self.path, 32 << 20)
        self.expect(NOT_A_CACHE, "get", self.path, "k", err="larger")

    def test_a_cache_that_is_open_elsewhere(self):
        self.make_cache()
        before = digest(self.path)
        with open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for command, *rest in self.COMMANDS[1:]:
                self.expect(BUSY, command, self.path, *rest, err="already open")
            self.expect(BUSY, "format", self.path, "--yes", "--force", err="already open")
            self.expect(OK, "inspect", self.path)
        self.assertEqual(digest(self.path), before)


class Verify(CliTest):
    def damaged(self):
        """A cache in which the value of key-7 has a wrong bit."""
        self.make_cache()
        for i in range(20):
            self.put(f"key-{i}", b"<value-%d>" % i * 500)
        image = pathlib.Path(self.path).read_bytes()
        at = image.index(b"<value-7>" * 100) + 2000
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(bytes([image[at] ^ 0x10]))
        return at

    def test_a_whole_cache_is_status_0(self):
        self.make_cache()
        for i in range(5):
            self.put(f"key-{i}", ALL_BYTES)
        report = self.expect(OK, "verify", self.path, "--json").json()
        self.assertEqual((report["entries"], report["damage"], report["complete"]), (5, [], True))
        self.assertIn("no damage: entries 5", self.expect(OK, "verify", self.path).out.decode())

    def test_damage_is_status_4_with_its_place_and_key_and_nothing_changes(self):
        at = self.damaged()
        before = digest(self.path)
        report = self.expect(DAMAGE, "verify", self.path, "--json").json()
        self.assertEqual(report["entries"], 19)
        hits = [d for d in report["damage"] if d["offset"] <= at < d["offset"] + d["size"]]
        self.assertTrue(hits, report)
        self.assertIn("key-7", [d.get("key") for d in report["damage"]])
        self.assertIn("key-7", self.expect(DAMAGE, "verify", self.path).out.decode())
        self.assertEqual(self.expect(DAMAGE, "verify", self.path, "--quiet").out, b"")
        self.assertEqual(digest(self.path), before)

    def test_a_damaged_entry_is_a_miss_and_the_others_are_found(self):
        self.damaged()
        self.expect(MISS, "get", self.path, "key-7")
        self.assertEqual(self.get("key-6"), b"<value-6>" * 500)


class Stats(CliTest):
    def test_every_group_is_shown_and_the_same_as_json(self):
        self.make_cache()
        self.put("k", b"v")
        seen = self.expect(OK, "stats", self.path, "--json", "--engine", "posix").json()
        self.assertEqual((seen["entries"], seen["engine"], seen["lookups"]), (1, "posix", 0))
        for name in ("index_bytes", "pending_writes", "evicted", "write_amplification", "recovery_ns"):
            self.assertIn(name, seen)
        self.assertIn("p999_ns", seen["lookup_batch_latency"])
        text = self.expect(OK, "stats", self.path).out.decode()
        for group in ("Content", "Write buffer", "Calls", "Latencies", "since the cache was opened"):
            self.assertIn(group, text)


class Arguments(CliTest):
    def test_without_a_command_it_says_how_to_begin(self):
        outcome = self.run_program()
        self.assertEqual(outcome.status, USAGE)
        self.assertIn("Subcommands", outcome.err)
        self.assertIn("Try it", outcome.err)

    def test_every_command_has_help(self):
        for command in ("format", "inspect", "put", "get", "rm", "keys", "stats", "verify", "bench", "version"):
            text = self.expect(OK, command, "--help").out.decode()
            self.assertIn("Usage: rawcache " + command, text)
        self.assertIn("--sync-delay-ms", self.expect(OK, "bench", "batch-io", "--help").out.decode())

    def test_the_version(self):
        text = self.expect(OK, "version").out.decode()
        self.assertRegex(text, r"^rawcache \d+\.\d+\.\d+\n$")
        self.assertEqual(self.expect(OK, "--version").out.decode(), text)
        self.assertIn(self.expect(OK, "version", "--json").json()["version"], text)

    def test_wrong_arguments_are_status_2(self):
        for arguments in (["frobnicate"], ["get"], ["get", self.path], ["get", self.path, "k", "extra"],
                          ["put", self.path, "k", "v", "--file", "f"], ["put", self.path, "k", "v", "--ttl", "soon"],
                          ["put", self.path, "k", "v", "--ttl", "0s"], ["stats", self.path, "--engine", "steam"],
                          ["bench"], ["bench", "batch-io", "--sizes", "1,x"], ["inspect", self.path, "--nonsense"],
                          ["bench", "batch-io", "--sync-delay-ms", "-1"], ["bench", "batch-io", "--repeat", "0"]):
            self.expect(USAGE, *arguments)

    def test_errors_are_json_on_demand(self):
        error = self.expect(FAILURE, "stats", self.path, "--json").json()["error"]
        self.assertEqual((error["code"], error["exit_status"]), ("no_such_file", FAILURE))
        error = self.expect(USAGE, "--json", "frobnicate").json()["error"]
        self.assertEqual(error["code"], "usage")

    def test_the_engine_and_the_mode_can_be_chosen(self):
        self.make_cache()
        for engine in ("posix", "auto"):
            for direct in ("off", "auto"):
                self.put("k", b"v", "--engine", engine, "--direct", direct)
                got = self.expect(OK, "get", self.path, "k", "--engine", engine, "--direct", direct)
                self.assertEqual(got.out, b"v")
        self.assertFalse(self.expect(OK, "stats", self.path, "--direct", "off", "--json").json()["direct"])


class Bench(CliTest):
    QUICK = ("bench", "batch-io", "--quick")

    def test_it_measures_every_row_and_removes_its_file(self):
        seen = self.expect(OK, *self.QUICK, "--path", self.path, "--json").json()
        names = [f"write/{n}" for n in (4096, 65536, 1048576)]
        names += [f"read/{o}/{n}" for o in ("sequential", "random") for n in (50, 100, 1000)]
        self.assertEqual([row["name"] for row in seen["rows"]], names)
        for row in seen["rows"]:
            for field in ("single_per_s", "batched_per_s", "ratio", "limit_share", "limit_per_s"):
                self.assertGreater(row[field], 0, (row["name"], field))
        self.assertEqual((seen["evicted"], seen["complete"]), (0, True))
        self.assertFalse(os.path.exists(self.path))

    def test_a_slow_sync_makes_direct_writes_slow_and_batches_worth_it(self):
        seen = self.expect(OK, *self.QUICK, "--path", self.path, "--json", "--sizes", "4096",
                           "--operations", "96", "--sync-delay-ms", "4").json()
        row = seen["rows"][0]
        self.assertLess(row["single_per_s"], 250)
        self.assertGreater(row["ratio"], 8)
        self.assertEqual(seen["sync_delay_ms"], 4)

    def test_people_get_a_table(self):
        env = {"TMPDIR": str(self.folder)}
        text = self.expect(OK, *self.QUICK, "--sizes", "4096", env=env).out.decode()
        for part in ("Writes", "Reads", "buffered/s", "neighbours", "random", "\u2591", "4 KiB"):
            self.assertIn(part, text)
        self.assertNotIn("\x1b", text)
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_exists_is_replaced_only_when_asked(self):
        self.expect(OK, "format", self.path, "--capacity", "64MiB")
        before = digest(self.path)
        self.expect(USAGE, *self.QUICK, "--sizes", "4096", "--path", self.path, err="--yes")
        self.assertEqual(digest(self.path), before)
        self.expect(OK, *self.QUICK, "--sizes", "4096", "--path", self.path, "--yes", "--json")
        self.assertEqual(os.path.getsize(self.path), 64 << 20)
        image = bytearray(64 << 20)
        image[1080:1082] = b"\x53\xef"
        pathlib.Path(self.path).write_bytes(image)
        self.expect(USAGE, *self.QUICK, "--sizes", "4096", "--path", self.path, "--yes", err="ext2/3/4")
        self.assertEqual(pathlib.Path(self.path).read_bytes(), image)

    def test_an_interrupt_shows_what_there_is_and_cleans_up(self):
        with subprocess.Popen([PROGRAM, *self.QUICK, "--repeat", "1000", "--path", self.path, "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 30
            while not os.path.exists(self.path) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        outcome = Outcome(process.returncode, out, err)
        self.assertEqual(outcome.status, INTERRUPTED, outcome.err)
        self.assertFalse(outcome.json()["complete"])
        self.assertFalse(os.path.exists(self.path))


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM = os.path.abspath(sys.argv[1])
    return report.run(sys.modules["__main__"], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
