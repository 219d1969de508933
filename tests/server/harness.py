"""What the tests of the server share: servers of ours and the real memcached on Unix sockets in a
temporary folder, and a client that speaks bytes."""

import os
import pathlib
import re
import shutil
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
MEMCACHED = shutil.which("memcached")


class Client:
    """A connection that sends bytes as they are. `sync` makes replies to anything countable: the
    server answers mn with MN, behind everything that came before it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_until(self, end, times=1):
        data = b""
        while not (data.endswith(end) and data.count(end) >= times):
            some = self.socket.recv(1 << 20)
            if not some:
                return data + b"<closed>"
            data += some
        return data

    def ask(self, data):
        """Everything that is answered to `data`."""
        self.send(data + b"mn\r\n")
        # A command of `data` may be answered with MN itself, in a packet of its own.
        own = sum(line.startswith(b"mn") for line in data.split(b"\r\n"))
        reply = self.read_until(b"MN\r\n", 1 + own)
        return reply[:-4] if reply.endswith(b"MN\r\n") else reply

    def read_to_end(self):
        """What comes until the server closes."""
        data = b""
        while some := self.socket.recv(1 << 20):
            data += some
        return data


class Process:
    """A server on the Unix socket `path`."""

    def __init__(self, path, arguments):
        self.path = path
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        give_up = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > give_up:
                    self.kill()
                    raise RuntimeError(f"{arguments[0]} does not serve: {self.output()}") from None
                time.sleep(0.01)

    def connect(self):
        return Client(self.path)

    def output(self):
        return (self.process.stdout.read() or b"").decode(errors="replace")

    def memory_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self):
        """An orderly end; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=30)


class ServerTest(unittest.TestCase):
    """Gives each test a folder; what was started is killed afterwards."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rawcache-server-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *options, capacity="64MiB", cache="cache", name="socket"):
        process = Process(self.folder / name, [
            PROGRAM, "serve", "--path", str(self.folder / cache), "--create", "--capacity", capacity,
            "-s", str(self.folder / name), "-t", "2", *options])
        self.addCleanup(process.kill)
        return process

    def start_tcp(self, *options):
        """The same on a port of 127.0.0.1, too; the server and the port."""
        port = serving.free_port()
        return self.start("--listen", f"127.0.0.1:{port}", *options), port

    def start_memcached(self, *options):
        if MEMCACHED is None:
            self.skipTest("memcached is not installed")
        path = self.folder / "memcached"
        user = ["-u", "root"] if os.geteuid() == 0 else []
        # Its threads that look at items now and then would make decr forget to keep a number's width meanwhile.
        process = Process(path, [MEMCACHED, *user, "-s", str(path), "-m", "64",
                                 "-o", "no_lru_crawler,no_lru_maintainer", *options])
        self.addCleanup(process.kill)
        return process


def run(arguments):
    """A program that ends by itself."""
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def numbered(reply, seen):
    """`reply` with every cas value replaced by the order in which it first came."""

    def number(match):
        return match.group(1) + b"#%d" % seen.setdefault(match.group(2), len(seen) + 1)

    reply = re.sub(rb"(VALUE \S+ \d+ \d+ )(\d+)", number, reply)
    return re.sub(rb"((?:^|\n)(?:HD|VA|EN|NF|NS|EX)[^\r]* c)(\d+)", number, reply)


def main():
    """<test>.py <rawcache> [part of a test's name]..."""
    global PROGRAM
    if len(sys.argv) < 2:
        sys.exit(main.__doc__)
    PROGRAM = os.path.abspath(sys.argv[1])
    sys.exit(report.run(sys.modules["__main__"], sys.argv[2:]))
