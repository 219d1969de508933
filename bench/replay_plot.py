#!/usr/bin/env python3
"""Draws what `rawcache replay --suite DIR --json` has measured: replay_plot.py RESULT.json... --svg FILE.

One row per trace: the miss ratio over the size of the cache, for every result given and for LRU, S3-FIFO and ARC in
memory where their figures are known, and beside it the logical write amplification. --markdown FILE writes the
geometric means and the cells of the first result as tables.
"""

import argparse
import html
import json
import math
import sys

PANEL_WIDTH, PANEL_HEIGHT = 330, 150
LEFT, TOP, GAP = 48, 58, 46
COLOURS = ["#0b6e4f", "#d1495b", "#edae49", "#30638e", "#7b4b94", "#3d405b"]
PEERS = [("lru", "LRU", "#888888", "4 3"), ("s3fifo", "S3-FIFO", "#444444", "1 3"), ("arc", "ARC", "#aaaaaa", "8 3")]


def name_of(result):
    """What a line is called: the policy, and what of the options is not as usual."""
    name = result["rows"][0]["policy"] if result["rows"] else "?"
    if name == "rc":
        name += f" {result['wa_cap']:.2f}"
    return name if result["admission"] == "all" else f"{name}, {result['admission']}"


def traces_of(results):
    """Traces with their sizes, in the order of the first result; those with known peers only, if there are any."""
    rows = results[0]["rows"]
    known = [row for row in rows if "lru" in row]
    return list(dict.fromkeys(row["trace"] for row in known or rows))


def points(result, trace, field):
    """(size, value) of the rows that have the field."""
    return [(row["size_percent"], row[field]) for row in result["rows"] if row["trace"] == trace and field in row]


def scale(low, high, length):
    """A function from low..high to 0..length."""
    span = (high - low) or 1
    return lambda value: (value - low) / span * length


def ticks(low, high):
    """Round numbers from low to high, about four."""
    step = 10 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 5)
    first = math.ceil(low / step - 1e-9)
    return [first * step + i * step for i in range(int((high - low) / step + 1e-9) + 1) if
            first * step + i * step <= high + 1e-9]


def panel(x, y, title, lines):
    """One diagram; `lines` are (points, colour, dashes)."""
    values = [value for line, _, _ in lines for _, value in line]
    sizes = sorted({size for line, _, _ in lines for size, _ in line})
    low, high = min(values), max(values)
    low, high = (low, high) if high - low > 0.01 else (low - 0.005, high + 0.005)
    across = scale(math.log(sizes[0]), math.log(sizes[-1]), PANEL_WIDTH)
    up = scale(low, high, PANEL_HEIGHT)
    parts = [f'<g transform="translate({x} {y})">',
             f'<text x="0" y="-8" class="title">{html.escape(title)}</text>',
             f'<rect width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" class="frame"/>']
    for tick in ticks(low, high):
        at = PANEL_HEIGHT - up(tick)
        parts.append(f'<path d="M0 {at:.1f}H{PANEL_WIDTH}" class="grid"/>')
        parts.append(f'<text x="-5" y="{at + 4:.1f}" class="end">{tick:.4g}</text>')
    for size in sizes:
        parts.append(f'<text x="{across(math.log(size)):.1f}" y="{PANEL_HEIGHT + 14}" class="middle">{size:g} %</text>')
    for line, colour, dashes in lines:
        path = "L".join(f"{across(math.log(size)):.1f} {PANEL_HEIGHT - up(value):.1f}" for size, value in line)
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-dasharray="{dashes}" class="line"/>')
    return parts + ["</g>"]


def legend(results):
    """Names and strokes of all lines, in one row."""
    entries = [(name_of(result), COLOURS[i % len(COLOURS)], "none") for i, result in enumerate(results)]
    entries += [(f"{title} in memory", colour, dashes) for _, title, colour, dashes in PEERS]
    parts, x = [], LEFT
    for title, colour, dashes in entries:
        parts.append(f'<path d="M{x} 22h24" stroke="{colour}" stroke-dasharray="{dashes}" class="line"/>')
        parts.append(f'<text x="{x + 30}" y="26">{html.escape(title)}</text>')
        x += 44 + 7 * len(title)
    return parts, x


def svg(results):
    """The whole drawing."""
    traces = traces_of(results)
    head, legend_width = legend(results)
    width = max(2 * (LEFT + PANEL_WIDTH) + 2 * GAP, legend_width)
    height = TOP + len(traces) * (PANEL_HEIGHT + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
             "<title>Miss ratio and write amplification over the size of the cache</title>",
             "<style>text { font: 11px system-ui, sans-serif } .title { font-weight: 600 } .end { text-anchor: end }"
             " .middle { text-anchor: middle } .frame { fill: none; stroke: #bbb } .grid { stroke: #eee }"
             " .line { fill: none; stroke-width: 1.6 }</style>",
             f'<rect width="{width}" height="{height}" fill="#fff"/>'] + head
    for row, trace in enumerate(traces):
        y = TOP + row * (PANEL_HEIGHT + GAP)
        own = [(points(result, trace, "miss_ratio"), COLOURS[i % len(COLOURS)], "none")
               for i, result in enumerate(results)]
        peers = [(points(results[0], trace, field), colour, dashes) for field, _, colour, dashes in PEERS]
        parts += panel(LEFT, y, f"{trace}: miss ratio", [line for line in own + peers if line[0]])
        written = [(points(result, trace, "logical_write_amplification"), COLOURS[i % len(COLOURS)], "none")
                   for i, result in enumerate(results)]
        parts += panel(2 * LEFT + PANEL_WIDTH + GAP, y, f"{trace}: logical write amplification", written)
    return "\n".join(parts + ["</svg>"]) + "\n"


def mean_row(result):
    """The geometric means of one result."""
    means = result["means"]
    written = max(row["logical_write_amplification"] for row in result["rows"] if "lru" in row)
    return [name_of(result), *(f"{means[key]:.4f}" for key in ("to_lru", "to_s3fifo", "to_arc", "bytes_to_lru")),
            str(means["worse_than_lru"]), f"{means['worst_to_lru']:.3f}", f"{written:.3f}",
            f"{means['log_bytes_per_missed_byte']:.3f}", f"{means['device_bytes_per_missed_byte']:.3f}"]


def table(head, rows):
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def markdown(results):
    """The means of all results, and the cells of the first."""
    means = table(["policy", "miss / LRU", "/ S3-FIFO", "/ ARC", "byte miss / LRU", "cells > 1.01 x LRU", "worst cell",
                   "logical WA, at most", "appended / missed", "device / missed"],
                  [mean_row(result) for result in results])
    cells = table(["trace", "size", "miss ratio", "LRU", "S3-FIFO", "ARC", "byte miss ratio", "logical WA", "device WA"],
                  [[row["trace"], f"{row['size_percent']:g} %",
                    *(f"{row[key]:.4f}" for key in ("miss_ratio", "lru", "s3fifo", "arc", "byte_miss_ratio")),
                    f"{row['logical_write_amplification']:.3f}", f"{row['device_write_amplification']:.3f}"]
                   for row in results[0]["rows"] if "lru" in row])
    return means + "\n" + cells


def main():
    """Reads the results and writes what is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("results", nargs="+", metavar="RESULT.json")
    arguments.add_argument("--svg", metavar="FILE")
    arguments.add_argument("--markdown", metavar="FILE")
    given = arguments.parse_args()
    results = []
    for path in given.results:
        with open(path, encoding="utf-8") as file:
            results.append(json.load(file))
    for path, text in ((given.svg, svg), (given.markdown, markdown)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
