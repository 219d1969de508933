#!/usr/bin/env python3
"""Guards that the load of `./x bench --server` counts what it was answered, and would see a server that loses or
mixes up values: load_test.py <rawcache> <server_load> [part of a test's name]..."""

import json
import sys

import harness

LOAD = ""


class Load(harness.ServerTest):
    def load(self, server, *options, status=0):
        done = harness.run([LOAD, "--socket", str(server.path), "--keys", "1000", "--value-bytes", "500",
                            "--pid", str(server.process.pid), *options])
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def fill(self, server):
        return self.load(server, "--set", "--requests", "1000", "--depth", "50")

    def test_every_set_and_every_value_is_counted(self):
        server = self.start()
        filled = self.fill(server)
        self.assertEqual((filled["requests"], filled["stored"], filled["refused"]), (1000, 1000, 0))
        found = self.load(server, "--requests", "20", "--keys-per-get", "100", "--shuffled")
        self.assertEqual((found["requests"], found["hits"], found["misses"], found["wrong"]), (20, 2000, 0, 0))
        self.assertGreater(found["server_cpu_s"], 0)
        self.assertLessEqual(found["p50_us"], found["p99_us"])

    def test_lost_and_wrong_values_are_seen(self):
        server = self.start()
        self.fill(server)
        with server.connect() as client:
            value = client.ask(b"get load:5\r\n").split(b"\r\n", 1)[1][:500]
            client.ask(b"delete load:3\r\n")
            client.ask(b"set load:4 0 0 500\r\n%s\r\n" % value)
            client.ask(b"set load:6 0 0 5\r\nshort\r\n")
        found = self.load(server, "--requests", "10", "--keys-per-get", "100", status=1)
        self.assertEqual((found["hits"], found["misses"], found["wrong"]), (999, 1, 2))

    def test_refused_sets_are_not_counted_as_stored(self):
        server = self.start("-I", "512")
        filled = self.load(server, "--set", "--requests", "1000")
        self.assertEqual((filled["stored"], filled["refused"]), (0, 1000))


if __name__ == "__main__":
    LOAD = sys.argv.pop(2)
    harness.main()
