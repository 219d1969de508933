#!/usr/bin/env python3
"""Guards that the clients people use work with this server: libmemcached's conformance test, pymemcache
and pylibmc, as Debian packages them: clients_test.py <rawcache> [part of a test's name]..."""

import shutil
import subprocess

import harness

try:
    import pymemcache
    from pymemcache.client.base import Client as PymemcacheClient
except ImportError:
    pymemcache = None
try:
    import pylibmc
except ImportError:
    pylibmc = None


class Memcapable(harness.ServerTest):
    def test_libmemcacheds_conformance_test_of_the_text_protocol_passes(self):
        program = shutil.which("memccapable") or shutil.which("memcapable")
        if program is None:
            self.skipTest("memccapable (libmemcached-tools) is not installed")
        _, port = self.start_tcp()
        done = subprocess.run([program, "-a", "-h", "127.0.0.1", "-p", str(port)], capture_output=True,
                              text=True, timeout=120, check=False)
        lines = done.stdout.splitlines()
        failed = [line for line in lines if "[FAIL]" in line]
        self.assertEqual(failed, [], done.stdout)
        self.assertGreater(sum("[pass]" in line for line in lines), 20, done.stdout + done.stderr)


class Pymemcache(harness.ServerTest):
    def setUp(self):
        super().setUp()
        if pymemcache is None:
            self.skipTest("python3-pymemcache is not installed for this python3")
        self.start()
        self.client = PymemcacheClient(str(self.folder / "socket"), default_noreply=False)
        self.addCleanup(self.client.close)

    def test_every_command_of_pymemcache_works(self):
        client = self.client
        self.assertTrue(client.set("a", b"1", expire=100, flags=3))
        self.assertEqual(client.get("a"), b"1")
        self.assertFalse(client.add("a", b"2"))
        self.assertTrue(client.replace("a", b"3"))
        self.assertTrue(client.append("a", b"4"))
        self.assertTrue(client.prepend("a", b"2"))
        value, cas = client.gets("a")
        self.assertEqual(value, b"234")
        self.assertTrue(client.cas("a", b"10", cas))
        self.assertFalse(client.cas("a", b"11", cas))
        self.assertIsNone(client.cas("none", b"1", cas))
        self.assertEqual(client.incr("a", 5), 15)
        self.assertEqual(client.decr("a", 20), 0)
        self.assertIsNone(client.incr("none", 1))
        self.assertTrue(client.touch("a", 100))
        self.assertFalse(client.touch("none", 100))
        self.assertEqual(client.set_many({f"k{i}": b"v%d" % i for i in range(100)}), [])
        found = client.get_many([f"k{i}" for i in range(200)])
        self.assertEqual(found, {f"k{i}": b"v%d" % i for i in range(100)})
        self.assertEqual(len(client.gets_many(["k1", "k2", "k300"])), 2)
        self.assertTrue(client.delete("k1"))
        self.assertFalse(client.delete("k1"))
        self.assertTrue(client.delete_many(["k2", "k3"]))
        self.assertIn(b"curr_items", client.stats())
        self.assertTrue(client.version().startswith(b"1.6."))
        self.assertTrue(client.flush_all())
        self.assertIsNone(client.get("a"))
        client.quit()

    def test_noreply_keeps_replies_in_step(self):
        for i in range(1000):
            self.client.set(f"k{i % 10}", b"%d" % i, noreply=True)
            self.client.incr(f"k{i % 10}", 1, noreply=True)
        self.assertEqual(self.client.get("k9"), b"1000")


class Pylibmc(harness.ServerTest):
    def test_the_calls_of_pylibmc_work(self):
        if pylibmc is None:
            self.skipTest("python3-pylibmc is not installed for this python3")
        _, port = self.start_tcp()
        client = pylibmc.Client([f"127.0.0.1:{port}"], behaviors={"cas": True})
        self.assertTrue(client.set("a", 1, time=100))
        self.assertEqual(client.get("a"), 1)
        self.assertFalse(client.add("a", 2))
        self.assertEqual(client.incr("a", 4), 5)
        self.assertEqual(client.decr("a"), 4)
        self.assertTrue(client.set("text", "long " * 1000))
        self.assertEqual(client.get("text"), "long " * 1000)
        value, cas = client.gets("text")
        self.assertTrue(client.cas("text", "swapped", cas))
        self.assertFalse(client.cas("text", "late", cas))
        self.assertEqual(client.set_multi({f"m{i}": i for i in range(50)}), [])
        self.assertEqual(client.get_multi([f"m{i}" for i in range(60)]), {f"m{i}": i for i in range(50)})
        self.assertTrue(client.touch("a", 100))
        self.assertTrue(client.delete("a"))
        self.assertTrue(client.flush_all())
        self.assertIsNone(client.get("text"))
        self.assertEqual(len(client.get_stats()), 1)


if __name__ == "__main__":
    harness.main()
