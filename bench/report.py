#!/usr/bin/env python3
"""Renders the results of peer_bench: report.py RESULTS.json [--html FILE] [--markdown FILE] [--into DOCUMENT].

--html: one page with everything in it, no scripts, nothing loaded from elsewhere. --markdown: tables.
--into: puts these tables between the two lines of a document that say "peer_bench". `--self-test` checks
the mathematics. Ratios are medians of the ratios of runs that took place next to each other.
"""

import argparse
import html
import json
import math
import pathlib
import statistics
import sys

SUBJECT, LIMIT, ALIGNED = "rawcache", "limit", "limit-aligned"
KEPT_SHARE = 0.99  # a peer that finds less of what it was given does not keep its objects
BEGIN, END = "<!-- peer_bench: begin -->", "<!-- peer_bench: end -->"

SIZES = (100, 1024, 4096, 65536, 1 << 20)
# Least ratio to the best peer, by size of value.
GOALS = {
    "load": (6, 3, 3.3, 2, 1.6),
    "overwrite": (5, 3.5, 5, 1.8, 1.4),
    "put1": (1.4, 1.15, 1.7, 2, 0.95),
    "put8": (1.4, 1.5, 2.2, 1.8, 0.9),
    "get1": (1.15, 1.0, 1.1, 1.0, 1.0),
    "get8": (1.0, 1.0, 1.0, 1.0, 1.0),
    "batch": (1.5, 1.3, 1.7, 1.8, 1.3),
    "neighbours": (20, 5, 3.5, 1.5, 1.3),
    "mixed1": (1.1,) * 5,
    "mixed8": (1.1,) * 5,
}
READS = ("get1", "get8", "batch", "neighbours")
# Most processor time per operation, as a share of the fastest peer's.
CPU_GOAL = {phase: 0.95 if phase.startswith("get") else 0.75 for phase in GOALS}
# Most bytes written to the device per byte of keys and values, while overwriting.
WRITE_GOAL = dict(zip(SIZES, (1.4, 1.05, 1.05, 1.05, 1.05)))
# Least share of the device's limit.
LIMIT_GOAL = {("load", 4096): 0.85, ("load", 65536): 0.9, ("get1", 4096): 0.9, ("batch", 4096): 0.9}


def goal_of(phase, size):
    return GOALS[phase][SIZES.index(size)] if phase in GOALS and size in SIZES else None


class Results:
    """The runs of one file, by size, phase and engine."""

    def __init__(self, data):
        self.data = data
        self.settings = data["settings"]
        self.roles = {engine["name"]: engine["role"] for engine in data["engines"]}
        self.titles = {phase["name"]: phase["title"] for phase in data["phases"]}
        self.memory = data["settings"]["cache_bytes"] + 2 * data["settings"]["write_buffer_bytes"]
        self.runs = {}
        for run in data["runs"]:
            self.runs.setdefault((run["value_bytes"], run["phase"], run["engine"]), []).append(run)
        self.sizes = sorted({size for size, _, _ in self.runs})
        self.phases = [phase for phase in self.titles if any(p == phase for _, p, _ in self.runs)]

    def of(self, size, phase, engine):
        return self.runs.get((size, phase, engine), [])

    def engines(self, size, phase, *roles):
        return [e for e, role in self.roles.items() if self.of(size, phase, e) and (not roles or role in roles)]

    def median(self, size, phase, engine, figure):
        """The median of a function of a run, or None where it was not measured."""
        numbers = [figure(run) for run in self.of(size, phase, engine)]
        numbers = [number for number in numbers if number is not None]
        return statistics.median(numbers) if numbers else None

    def ratio(self, size, phase, one, other, figure):
        """Median of the ratios of those runs of both that took place in the same round, or None."""
        others = {run["repetition"]: figure(run) for run in self.of(size, phase, other)}
        pairs = [(figure(run), others.get(run["repetition"])) for run in self.of(size, phase, one)]
        ratios = [a / b for a, b in pairs if a is not None and b]
        return statistics.median(ratios) if ratios else None

    def best_peer(self, size, phase):
        """The fastest peer that keeps its objects, or None."""
        peers = [peer for peer in self.engines(size, phase, "peer")
                 if self.keeps(size, phase, peer) and not self.has_less(size, phase, peer)]
        return max(peers, key=lambda peer: self.median(size, phase, peer, rate), default=None)

    def keeps(self, size, phase, engine):
        """Whether it finds what it was given, within the memory that all were given."""
        if phase not in READS and not phase.startswith("mixed"):
            return True
        finds = self.median(size, phase, engine, hit_share) >= KEPT_SHARE * self.asked(phase)
        return finds and not self.took_more_memory(size, phase, engine)

    def took_more_memory(self, size, phase, engine):
        """Whether its files lay in the page cache beyond its memory; no control group kept it from that."""
        cached = self.median(size, phase, engine, lambda run: run["page_cache_bytes"])
        return cached > self.memory and self.settings.get("memory_group") != "yes"

    def has_less(self, size, phase, engine):
        """Whether it was given fewer entries than we, of which memory holds a larger part."""
        entries = [runs[0]["entries"] for runs in (self.of(size, phase, engine), self.of(size, phase, SUBJECT)) if runs]
        return (phase in READS or phase.startswith("mixed")) and entries[0] < entries[-1]

    @staticmethod
    def asked(phase):
        """The share of the operations that ask for a value."""
        return 0.9 if phase.startswith("mixed") else 1


def rate(run):
    return run["operations"] / run["seconds"]


def megabytes_per_s(run):
    return rate(run) * run["value_bytes"] / 1e6


def cpu_us(run):
    return run["cpu_s"] / run["operations"] * 1e6 if run["operations"] else None


def hit_share(run):
    return run["found"] / run["operations"] if run["operations"] else 0.0


def write_amplification(run, key="written_bytes"):
    """Bytes written per byte of keys and values put; of mixed phases a tenth of the operations put."""
    puts = run["operations"] * (0.1 if run["phase"].startswith("mixed") else 1)
    return run[key] / (puts * (run["value_bytes"] + 16)) if puts else None


def read_bytes_per_get(run):
    return run["read_bytes"] / run["operations"] if run["operations"] else None


def memory_per_million(run):
    return run["memory_bytes"] / run["entries"]  # bytes per entry are megabytes per million


# ---- Text -----------------------------------------------------------------------------------------


def size_name(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1024 else f"{size} B"


def short(number):
    """Three digits."""
    if number is None:
        return "-"
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= 9.995 * factor or (unit == "M" and number >= 0.9995 * factor):
            return f"{number / factor:.3g}{unit}" if number < 999.5 * factor else f"{number / factor:.0f}{unit}"
    return f"{number:.0f}" if number >= 99.5 else f"{number:.3g}"


def table(head, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


class Cell:
    """A figure beside its goal: text, whether the goal is met (None: there is none), a remark."""

    def __init__(self, text, met=None, remark=""):
        self.text, self.met, self.remark = text, met, remark


def ratio_cell(results, size, phase, subject=SUBJECT):
    peer = results.best_peer(size, phase)
    if peer is None:
        return Cell("-")
    ratio = results.ratio(size, phase, subject, peer, rate)
    if ratio is None:
        return Cell("-")
    goal = goal_of(phase, size)
    remark = peer
    met = None if goal is None else ratio >= goal
    if not results.keeps(size, phase, subject):
        met, remark = False, f"{remark}, but {subject} has lost objects"
    if phase.startswith("mixed"):
        later = results.ratio(size, phase, subject, peer, lambda run: run["p99_us"])
        remark += f", p99 {later:.2g} ×"
        met = met and later <= 1
    return Cell(f"{ratio:.2f}" + ("" if goal is None else f" (≥ {goal:g})"), met, remark)


def cpu_cell(results, size, phase):
    peer = results.best_peer(size, phase)
    ratio = peer and results.ratio(size, phase, SUBJECT, peer, cpu_us)
    if not ratio:
        return Cell("-")
    goal = CPU_GOAL.get(phase)
    return Cell(f"{ratio:.2f}" + (f" (≤ {goal:g})" if goal else ""), goal and ratio <= goal, peer)


def limit_cell(results, size, phase):
    share = results.ratio(size, phase, SUBJECT, LIMIT, rate)
    if share is None:
        return Cell("-")
    goal = LIMIT_GOAL.get((phase, size))
    aligned = results.ratio(size, phase, SUBJECT, ALIGNED, rate) if phase in READS else None
    text = f"{share:.0%}" + (f" (≥ {goal:.0%})" if goal else "")
    return Cell(text, None if goal is None else share >= goal, f"aligned {aligned:.0%}" if aligned else "")


def write_cell(results, size, _phase):
    amplification = results.median(size, "overwrite", SUBJECT, write_amplification)
    if amplification is None:
        return Cell("-")
    goal = WRITE_GOAL.get(size)
    return Cell(f"{amplification:.2f}" + (f" (≤ {goal:g})" if goal else ""), goal and amplification <= goal)


SUMMARIES = (
    ("Operations per second, as a multiple of the best peer's", "ratio", ratio_cell),
    ("Processor time per operation, as a share of the fastest peer's", "CPU", cpu_cell),
    ("Share of what the device alone allows", "of the limit", limit_cell),
)


def summary_rows(results, cell_of):
    """(title of the phase, cells by size), without phases where nothing is known."""
    for phase in results.phases:
        cells = [cell_of(results, size, phase) for size in results.sizes]
        if any(cell.text != "-" for cell in cells):
            yield results.titles[phase], cells


DETAILS = (
    ("ops/s", rate, short),
    ("MB/s", megabytes_per_s, short),
    ("CPU µs", cpu_us, short),
    ("p50 µs", lambda run: run["p50_us"], short),
    ("p99 µs", lambda run: run["p99_us"], short),
    ("p99.9 µs", lambda run: run["p999_us"], short),
    ("found", hit_share, lambda share: "-" if share is None else f"{share:.1%}"),
    ("written B per B", write_amplification, lambda n: "-" if n is None else f"{n:.2f}"),
    ("device B per B", lambda run: write_amplification(run, "device_written_bytes"), lambda n: "-" if n is None else f"{n:.2f}"),
    ("read B per op", read_bytes_per_get, short),
    ("memory at open, B per entry", memory_per_million, short),
)
WRITES_ONLY = ("found",)
READS_ONLY = ("written B per B", "device B per B")


def detail_row(results, size, phase, engine):
    cells = []
    for name, figure, text in DETAILS:
        senseless = name in (READS_ONLY if phase in READS else WRITES_ONLY if "mixed" not in phase else ())
        cells.append("-" if senseless else text(results.median(size, phase, engine, figure)))
    return cells


def remarks(results):
    """What a reader must know beside the figures."""
    lines = []
    for failure in results.data["failures"]:
        lines.append(
            f"{failure['engine']} failed at {size_name(failure['value_bytes'])}, {failure['phase']}: {failure['how']}"
        )
    lines += [f"{missing['name']} was left out: not installed" for missing in results.data["missing"]]
    wrong = sum(run["wrong"] for run in results.data["runs"])
    lines.append(f"{wrong} wrong values among {sum(run['found'] for run in results.data['runs']):,} that were read")
    busy = [run for run in results.data["runs"] if run["others_cpu_cores"] > 0.2]
    if busy:
        lines.append(f"in {len(busy)} of {len(results.data['runs'])} runs others used more than 0.2 processors")
    for size, phase, engine in results.runs:
        if results.roles[engine] == "peer" and results.has_less(size, phase, engine):
            lines.append(f"{engine} was given fewer entries and does not count: {size_name(size)}, {phase}")
        if (phase in READS or phase.startswith("mixed")) and results.took_more_memory(size, phase, engine):
            lines.append(
                f"{engine} had more of its files in the page cache than memory was given and does not count: "
                f"{size_name(size)}, {phase}"
            )
    return lines


def data_text(results):
    """How much was loaded, of the smallest and the largest."""
    loaded = [runs[0]["entries"] * (size + results.settings["key_bytes"]) >> 20
              for (size, _, engine), runs in results.runs.items() if engine == SUBJECT]
    if not loaded:
        return "no"
    return f"{max(loaded)} MiB" if min(loaded) == max(loaded) else f"{min(loaded)} to {max(loaded)} MiB"


def about(results):
    s = results.settings
    bounded = ", bounded by a control group, page cache included" if s.get("memory_group") == "yes" else ""
    caches = "warm caches" if s["caches_dropped_by"] == "nothing" else f"cold caches ({s['caches_dropped_by']})"
    processor = ""
    if s.get("read_us_nearest", 0) > 0:
        processor = (
            " A single thread that waits for the device does so on the processor that takes its interrupts: a read takes "
            f"{s['read_us_nearest']:.0f} µs there and up to {s['read_us_elsewhere']:.0f} µs elsewhere, and where a thread comes to "
            "run is chance."
        )
    return (
        f"{s['cpu']}, {s['cores']} processors, kernel {s['kernel']}. Keys of {s['key_bytes']} bytes, "
        f"{data_text(results)} of data, {s['cache_bytes'] >> 20} MiB to cache reads and a write buffer of "
        f"{s['write_buffer_bytes'] >> 20} MiB for every engine, a sum that rawcache divides otherwise (24 MiB at most to "
        f"write, 8 MiB at most to read, the rest to keep hot values){bounded}. Medians of {s['repeat']} interleaved runs of "
        f"{s['seconds_per_run']:g} s, each a process of its own with {caches}.{processor}"
    )


def markdown(results):
    head = [""] + [size_name(size) for size in results.sizes]
    parts = [about(results) + "\n"]
    for title, _, cell_of in SUMMARIES:
        rows = [
            [title_of_phase] + [("**" + cell.text + "**" if cell.met is False else cell.text)
                                + (f" {cell.remark}" if cell.remark else "") for cell in cells]
            for title_of_phase, cells in summary_rows(results, cell_of)
        ]
        if rows:
            parts.append(f"{title}; goals in brackets, bold where missed:\n\n" + table(head, rows))
    parts.append("Operations per second:\n")
    for phase in results.phases:
        engines = [e for e in results.roles if any(results.of(size, phase, e) for size in results.sizes)]
        rows = [[e] + [short(results.median(size, phase, e, rate)) for size in results.sizes] for e in engines]
        parts.append(table([results.titles[phase]] + head[1:], rows))
    if "overwrite" in results.phases:
        cells = [write_cell(results, size, "overwrite") for size in results.sizes]
        parts.append("Bytes written per byte of keys and values stored, while overwriting:\n")
        parts.append(table(head, [[SUBJECT] + ["**" + c.text + "**" if c.met is False else c.text for c in cells]]))
        engines = [e for e in results.roles if any(results.of(size, "overwrite", e) for size in results.sizes)]
        parts.append("Bytes written to the device per byte of keys and values while overwriting, settled:\n")
        parts.append(table(head, [
            [e] + [short(results.median(size, "overwrite", e, write_amplification)) for size in results.sizes]
            for e in engines
        ]))
    parts.append("\n".join(f"- {line}" for line in remarks(results)) + "\n")
    return "\n".join(parts)


# ---- The page --------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #667380; --line: #dde3e8; --paper: #fff; --own: #0b6bcb;
  --peer: #9aa7b4; --limit: #e3b341; --good: #1a7f3722; --bad: #cf222e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --soft: #93a1ae; --line: #30373e; --paper: #14181c;
  --own: #58a6ff; --peer: #55606b; --limit: #b58a1b; --good: #3fb95033; --bad: #f8514940; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem }
p, small { color: var(--soft) } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); font-weight: 400 }
th:first-child { text-align: left } thead th { color: var(--soft); font-size: .85rem }
td small { display: block; font-size: .75rem } .met { background: var(--good) } .missed { background: var(--bad) }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.2rem }
figure { margin: 0 } figcaption { font-size: .85rem; color: var(--soft) }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: var(--ink) }
svg .soft { fill: var(--soft) } .subject { fill: var(--own) } .peer { fill: var(--peer) } .limit { fill: var(--limit) }
details { margin: .4rem 0 } summary { cursor: pointer } details table { font-size: .82rem }
"""
BAR_HEIGHT, BAR_STEP, LABEL_WIDTH, CHART_WIDTH, BARS_WIDTH = 12, 18, 105, 340, 165


def bars(results, size, phase):
    """A chart of operations per second, or nothing."""
    engines = results.engines(size, phase)
    if not engines:
        return ""
    rates = {engine: results.median(size, phase, engine, rate) for engine in engines}
    most = max(rates.values()) or 1
    parts = []
    for i, engine in enumerate(engines):
        y = i * BAR_STEP
        width = max(1, rates[engine] / most * BARS_WIDTH)
        parts.append(
            f'<text class="soft" x="{LABEL_WIDTH - 6}" y="{y + 10}" text-anchor="end">{html.escape(engine)}</text>'
            f'<rect class="{results.roles[engine]}" x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
            f'<text x="{LABEL_WIDTH + width + 6:.1f}" y="{y + 10}">{short(rates[engine])}/s</text>'
        )
    height = len(engines) * BAR_STEP
    return (
        f"<figure><figcaption>{size_name(size)}</figcaption>"
        f'<svg viewBox="0 0 {CHART_WIDTH} {height}" role="img">{"".join(parts)}</svg></figure>'
    )


def html_table(head, rows):
    top = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def html_cell(cell):
    kind = "" if cell.met is None else ' class="met"' if cell.met else ' class="missed"'
    remark = f"<small>{html.escape(cell.remark)}</small>" if cell.remark else ""
    return f"<td{kind}>{html.escape(cell.text)}{remark}</td>"


def row_head(text):
    return f"<th>{html.escape(text)}</th>"


def page(results):
    head = [""] + [size_name(size) for size in results.sizes]
    parts = [f"<h1>rawcache beside other stores</h1><p>{html.escape(about(results))}</p>"]
    for title, _, cell_of in SUMMARIES:
        rows = [[row_head(name)] + [html_cell(cell) for cell in cells] for name, cells in summary_rows(results, cell_of)]
        if rows:
            parts.append(f"<h2>{title}</h2>" + html_table(head, rows))
    if "overwrite" in results.phases:
        row = [row_head(SUBJECT)] + [html_cell(write_cell(results, size, "overwrite")) for size in results.sizes]
        parts.append("<h2>Bytes written per byte stored, while overwriting</h2>" + html_table(head, [row]))
    for phase in results.phases:
        charts = "".join(bars(results, size, phase) for size in results.sizes)
        parts.append(f'<h2>{html.escape(results.titles[phase])}</h2><div class="charts">{charts}</div>')
        for size in results.sizes:
            rows = [
                [row_head(engine)] + [f"<td>{cell}</td>" for cell in detail_row(results, size, phase, engine)]
                for engine in results.engines(size, phase)
            ]
            if rows:
                names = ["", *(name for name, _, _ in DETAILS)]
                parts.append(f"<details><summary>{size_name(size)}: all figures</summary>{html_table(names, rows)}</details>")
    engines = "".join(
        f"<li><b>{html.escape(e['name'])}</b>: {html.escape(e['description'])}</li>" for e in results.data["engines"]
    )
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in remarks(results))
    parts.append(f"<h2>Engines</h2><ul>{engines}</ul><h2>Remarks</h2><ul>{notes}</ul>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>rawcache beside other stores</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def put_between(document, text):
    """The document with the text between the two marks. Without them it is an error."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


# ---- Self-test ---------------------------------------------------------------------------------------


def self_test():
    def run(engine, repetition, operations, **more):
        figures = {
            "value_bytes": 4096, "phase": "get1", "engine": engine, "repetition": repetition, "entries": 10,
            "operations": operations, "found": operations, "wrong": 0, "seconds": 2.0, "cpu_s": 1.0, "settle_s": 0,
            "settled_cpu_s": 1, "others_cpu_cores": 0, "p50_us": 1, "p99_us": 2, "p999_us": 3, "read_bytes": 0,
            "written_bytes": 0, "device_written_bytes": 0, "memory_bytes": 100, "page_cache_bytes": 0,
        }
        return {**figures, **more}

    names = (("rawcache", "subject"), ("slow", "peer"), ("fast", "peer"), ("loser", "peer"), ("hoarder", "peer"),
             ("small", "peer"), ("limit", "limit"))
    runs = []
    for i, (own, fast) in enumerate(((100, 50), (300, 100), (90, 90))):
        runs += [run("rawcache", i, own), run("fast", i, fast), run("slow", i, 10), run("limit", i, 2 * own),
                 run("loser", i, 1000, found=500), run("hoarder", i, 1000, page_cache_bytes=301),
                 run("small", i, 1000, entries=9)]
    results = Results({
        "settings": {"cache_bytes": 100, "write_buffer_bytes": 100}, "engines": [{"name": n, "role": r} for n, r in names],
        "phases": [{"name": "get1", "title": "get"}], "missing": [], "failures": [], "runs": runs,
    })
    overwrite = run("x", 0, 100, phase="overwrite", written_bytes=100 * 4112 * 2)
    mixed = run("x", 0, 100, phase="mixed8", written_bytes=10 * 4112 * 3)
    checks = {
        "median rate": results.median(4096, "get1", "rawcache", rate) == 50,
        "who loses objects, takes more memory or was given less is not the best": results.best_peer(4096, "get1") == "fast",
        "ratio of neighbouring runs": results.ratio(4096, "get1", "rawcache", "fast", rate) == 2,
        "share of the limit": math.isclose(results.ratio(4096, "get1", "rawcache", "limit", rate), 0.5),
        "goal met": ratio_cell(results, 4096, "get1").met is True,
        "limit missed": limit_cell(results, 4096, "get1").met is False,
        "write amplification": write_amplification(overwrite) == 2,
        "of mixed phases a tenth writes": math.isclose(write_amplification(mixed), 3),
        "nothing measured": results.median(4096, "put1", "rawcache", rate) is None,
        "short": [short(n) for n in (0.1234, 12.34, 2345, 12345, 999600, 3.456e6)]
        == ["0.123", "12.3", "2345", "12.3k", "1M", "3.46M"],
        "between the marks": put_between(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n{END}\nb",
    }
    failed = [name for name, ok in checks.items() if not ok]
    print("\n".join(f"self-test failed: {name}" for name in failed) or f"self-test: {len(checks)} checks passed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=pathlib.Path)
    for option in ("--html", "--markdown", "--into"):
        parser.add_argument(option, type=pathlib.Path)
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.results is None:
        parser.error("which results?")
    results = Results(json.loads(arguments.results.read_text()))
    text = markdown(results)
    if arguments.html:
        arguments.html.write_text(page(results))
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.into:
        arguments.into.write_text(put_between(arguments.into.read_text(), text))
    if not (arguments.html or arguments.markdown or arguments.into):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
