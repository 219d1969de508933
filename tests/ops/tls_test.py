#!/usr/bin/env python3
"""Guards TLS: tls_test.py <rawcache> [part]...

Real clients with OpenSSL (Python's ssl, `openssl s_client`) against a real server: who is served, who is not, and that
what is served is the same as without. Skipped where `openssl` is missing, or the server is built without it.
"""

import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import Client, Serving, free_port

PROGRAM = ""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def make_certificates(folder):
    """A root, and certificates of a server and of a client that it has signed; another root with its own."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    for root, names in (("ca", ("server", "client")), ("other", ("stranger",))):
        openssl("req", "-x509", *key, "-subj", f"/CN={root}", "-keyout", folder / f"{root}.key", "-out", folder / f"{root}.pem")
        for name in names:
            openssl("req", *key, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
            openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{root}.pem",
                    "-CAkey", folder / f"{root}.key", "-copy_extensions", "copy", "-days", "2", "-out", folder / f"{name}.pem")


class TlsClient(Client):
    """The same commands, encrypted; the server's certificate is checked."""

    def __init__(self, port, context):
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.file = self.socket.makefile("rb")


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("openssl"):
            raise unittest.SkipTest("openssl is not installed")
        certificates = tempfile.TemporaryDirectory(prefix="rawcache-tls-test-")
        cls.addClassCleanup(certificates.cleanup)
        cls.certificates = pathlib.Path(certificates.name)
        make_certificates(cls.certificates)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-tls-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name):
        return str(self.certificates / name)

    def serve(self, *arguments, name="server"):
        try:
            server = Serving(PROGRAM, self.folder, "--tls-cert", self.file(f"{name}.pem"),
                             "--tls-key", self.file(f"{name}.key"), *arguments)
        except AssertionError as error:
            if "built without OpenSSL" in str(error):
                self.skipTest("the server is built without OpenSSL")
            raise
        self.addCleanup(server.kill)
        return server

    def context(self, certificate=None):
        context = ssl.create_default_context(cafile=self.file("ca.pem"))
        if certificate:
            context.load_cert_chain(self.file(f"{certificate}.pem"), self.file(f"{certificate}.key"))
        return context

    def assert_turned_away(self, server, context):
        with self.assertRaises((ssl.SSLError, OSError)):
            with TlsClient(server.port, context) as client:
                answer = client.ask("version")  # TLS 1.3 tells a client of its certificate after the handshake
                if not answer:
                    raise OSError("closed")

    def test_values_of_any_size_come_back_whole(self):
        server = self.serve()
        with TlsClient(server.port, self.context()) as client:
            for size in (0, 1, 4095, 16384, 16385, 50_000):
                value = "".join(chr(ord("a") + i % 26) for i in range(size))
                self.assertEqual(client.set(f"key-{size}", value), "STORED")
                self.assertEqual(client.get(f"key-{size}"), value)

    def test_many_commands_in_one_record_and_one_command_in_many_records(self):
        server = self.serve()
        with TlsClient(server.port, self.context()) as client:
            self.assertEqual(client.set("k", "value"), "STORED")
            client.socket.sendall(b"get k\r\n" * 2000)
            for _ in range(2000):
                self.assertEqual([client.file.readline() for _ in range(3)],
                                 [b"VALUE k 0 5\r\n", b"value\r\n", b"END\r\n"])
            for byte in b"get k\r\n":
                client.socket.sendall(bytes([byte]))
            self.assertEqual(client.file.readline(), b"VALUE k 0 5\r\n")

    def test_a_client_that_reads_late_gets_everything(self):
        server = self.serve()
        value = "v" * 50_000
        with TlsClient(server.port, self.context()) as client:
            self.assertEqual(client.set("k", value), "STORED")
            client.socket.sendall(b"get k\r\n" * 200)
            time.sleep(0.5)  # more than the sockets hold is waiting by now
            for _ in range(200):
                self.assertEqual(client.file.readline(), b"VALUE k 0 50000\r\n")
                self.assertEqual(client.file.read(50_002), value.encode() + b"\r\n")
                self.assertEqual(client.file.readline(), b"END\r\n")

    def test_who_does_not_encrypt_is_not_answered(self):
        server = self.serve()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(b"version\r\n" * 3)
            answer = b""
            while piece := self.read_or_end(plain):
                answer += piece
        self.assertNotIn(b"VERSION", answer)

    @staticmethod
    def read_or_end(connection):
        try:
            return connection.recv(4096)
        except ConnectionResetError:
            return b""

    def test_a_client_needs_a_certificate_of_the_right_root_if_one_is_asked_for(self):
        server = self.serve("--tls-client-ca", self.file("ca.pem"))
        with TlsClient(server.port, self.context("client")) as client:
            self.assertTrue(client.ask("version").startswith("VERSION"))
        self.assert_turned_away(server, self.context())
        self.assert_turned_away(server, self.context("stranger"))
        with TlsClient(server.port, self.context("client")) as client:
            self.assertTrue(client.ask("version").startswith("VERSION"))

    def test_old_protocols_are_refused(self):
        server = self.serve()
        for version, status in (("-tls1_1", 1), ("-tls1_2", 0), ("-tls1_3", 0)):
            done = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", self.file("ca.pem"),
                 "-verify_return_error", "-quiet", version, "-cipher", "DEFAULT:@SECLEVEL=0"],
                input="version\r\nquit\r\n", capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual("VERSION" in done.stdout, status == 0, f"{version}: {done.stdout}{done.stderr}")

    def test_half_a_handshake_holds_up_nobody_and_no_shutdown(self):
        server = self.serve()
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            with TlsClient(server.port, self.context()) as client:
                self.assertTrue(client.ask("version").startswith("VERSION"))
            self.assertEqual(server.stop(), 0)

    def test_new_certificates_are_taken_on_demand_and_bad_ones_are_not(self):
        own = {name: self.folder / name for name in ("pem", "key")}
        for name, path in own.items():
            shutil.copy(self.file(f"stranger.{name}"), path)
        server = Serving(PROGRAM, self.folder, "--tls-cert", str(own["pem"]), "--tls-key", str(own["key"]))
        self.addCleanup(server.kill)
        with self.assertRaises(ssl.SSLCertVerificationError):
            TlsClient(server.port, self.context())
        for name, path in own.items():
            shutil.copy(self.file(f"server.{name}"), path)
        server.process.send_signal(signal.SIGHUP)
        self.wait_until_served(server)
        own["pem"].write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while "stay as they were" not in server.log_path.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.wait_until_served(server)

    def wait_until_served(self, server):
        deadline = time.monotonic() + 30
        while True:
            try:
                with TlsClient(server.port, self.context()) as client:
                    self.assertTrue(client.ask("version").startswith("VERSION"))
                    return
            except ssl.SSLError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)

    def refused(self, *arguments):
        done = subprocess.run([PROGRAM, "serve", "--path", str(self.folder / "c"), "--create", "--capacity", "16MiB",
                               *arguments], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_files_that_do_not_fit_are_named(self):
        pair = ("--tls-cert", self.file("server.pem"), "--tls-key", self.file("server.key"))
        listen = ("--listen", f"127.0.0.1:{free_port()}")
        self.assertIn("--tls-key", self.refused("--tls-cert", self.file("server.pem")))
        self.assertIn("--tls-cert", self.refused("--tls-client-ca", self.file("ca.pem")))
        self.serve().stop()  # skips if there is no TLS
        self.assertIn("client.key", self.refused(*listen, *pair[:3], self.file("client.key")))
        self.assertIn("none.pem", self.refused(*listen, "--tls-cert", self.file("none.pem"), *pair[2:]))
        self.assertIn("none.pem", self.refused(*listen, *pair, "--tls-client-ca", self.file("none.pem")))

    def test_other_machines_may_be_listened_to(self):
        self.assertIn("--tls-cert", self.refused("--listen", f"0.0.0.0:{free_port()}"))
        server = self.serve("--listen", f"0.0.0.0:{free_port()}")
        with TlsClient(server.port, self.context()) as client:
            self.assertTrue(client.ask("version").startswith("VERSION"))


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM = os.path.abspath(sys.argv[1])
    return report.run(sys.modules["__main__"], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
