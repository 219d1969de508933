"""A `rawcache serve` for tests, and just enough of a client."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request


def free_port():
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Serving:
    """A server on a cache in a folder, from its start until stop() or kill()."""

    def __init__(self, program, folder, *arguments, port=None, http=None, capacity="16MiB"):
        self.port = port or free_port()
        self.http = http or f"127.0.0.1:{free_port()}"
        self.command = [program, "serve", "--path", str(folder / "cache"), "--create", "--capacity", capacity,
                        "--listen", f"127.0.0.1:{self.port}", "--http", self.http, *arguments]
        self.log_path = folder / "log"
        self.start()

    def start(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"it does not serve: {self.log_path.read_text()}")

    def stop(self, how=signal.SIGTERM):
        """Ends the process and returns its status."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def kill(self):
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)

    @property
    def address(self):
        return self.http if self.http.startswith("unix:") else f"http://{self.http}"

    def page(self, path):
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
            return answer.read().decode()

    def client(self):
        return Client(self.port)


class Client:
    """Commands as text; replies as lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, command):
        self.socket.sendall(command.encode() + b"\r\n")
        return self.file.readline().decode().rstrip("\r\n")

    def set(self, key, value):
        return self.ask(f"set {key} 0 0 {len(value)}\r\n{value}")

    def get(self, key):
        head = self.ask(f"get {key}")
        if head == "END":
            return None
        value = self.file.read(int(head.split()[3]) + 2)[:-2].decode()
        assert self.file.readline() == b"END\r\n"
        return value


def drain(fd):
    """What comes from a terminal until the other side closes it."""
    out = b""
    with contextlib.suppress(OSError):
        while piece := os.read(fd, 65536):
            out += piece
    return out.decode()
