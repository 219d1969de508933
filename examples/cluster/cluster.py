#!/usr/bin/env python3
"""Three rawcache servers behind twemproxy, one of which is killed and comes back warm.

    examples/cluster/cluster.py [--rawcache build/release/rawcache] [--keys 600] [--on-start keep|flush]

Talks to them as programs do: through the proxy with pymemcache, and past it with libmemcached's own ketama (pylibmc).
Says what happens, and fails if it is not what docs/scaling.md promises. Needs the Debian packages nutcracker,
python3-pymemcache and python3-pylibmc.
"""

import argparse
import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
SERVERS = 3
VALUE_BYTES = 500


def free_ports(count):
    """TCP ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait_for(port, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    sys.exit(f"nobody listens on port {port}")


class Node:
    """One server with a cache of its own."""

    def __init__(self, program, folder, number, port, on_start):
        self.port, self.log = port, folder / f"node{number}.log"
        # sync, since this shows what a kill leaves: with the default the last 0.1 s may be lost.
        self.command = [program, "serve", "--path", str(folder / f"node{number}"), "--create", "--capacity", "64MiB",
                        "--listen", f"127.0.0.1:{port}", "--on-start", on_start, "--durability", "sync"]
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.port, self.process)

    def end(self, how):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()


class Cluster:
    """The servers and the proxy, from `with` on."""

    def __init__(self, arguments, folder):
        *ports, self.proxy_port, stats_port = free_ports(SERVERS + 2)
        self.nodes = [Node(arguments.rawcache, folder, i, port, arguments.on_start) for i, port in enumerate(ports)]
        text = (HERE / "nutcracker.yml.in").read_text().replace("@PROXY@", str(self.proxy_port))
        for i, port in enumerate(ports):
            text = text.replace(f"@SERVER{i}@", str(port))
        (folder / "nutcracker.yml").write_text(text)
        self.command = ["nutcracker", "-c", str(folder / "nutcracker.yml"), "-o", str(folder / "nutcracker.log"),
                        "-p", str(folder / "nutcracker.pid"), "-a", "127.0.0.1", "-s", str(stats_port)]
        self.proxy = None

    def __enter__(self):
        for node in self.nodes:
            node.start()
        self.proxy = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.proxy_port, self.proxy)
        return self

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.terminate()
            self.proxy.wait()
        for node in self.nodes:
            node.end(signal.SIGTERM)


def expect(what, holds):
    print(f"  {'ok  ' if holds else 'NOT '} {what}", flush=True)
    if not holds:
        sys.exit(f"this is not as it should be: {what}")


def until(look, is_so, seconds=20):
    """What is seen at last: looks until it is as it should be, or for so long."""
    deadline = time.monotonic() + seconds
    while not is_so(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return seen


def value_of(key, version):
    return f"{key} version {version} ".ljust(VALUE_BYTES, ".")


def owners(nodes, keys, client_of):
    """Which server has each key, by asking all of them."""
    found = {}
    for number, node in enumerate(nodes):
        client = client_of(node.port)
        found |= dict.fromkeys(client.get_many(keys), number)
        client.close()
    return found


def through_the_proxy(cluster, keys, on_start):
    from pymemcache.client.base import Client  # from a Debian package, which may be missing

    def client_of(port):
        return Client(("127.0.0.1", port), no_delay=True, timeout=30, encoding="utf-8",
                      serde=None, default_noreply=False)

    def all_of(client):
        return {key: value.decode() for key, value in client.get_many(keys).items()}

    client = client_of(cluster.proxy_port)
    for key in keys:
        client.set(key, value_of(key, 1))
    expect(f"{len(keys)} keys stored through the proxy are all found",
           all_of(client) == {key: value_of(key, 1) for key in keys})
    owner = owners(cluster.nodes, keys, client_of)
    shares = [sum(1 for key in keys if owner[key] == i) for i in range(SERVERS)]
    print(f"       they are spread {' / '.join(map(str, shares))}")
    lost = [key for key in keys if owner[key] == 0]

    cluster.nodes[0].end(signal.SIGKILL)
    found = all_of(client)
    expect(f"one server killed: its {len(lost)} keys miss, the other {len(keys) - len(lost)} are served",
           set(found) == set(keys) - set(lost))
    overwritten = lost[: len(lost) // 2]
    for key in overwritten:
        client.set(key, value_of(key, 2))
    found = all_of(client)
    expect(f"{len(overwritten)} of them are stored again, on the servers that are left",
           all(found.get(key) == value_of(key, 2) for key in overwritten))

    start = time.monotonic()
    cluster.nodes[0].start()
    print(f"       it serves again {time.monotonic() - start:.2f} s after its start")
    # After server_retry_timeout twemproxy takes it in again; a multi-get that does so is split by old and new places.
    wanted = set(keys) - set(lost) if on_start == "flush" else set(keys)
    found = until(lambda: all_of(client), lambda found: set(found) == wanted)
    if on_start == "flush":
        expect("back with --on-start flush, it is empty: its keys miss", set(found) == set(keys) - set(lost))
        return
    expect("it comes back warm: every key is found", set(found) == set(keys))
    stale = [key for key in overwritten if found[key] == value_of(key, 1)]
    expect(f"but the {len(overwritten)} that were stored elsewhere meanwhile are as old as it is "
           "(which max-age or flush prevent)", len(stale) == len(overwritten))
    client.close()


def past_the_proxy(cluster, keys, on_start):
    import pylibmc  # from a Debian package, which may be missing

    client = pylibmc.Client([f"127.0.0.1:{node.port}" for node in cluster.nodes], behaviors={
        "ketama": True, "tcp_nodelay": True, "remove_failed": 1, "dead_timeout": 1, "retry_timeout": 1})
    keys = [f"lib-{key}" for key in keys]
    for key in keys:
        client.set(key, value_of(key, 1))
    expect(f"libmemcached with ketama: {len(keys)} keys stored and found",
           client.get_multi(keys) == {key: value_of(key, 1) for key in keys})

    cluster.nodes[1].end(signal.SIGKILL)
    found = {}
    for key in keys:  # the first to notice gets an error, as from any memcached
        with contextlib.suppress(pylibmc.Error):
            value = client.get(key)
            if value is not None:
                found[key] = value
    share = len(found) / len(keys)
    expect(f"another server killed: {share:.0%} of the keys are still found", 0.4 < share < 0.9)
    expect("none with a wrong value", all(value == value_of(key, 1) for key, value in found.items()))

    cluster.nodes[1].start()
    fresh = pylibmc.Client([f"127.0.0.1:{node.port}" for node in cluster.nodes], behaviors={"ketama": True})
    back = fresh.get_multi(keys)
    if on_start == "flush":
        expect("back with --on-start flush, it is empty", set(back) == set(found))
    else:
        expect("it comes back warm: every key is found", len(back) == len(keys))


def what_is_missing(arguments):
    if not shutil.which("nutcracker", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"):
        return "nutcracker is not installed (Debian package nutcracker)"
    if not shutil.which(arguments.rawcache):
        return f"no program at {arguments.rawcache}: ./x build, or --rawcache"
    for module in ("pymemcache", "pylibmc"):
        try:
            __import__(module)
        except ImportError:
            return f"{module} is not installed for {sys.executable} (Debian package python3-{module})"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rawcache", default=str(HERE.parent.parent / "build" / "release" / "rawcache"))
    parser.add_argument("--keys", type=int, default=600)
    parser.add_argument("--on-start", choices=("keep", "flush"), default="keep",
                        help="policy of the servers (keep)")
    arguments = parser.parse_args()
    missing = what_is_missing(arguments)
    if missing:
        print(missing)
        return SKIPPED
    keys = [f"key-{i}" for i in range(arguments.keys)]
    with tempfile.TemporaryDirectory(prefix="rawcache-cluster-") as name:
        with Cluster(arguments, pathlib.Path(name)) as cluster:
            print(f"Three servers with --on-start {arguments.on_start}, twemproxy with ketama in front")
            through_the_proxy(cluster, keys, arguments.on_start)
            past_the_proxy(cluster, keys, arguments.on_start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
