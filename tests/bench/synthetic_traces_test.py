#!/usr/bin/env python3
"""Guards the traces of known make and the policies beside them: synthetic_traces_test.py <source folder>.

What LRU and S3-FIFO miss of short traces can be told by hand. The traces are the same every time, in numbers of first
use, and the table holds the figures that went in.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "bench"))
from synthetic_traces import PERCENTS, compare, lru, make, s3_fifo, sized


def main():
    """Everything but the writing of files."""
    unit = [1] * 100
    loop = [0, 1, 2] * 10
    assert lru(loop, unit, 3) == 3 / 30
    assert lru(loop, unit, 2) == 1, "a loop that is longer than the cache"
    assert lru([0, 1, 0, 2, 0, 1], unit, 2) == 4 / 6, "what was asked for last stays"
    assert lru([0, 1, 2, 0], [2, 2, 1, 1], 3) == 1, "sizes count"
    # Asked for three times, 0 joins the main queue, and what is asked for once passes by it.
    once = [number for i in range(1, 40) for number in (i, 0 if i % 12 == 0 else i)]
    assert s3_fifo([0, 0, 0, *once], unit, 10) == 40 / 81
    assert lru([0, 0, 0, *once], unit, 10) > 40 / 81
    # What comes back from the ghost is in the main queue.
    assert s3_fifo([0, *range(1, 12), 0, *range(12, 30), 0], unit, 10) == 31 / 32

    first, again = make(), make()
    assert first == again
    traces = {name: sized(*trace) for name, trace in first.items()}
    for name, (requests, sizes) in traces.items():
        assert sorted(set(requests)) == list(range(len(sizes))), name
        assert requests[0] == 0 and max(requests) == len(sizes) - 1, name
    short = {"loop": (loop, unit[:3])}
    rows = [{"trace": "loop", "size_percent": percent, "policy": "fifo", "miss_ratio": 0.5} for percent in PERCENTS]
    made = compare(short, [{"rows": rows, "admission": "all"}])
    assert "| trace | size | LRU | S3-FIFO | fifo |" in made, made
    assert "| loop | 40 % | 1.0000 | 1.0000 | 0.5000 |" in made, made
    assert "| geometric mean |  | 1 | 1.0000 | 0.5000 |" in made, made
    print("the traces and the table are as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
