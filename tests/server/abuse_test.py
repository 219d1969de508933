#!/usr/bin/env python3
"""Guards that a client that misbehaves hurts nobody else, and that bytes in any pieces mean the same:
abuse_test.py <rawcache> [part of a test's name]..."""

import os
import pathlib
import re
import shutil
import stat
import time

import harness


class Abuse(harness.ServerTest):
    def test_bytes_in_any_pieces_mean_the_same(self):
        server = self.start()
        stream = (b"set a 1 0 6\r\nab\r\ncd\r\nget a b a\r\nms c 2 k\r\nxy\r\nmg c v\r\nincr a 1\r\n"
                  b"append c 0 0 1\r\nz\r\ngat 0 c\r\ndelete a\r\nfoo\r\nset t 0 0 1\r\nlong\r\nmn\r\n")
        with server.connect() as client:
            client.send(stream)
            whole = client.read_until(b"MN\r\n")
        for size in (1, 2, 3, 7, 20):
            with server.connect() as client:
                client.ask(b"flush_all\r\n")
                for i in range(0, len(stream), size):
                    client.send(stream[i:i + size])
                self.assertEqual(client.read_until(b"MN\r\n"), whole, size)

    def test_a_value_is_never_taken_for_commands(self):
        server = self.start()
        with server.connect() as client:
            value = b"\r\nset smuggled 0 0 1\r\n1\r\nflush_all\r\n"
            self.assertEqual(client.ask(b"set a 0 0 %d\r\n%s\r\n" % (len(value), value)), b"STORED\r\n")
            self.assertEqual(client.ask(b"ms b %d\r\n%s\r\n" % (len(value), value)), b"HD\r\n")
            large = b"flush_all\r\n" * 200_000
            self.assertEqual(client.ask(b"set c 0 0 %d\r\n%s\r\n" % (len(large), large)),
                             b"SERVER_ERROR object too large for cache\r\n")
            self.assertEqual(client.ask(b"get smuggled\r\n"), b"END\r\n")
            self.assertIn(value, client.ask(b"get a\r\n"))

    def test_an_endless_line_and_an_endless_list_of_keys_close_the_connection(self):
        server = self.start()
        for stream in (b"x" * 20_000, b"get " + b"k " * 1_000_000):
            client = server.connect()
            try:
                client.send(stream)
                client.read_to_end()
            except ConnectionError:
                pass
            client.close()
        with server.connect() as client:
            self.assertEqual(client.ask(b"get " + b"k " * 50_000 + b"\r\n"), b"END\r\n")

    def test_a_client_that_never_reads_costs_its_own_limit_only(self):
        server = self.start("--output-limit", "256KiB", "--connection-memory", "4MiB", capacity="256MiB")
        deaf = server.connect()
        deaf.ask(b"set big 0 0 200000\r\n" + b"x" * 200_000 + b"\r\n")
        deaf.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += deaf.socket.send(b"get big\r\n" * 1000)
        except TimeoutError:
            pass
        self.assertLess(sent, 10_000_000, "nothing more is read from it")
        began = time.monotonic()
        with server.connect() as client:
            self.assertEqual(client.ask(b"set a 0 0 1\r\n1\r\nget a\r\n"),
                             b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n")
        self.assertLess(time.monotonic() - began, 5)
        deaf.close()

    def test_idle_clients_and_one_that_never_reads_cost_little_memory(self):
        if re.search(rb"__[at]san_init", pathlib.Path(harness.PROGRAM).read_bytes()):
            self.skipTest("a sanitizer keeps what was freed")
        server = self.start("-c", "1000", capacity="256MiB")
        with server.connect() as client:
            client.ask(b"set big 0 0 200000\r\n" + b"x" * 200_000 + b"\r\nget big\r\n")
        before = server.memory_bytes()
        clients = [server.connect() for _ in range(500)]
        for client in clients:
            client.ask(b"get none\r\n")
        self.assertLess(server.memory_bytes() - before, 500 * 32_768)
        before = server.memory_bytes()
        clients[0].socket.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            while True:
                clients[0].send(b"get big\r\n" * 1000)
        self.assertLess(server.memory_bytes() - before, 16 << 20)
        for client in clients:
            client.close()

    def test_a_client_that_reads_slowly_gets_all_of_a_large_reply(self):
        server = self.start(capacity="256MiB")
        with server.connect() as client:
            client.ask(b"set big 0 0 900000\r\n" + b"x" * 900_000 + b"\r\n")
            client.send(b"get big\r\nget big\r\nmn\r\n")
            time.sleep(0.3)
            self.assertEqual(client.read_until(b"MN\r\n").count(b"x"), 1_800_000)

    def test_a_client_that_sends_no_more_still_gets_its_replies(self):
        server = self.start()
        with server.connect() as client:
            client.send(b"set a 0 0 1\r\n1\r\nget a\r\nget a")
            client.socket.shutdown(1)
            self.assertEqual(client.read_to_end(), b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n")

    def test_connections_beyond_the_limit_are_told_so_and_idle_ones_are_closed(self):
        server = self.start("-c", "3", "--idle-timeout", "1s")
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.ask(b"version\r\n")
        refused = server.connect()
        self.assertEqual(refused.read_to_end(), b"ERROR Too many open connections\r\n")
        refused.close()
        for client in clients:
            self.assertEqual(client.read_to_end(), b"")
            client.close()

    def start_with_files(self, limit, *options):
        """A server that may open so many files, as ulimit has it, and is not told otherwise by being root."""
        plain = ["setpriv", "--bounding-set", "-sys_resource"] if os.geteuid() == 0 else []
        if plain and shutil.which(plain[0]) is None:
            self.skipTest("setpriv is not installed")
        server = harness.Process(self.folder / "socket", [
            *plain, "/bin/sh", "-c", f'ulimit {limit}; exec "$@"', "sh", harness.PROGRAM, "serve", "--create", "--capacity",
            "16MiB", "--path", str(self.folder / "cache"), "-s", str(self.folder / "socket"), *options])
        self.addCleanup(server.kill)
        return server

    def test_as_many_clients_are_served_as_were_to_be_although_fewer_files_may_be_open(self):
        server = self.start_with_files("-Sn 100", "-c", "300")
        clients = [server.connect() for _ in range(300)]
        for client in clients:
            self.assertEqual(client.ask(b"get a\r\n"), b"END\r\n")
            client.close()

    def test_clients_for_whom_there_are_no_files_are_told_so(self):
        server = self.start_with_files("-n 200", "-c", "300")
        clients = [server.connect() for _ in range(72)]
        for client in clients:
            client.ask(b"version\r\n")
        refused = server.connect()
        self.assertEqual(refused.read_to_end(), b"ERROR Too many open connections\r\n")
        for client in (*clients, refused):
            client.close()

    def test_the_unix_socket_is_for_its_owner(self):
        self.start()
        self.assertEqual(stat.S_IMODE(os.stat(self.folder / "socket").st_mode), 0o600)

    def test_other_machines_are_let_in_only_with_a_password_or_explicitly(self):
        cache = str(pathlib.Path(self.folder) / "cache")
        common = [harness.PROGRAM, "serve", "--path", cache, "--create", "--capacity", "16MiB",
                  "--listen", "0.0.0.0:0"]
        refused = harness.run(common)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("--auth-file", refused.stderr)

    def test_a_client_must_say_who_it_is(self):
        users = self.folder / "users"
        users.write_text("ann:secret\nbob:other\n")
        server = self.start("-Y", str(users))
        with server.connect() as client:
            client.send(b"get a\r\nset auth 0 0 10\r\nann secret\r\nget a\r\n")
            self.assertEqual(client.read_until(b"END\r\n"),
                             b"CLIENT_ERROR unauthenticated\r\nSTORED\r\nEND\r\n")
        client = server.connect()
        client.send(b"set auth 0 0 9\r\nann wrong\r\nget a\r\n")
        self.assertEqual(client.read_to_end(), b"CLIENT_ERROR authentication failure\r\n")
        client.close()


if __name__ == "__main__":
    harness.main()
