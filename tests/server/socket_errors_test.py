#!/usr/bin/env python3
"""Guards that errors of sockets are taken for what they are, so that a client which takes its time gets all
that it has asked for: socket_errors_test.py <rawcache> [part of a test's name]..."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
import report
import serving

PROGRAM = ""
REPLY = b"VALUE a 0 16384\r\n" + b"x" * 16384 + b"\r\nEND\r\n"


class Errors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-socket-errors-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_replies_that_the_socket_does_not_take_at_once_arrive_whole(self):
        # A Unix socket, whose buffer is small and of a fixed size; 64 replies of 16 KiB do not fit it.
        path = self.folder / "socket"
        server = serving.Serving(PROGRAM, self.folder, "--unix", str(path))
        self.addCleanup(server.kill)
        with server.client() as client:
            self.assertEqual(client.set("a", "x" * 16384), "STORED")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            client.sendall(b"get a\r\n" * 64 + b"quit\r\n")
            time.sleep(0.3)
            reply = b""
            while piece := client.recv(1 << 20):
                reply += piece
        self.assertEqual(reply, REPLY * 64)

    def ask_for_more_than_is_read(self, last):
        """A server that answers 512 times and then `last`, and has not read all that it was sent; and a client
        that has taken none of it."""
        server = serving.Serving(PROGRAM, self.folder)
        self.addCleanup(server.kill)
        with server.client() as client:
            self.assertEqual(client.set("a", "x" * 16384), "STORED")
        client = socket.socket()
        self.addCleanup(client.close)
        client.settimeout(30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # nearly all waits at the server
        client.connect(("127.0.0.1", server.port))
        silent = b"set b 0 0 1000 noreply\r\n" + b"x" * 1000 + b"\r\n"
        client.sendall(b"get a\r\n" * 512 + last + silent * 1000)
        time.sleep(0.3)
        return server, client

    def read_to_end(self, client):
        """A reset would be an exception."""
        data = b""
        while piece := client.recv(1 << 16):
            data += piece
        return data

    def test_replies_on_their_way_arrive_although_the_server_closes_with_input_unread(self):
        _, client = self.ask_for_more_than_is_read(b"quit\r\n")
        self.assertEqual(self.read_to_end(client), REPLY * 512)

    def test_replies_on_their_way_arrive_although_the_server_stops_with_input_unread(self):
        server, client = self.ask_for_more_than_is_read(b"")
        server.process.terminate()
        self.assertEqual(self.read_to_end(client), REPLY * 512)
        client.close()
        self.assertEqual(server.process.wait(timeout=30), 0)

    def test_a_client_that_does_not_close_is_waited_for_a_short_while_only(self):
        server = serving.Serving(PROGRAM, self.folder)
        self.addCleanup(server.kill)
        with server.client() as client:
            self.assertEqual(client.set("a", "x"), "STORED")
            began = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - began, 4)

    def test_a_page_arrives_although_more_was_sent_than_a_request(self):
        server = serving.Serving(PROGRAM, self.folder)
        self.addCleanup(server.kill)
        host, port = server.http.split(":")
        with socket.socket() as client:
            client.settimeout(30)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # most of the page waits at the server
            client.connect((host, int(port)))
            client.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n" + b"x" * 100_000)
            time.sleep(0.3)
            self.assertTrue(self.read_to_end(client).rstrip().endswith(b"</html>"))

    def test_an_address_in_use_is_told_as_such(self):
        server = serving.Serving(PROGRAM, self.folder)
        self.addCleanup(server.kill)
        done = subprocess.run(
            [PROGRAM, "serve", "--path", str(self.folder / "other"), "--create", "--capacity", "16MiB",
             "--listen", f"127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("already open", done.stderr)
        self.assertEqual(done.returncode, 5)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = os.path.abspath(sys.argv[1])
    sys.exit(report.run(sys.modules["__main__"], sys.argv[2:]))
