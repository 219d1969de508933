#!/usr/bin/env python3
"""Which share of the keys changes its server when servers leave or join, by how keys are mapped to servers.

    examples/cluster/moved_keys.py [--nodes 1000] [--keys 100000]

Ketama as libmemcached and twemproxy do it for equal weights (40 digests, so 160 points, a server), the hash modulo the
number of servers, and rendezvous (the server with the highest hash of key and server). Same keys every time.
"""

import argparse
import bisect
import hashlib
import json
import sys

POINTS_PER_DIGEST, DIGESTS = 4, 40
RENDEZVOUS_KEYS_MAX = 3000  # it hashes every key with every server
MASK = (1 << 64) - 1


def key_hash(number):
    return int.from_bytes(hashlib.md5(b"key-%d" % number).digest()[:8], "little")


def mixed(number):
    """A hash of a number of 64 bits (the finalizer of splitmix64)."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


class Ketama:
    def __init__(self, nodes):
        points = []
        for node in nodes:
            for i in range(DIGESTS):
                digest = hashlib.md5(b"node%d-%d" % (node, i)).digest()
                points += [(int.from_bytes(digest[4 * k:4 * k + 4], "little"), node) for k in range(POINTS_PER_DIGEST)]
        points.sort()
        self.places = [place for place, _ in points]
        self.nodes = [node for _, node in points]

    def node_of(self, hashed):
        return self.nodes[bisect.bisect_left(self.places, hashed & 0xFFFFFFFF) % len(self.nodes)]


class Modulo:
    def __init__(self, nodes):
        self.nodes = list(nodes)

    def node_of(self, hashed):
        return self.nodes[hashed % len(self.nodes)]


class Rendezvous:
    def __init__(self, nodes):
        self.seeds = [(node, mixed(node + 1)) for node in nodes]

    def node_of(self, hashed):
        return max((mixed(hashed ^ seed), node) for node, seed in self.seeds)[1]


def simulate(mapping, nodes, hashes):
    before = mapping(range(nodes))
    owners = [before.node_of(hashed) for hashed in hashes]
    counts = [0] * nodes
    for owner in owners:
        counts[owner] += 1

    def moved(after_nodes):
        after = mapping(after_nodes)
        return sum(owner != after.node_of(hashed) for owner, hashed in zip(owners, hashes)) / len(hashes)

    middle, ten = nodes // 2, max(1, nodes // 100)
    return {
        "one_leaves": moved([node for node in range(nodes) if node != middle]),
        "one_joins": moved(range(nodes + 1)),
        "one_percent_leaves": moved([node for node in range(nodes) if not middle <= node < middle + ten]),
        "fullest_over_mean": max(counts) * nodes / len(hashes),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    hashes = [key_hash(i) for i in range(arguments.keys)]
    results = {
        "ketama": simulate(Ketama, arguments.nodes, hashes),
        "modulo": simulate(Modulo, arguments.nodes, hashes),
        "rendezvous": simulate(Rendezvous, arguments.nodes, hashes[:RENDEZVOUS_KEYS_MAX]),
    }
    if arguments.json:
        print(json.dumps(results))
        return 0
    print(f"{arguments.nodes} servers; share of the keys that change their server")
    print(f"{'':12} {'one leaves':>12} {'one joins':>12} {'1 % leaves':>12}   fullest server / mean")
    for name, result in results.items():
        few = arguments.keys > RENDEZVOUS_KEYS_MAX and name == "rendezvous"
        fullest = "(too few keys to tell)" if few else f"{result['fullest_over_mean']:.2f}"
        print(f"{name:12} {result['one_leaves']:12.2%} {result['one_joins']:12.2%} "
              f"{result['one_percent_leaves']:12.2%}   {fullest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
