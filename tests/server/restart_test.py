#!/usr/bin/env python3
"""Guards what a client may count on when the server ends, however it ends: with an orderly stop
everything, with kill -9 what the durability promises: restart_test.py <rawcache> [part of a test's
name]..."""

import contextlib
import random
import re
import socket
import threading
import time

import harness


def cas_of(reply):
    return int(re.search(rb"VALUE \S+ \d+ \d+ (\d+)", reply).group(1))


class Restart(harness.ServerTest):
    def restart(self, server, *options, kill=False):
        if kill:
            server.kill()
        else:
            self.assertEqual(server.stop(), 0, server.output())
        return self.start(*options)

    def test_values_flags_lives_and_cas_survive_an_orderly_stop(self):
        server = self.start()
        with server.connect() as client:
            client.ask(b"set a 7 0 5\r\nhello\r\nset short 0 1 1\r\n1\r\nset long 0 1000 1\r\n1\r\n")
            before = client.ask(b"gets a\r\n")
        server = self.restart(server)
        with server.connect() as client:
            self.assertEqual(client.ask(b"gets a\r\n"), before)
            self.assertEqual(client.ask(b"cas a 7 0 3 %d\r\nnew\r\n" % cas_of(before)), b"STORED\r\n")
            self.assertRegex(client.ask(b"mg long t\r\n"), rb"^HD t(9[0-9][0-9]|1000)\r\n$")
            time.sleep(1.1)
            self.assertEqual(client.ask(b"get short\r\n"), b"END\r\n")

    def test_no_cas_value_comes_twice_through_kills(self):
        seen = set()
        server = self.start("--durability", "buffered")
        for _ in range(4):
            with server.connect() as client:
                for _ in range(20):
                    client.ask(b"set a 0 0 1\r\n1\r\n")
                    cas = cas_of(client.ask(b"gets a\r\n"))
                    self.assertNotIn(cas, seen)
                    seen.add(cas)
            server = self.restart(server, "--durability", "buffered", kill=True)

    def test_a_delayed_flush_all_survives_a_kill(self):
        server = self.start()
        with server.connect() as client:
            self.assertEqual(client.ask(b"set a 0 0 1\r\n1\r\nflush_all 3\r\n"), b"STORED\r\nOK\r\n")
            until = time.monotonic() + 3
            time.sleep(0.3)  # the interval of durability, and the time that a flush takes
        server = self.restart(server, kill=True)
        with server.connect() as client:
            if time.monotonic() < until - 0.5:
                self.assertIn(b"VALUE a", client.ask(b"get a\r\n"))
            time.sleep(max(0, until + 0.1 - time.monotonic()))
            self.assertEqual(client.ask(b"get a\r\n"), b"END\r\n")

    def test_stale_marks_survive_and_flush_all_does_not_come_back(self):
        server = self.start("--durability", "sync")
        with server.connect() as client:
            client.ask(b"set gone 0 0 1\r\n1\r\nflush_all\r\nset a 0 0 1\r\n1\r\nmd a I\r\n")
        server = self.restart(server, kill=True)
        with server.connect() as client:
            self.assertEqual(client.ask(b"get gone\r\n"), b"END\r\n")
            self.assertEqual(client.ask(b"mg a v\r\n"), b"VA 1 X W\r\n1\r\n")

    def test_what_sync_has_acknowledged_survives_kills_by_a_clients_ledger(self):
        dice = random.Random(1)
        ledger = {}  # key -> what it may hold: the last acknowledged, and what was on its way
        server = self.start("--durability", "sync")
        for _ in range(5):
            with server.connect() as client:
                for n in range(dice.randrange(20, 60)):
                    key = b"k%d" % dice.randrange(10)
                    value = b"%d-%d" % (n, dice.randrange(1 << 30))
                    kind = dice.randrange(4)
                    if kind == 0:
                        client.ask(b"delete %s\r\n" % key)
                        ledger[key] = {None}
                    elif kind == 1:
                        reply = client.ask(b"append %s 0 0 1\r\n+\r\n" % key)
                        if reply == b"STORED\r\n":
                            ledger[key] = {v + b"+" for v in ledger[key] if v is not None}
                    else:
                        self.assertEqual(client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)),
                                         b"STORED\r\n")
                        ledger[key] = {value}
                key, value = b"k%d" % dice.randrange(10), b"on its way"
                client.send(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
                ledger[key] = ledger.get(key, {None}) | {value}
            server = self.restart(server, "--durability", "sync", kill=True)
            with server.connect() as client:
                for key, allowed in ledger.items():
                    found = re.match(rb"VALUE \S+ \d+ \d+\r\n(.*)\r\nEND\r\n$", client.ask(b"get %s\r\n" % key))
                    value = found.group(1) if found else None
                    self.assertIn(value, allowed, key)
                    ledger[key] = {value}

    def test_many_entries_survive_a_stop_and_a_kill_and_are_served_soon(self):
        entries = 30_000
        server = self.start()
        with server.connect() as client:
            client.ask(b"".join(b"set k%d 0 0 100 noreply\r\n%s\r\n" % (i, b"x" * 100) for i in range(entries)))
        for kill in (False, True):
            time.sleep(0.5)  # the interval of durability, and the time that a flush takes
            server.kill() if kill else server.stop()
            began = time.monotonic()
            server = self.start()
            self.assertLess(time.monotonic() - began, 5)
            with server.connect() as client:
                reply = client.ask(b"get " + b" ".join(b"k%d" % i for i in range(entries)) + b"\r\n")
            self.assertEqual(reply.count(b"VALUE "), entries)

    def test_hot_values_are_served_from_memory_and_never_stale(self):
        server = self.start("-m", "8")
        with server.connect() as client:
            client.ask(b"set a 7 0 3\r\nold\r\n")
        server = self.restart(server, "-m", "8")
        with server.connect() as client:
            for _ in range(3):
                self.assertEqual(client.ask(b"get a\r\n"), b"VALUE a 7 3\r\nold\r\nEND\r\n")
            self.assertRegex(client.ask(b"stats rawcache\r\n"), rb"STAT memory_hits [1-9]")
            client.ask(b"set a 8 0 3\r\nnew\r\n")
            self.assertEqual(client.ask(b"get a\r\n"), b"VALUE a 8 3\r\nnew\r\nEND\r\n")
            client.ask(b"delete a\r\n")
            self.assertEqual(client.ask(b"get a\r\n"), b"END\r\n")

    def test_who_asks_for_statistics_until_the_end_breaks_no_stop(self):
        for _ in range(3):
            pages = self.folder / "pages"
            server = self.start("--http", f"unix:{pages}")
            stopped = threading.Event()

            def ask():
                while not stopped.is_set():
                    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(pages))
                        client.sendall(b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
                        while client.recv(1 << 16):
                            pass

            askers = [threading.Thread(target=ask) for _ in range(2)]
            for asker in askers:
                asker.start()
            time.sleep(0.2)
            status = server.stop()
            stopped.set()
            for asker in askers:
                asker.join()
            self.assertEqual(status, 0, server.output())

    def test_a_stop_answers_what_was_read(self):
        server = self.start()
        client = server.connect()
        client.send(b"".join(b"set k%d 0 0 1000\r\n%s\r\n" % (i, b"x" * 1000) for i in range(500)))
        self.assertEqual(client.socket.recv(8), b"STORED\r\n")
        self.assertEqual(server.stop(), 0)
        answered = 1 + client.read_to_end().count(b"STORED\r\n")
        client.close()
        server = self.start()
        with server.connect() as client:
            reply = client.ask(b"get " + b" ".join(b"k%d" % i for i in range(500)) + b"\r\n")
        self.assertGreaterEqual(reply.count(b"VALUE "), answered)


if __name__ == "__main__":
    harness.main()
