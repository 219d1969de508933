#!/usr/bin/env python3
"""Shows what restarts and connections cost `rawcache serve`: server_limits.py BUILD_FOLDER [--dir FOLDER].

A server that holds a million entries is stopped, and killed, and started again. Then ten thousand clients connect
and do nothing, a thousand more all ask at once, and one never takes what it has asked for.
`./x bench --server-limits` builds and runs it. The status is 1 if a goal is missed.
"""

import argparse
import pathlib
import resource
import signal
import socket
import sys
import tempfile
import time

import server_process

ENTRIES, VALUE_BYTES = 1_000_000, 1024
IDLE, ACTIVE, GETS = 10_000, 1_000, 20
SECONDS_GOAL, KEPT_GOAL, MEMORY_GOAL_MB = 2.0, 99.0, 256.0


class Checks:
    """What was found, a line each, and whether all of it is as it should be."""

    def __init__(self):
        self.good = True

    def say(self, text, reached=True):
        print(f"{'' if reached else 'MISSED: '}{text}", flush=True)
        self.good = self.good and reached


def restarts(server, program, checks):
    common = {"value_bytes": VALUE_BYTES, "keys": ENTRIES}
    filled = server.load(program, set=True, requests=ENTRIES, depth=100, **common)
    checks.say(f"{filled['stored']:,} entries of {VALUE_BYTES} bytes stored in {filled['seconds']:.1f} s")
    for name, how in (("SIGTERM", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
        time.sleep(0.5)  # longer than the interval of --durability and a flush take
        ended, served = server.end(how), server.start()
        found = server.load(program, requests=ENTRIES // 100, keys_per_get=100, **common)
        kept = 100 * found["hits"] / ENTRIES
        checks.say(f"{name}: gone after {ended:.2f} s, serves again {served:.2f} s after its start, has {kept:.2f} % of "
                   "the entries", served <= SECONDS_GOAL and kept >= KEPT_GOAL)


def connect(server):
    client = socket.socket(socket.AF_UNIX)
    client.connect(server.socket)  # waits for its turn, as it would not with a timeout
    client.settimeout(60)
    return client


def read(client, size):
    while size > 0:
        size -= len(client.recv(1 << 20))


def connections(server, checks):
    with connect(server) as client:
        client.sendall(b"set a 0 0 4096\r\n" + b"x" * 4096 + b"\r\n")
        read(client, len("STORED\r\n"))
    before = server.memory_mb()
    idle = [connect(server) for _ in range(IDLE)]
    while int(server.stats()["curr_connections"]) < IDLE:
        time.sleep(0.1)
    resting = server.memory_mb()
    checks.say(f"{IDLE:,} idle connections: {resting - before:.1f} MB, {(resting - before) * 1e6 / IDLE:.0f} bytes each")
    active = [connect(server) for _ in range(ACTIVE)]
    reply_bytes = len("VALUE a 0 4096\r\n") + 4096 + len("\r\nEND\r\n")
    for _ in range(3):
        for client in active:
            client.sendall(b"get a\r\n" * GETS)
        for client in active:
            read(client, GETS * reply_bytes)
    most = server.status_kb("VmHWM") / 1024
    checks.say(f"and {ACTIVE:,} that each ask for {GETS} values of 4 KiB at once: {most - before:.1f} MB at most, buffers "
               "and values under way included", most - before <= MEMORY_GOAL_MB)
    never_reads(server, checks)
    for client in (*idle, *active):
        client.close()


def never_reads(server, checks):
    before = server.memory_mb()
    deaf = connect(server)
    deaf.settimeout(1)
    try:
        while True:
            deaf.sendall(b"get a\r\n" * 1000)
    except TimeoutError:
        pass
    cost = server.memory_mb() - before
    limit = 1 + 0.3  # --output-limit and what is read at once
    checks.say(f"a client that never reads: {cost:.2f} MB", cost <= limit + 1)
    deaf.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="where rawcache and bench/server_load are")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="a folder on the disk to measure")
    arguments = parser.parse_args()
    build, checks = pathlib.Path(arguments.build), Checks()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    command = server_process.commands(build)["rawcache"] + ["-c", str(IDLE + ACTIVE + 100)]
    server = server_process.Server("rawcache", command, arguments.dir)
    try:
        restarts(server, str(build / "bench/server_load"), checks)
        connections(server, checks)
    finally:
        server.stop()
    sys.exit(0 if checks.good else 1)


if __name__ == "__main__":
    main()
