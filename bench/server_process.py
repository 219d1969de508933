"""Servers that are measured, each in a folder of its own with as much memory as the others: for server_bench.py and
server_limits.py."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MEMORY_MB = 256  # of a server: its own and its page cache
MEMCACHED_MB = 160  # so that its write buffers, its tables and some page cache fit, too
# As its users tune it: room is made early, writers wake often, what is read again stays where it is.
EXTSTORE = "ext_path={}:2G,ext_wbuf_size=16,ext_threads=10,ext_max_sleep=10000,slab_automove_freeratio=0.10," \
           "ext_recache_rate=0"
FILE_MB = 2048


def commands(build):
    """How each server is started, by its name; "{folder}" is its own."""
    root = ["-u", "root"] if os.geteuid() == 0 else []
    return {
        "extstore": ["memcached", *root, "-s", "{folder}/socket", "-m", str(MEMCACHED_MB), "-t", "2", "-o",
                     EXTSTORE.format("{folder}/data")],
        "rawcache": [str(build / "rawcache"), "serve", "--path", "{folder}/data", "--create", "--capacity",
                     f"{FILE_MB}MiB", "-s", "{folder}/socket", "-t", "2"],
    }


class MemoryGroup:
    """A control group, version 1 or 2; without the right to make one, none, which is said."""

    def __init__(self, name):
        self.path = None
        for parent, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            path = pathlib.Path(parent, f"rawcache-{name}.{os.getpid()}")
            with contextlib.suppress(OSError):
                path.mkdir()
                self.path = path
                (path / limit).write_text(str(MEMORY_MB << 20))
                return
        print("No control group can be made: the page cache may hide the disk", file=sys.stderr)

    def enter(self):
        """What a process does before it becomes the server."""
        if self.path:
            (self.path / "cgroup.procs").write_text("0")

    def close(self):
        if self.path:
            self.path.rmdir()


class Server:
    """One that starts on an empty disk; stop() leaves nothing behind."""

    def __init__(self, name, command, folder):
        self.name, self.folder = name, pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        self.socket = str(self.folder / "socket")
        self.group = MemoryGroup(name)
        self.command = [word.format(folder=self.folder) for word in command]
        self.log = open(self.folder / "log", "wb")
        self.start()

    def start(self):
        """Returns after how many seconds it has answered."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, preexec_fn=self.group.enter)
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(self.socket)
                client.sendall(b"mn\r\n")
                if client.recv(4) == b"MN\r\n":
                    return time.monotonic() - began
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} does not serve: {(self.folder / 'log').read_text()}")
            time.sleep(0.005)

    def end(self, how):
        """Returns after how many seconds it was gone."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait()
        return time.monotonic() - began

    def signal(self, number):
        self.process.send_signal(number)

    def load(self, program, **options):
        """Runs bench/server_load.cc with these options; what it says."""
        words = [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not True]
        words += [f"--{key}" for key, value in options.items() if value is True]
        done = subprocess.run([program, f"--socket={self.socket}", f"--pid={self.process.pid}", *words],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def stats(self, what=""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(f"stats {what}".strip().encode() + b"\r\n")
            reply = b""
            while not reply.endswith(b"END\r\n"):
                reply += client.recv(1 << 16)
        return dict(line.split()[1:3] for line in reply.decode().splitlines() if line.count(" ") >= 2)

    def forget_pages(self):
        """Empties the page cache of what it has written."""
        with open(self.folder / "data", "rb") as data:
            os.fsync(data.fileno())
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def memory_mb(self):
        return self.status_kb("VmRSS") / 1024

    def status_kb(self, what):
        """Of Linux: VmRSS now, VmHWM at most."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{what}:")[1].split()[0])

    def index_bytes(self, entries):
        """Memory for knowing where an entry is."""
        if self.name == "rawcache":
            return int(self.stats("rawcache")["index_bytes"]) / entries
        slabs = self.stats("slabs")
        most = max((key for key in slabs if key.endswith(":used_chunks")), key=lambda key: int(slabs[key]))
        return int(slabs[most.replace("used_chunks", "chunk_size")]) + int(self.stats()["hash_bytes"]) / entries

    def stop(self):
        self.end(signal.SIGKILL)
        self.log.close()
        self.group.close()
        shutil.rmtree(self.folder)
