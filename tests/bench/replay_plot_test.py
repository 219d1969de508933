#!/usr/bin/env python3
"""Guards the drawing of replayed traces: replay_plot_test.py <source folder>.

Results are made up, drawn and tabled: the drawing must be well-formed, with a row of two diagrams per trace and a
line per result and known peer; the tables must hold the figures that went in.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SIZES = (1, 5, 10, 20, 40)


def result(policy, miss, admission="all"):
    """What `rawcache replay --suite --json` prints, of two traces; peers are known of one."""
    rows = []
    for trace in ("known", "other"):
        for size in SIZES:
            row = {"trace": trace, "size_percent": size, "policy": policy, "requests": 10, "miss_ratio": miss / size,
                   "byte_miss_ratio": miss / size, "logical_write_amplification": 1 + size / 100,
                   "device_write_amplification": 1.3}
            if trace == "known":
                row.update({"lru": 0.9 / size, "s3fifo": 0.8 / size, "arc": 0.85 / size})
            rows.append(row)
    means = {"cells": 5, "to_lru": miss / 0.9, "to_s3fifo": miss / 0.8, "to_arc": 1, "bytes_to_lru": 1,
             "worse_than_lru": 3, "worst_to_lru": 1.25, "log_bytes_per_missed_byte": 0.5,
             "device_bytes_per_missed_byte": 0.75}
    return {"wa_cap": 1.2, "admission": admission, "rows": rows, "means": means}


def main():
    """Runs the tool once with two results."""
    tool = pathlib.Path(sys.argv[1]) / "bench/replay_plot.py"
    with tempfile.TemporaryDirectory(prefix="rawcache-plot-test-") as name:
        folder = pathlib.Path(name)
        (folder / "a.json").write_text(json.dumps(result("rc", 0.7)))
        (folder / "b.json").write_text(json.dumps(result("rc", 0.75, "wanted-again")))
        subprocess.run([sys.executable, tool, folder / "a.json", folder / "b.json", "--svg", folder / "plot.svg",
                        "--markdown", folder / "tables.md"], check=True)
        drawing = xml.etree.ElementTree.parse(folder / "plot.svg").getroot()
        tables = (folder / "tables.md").read_text()
    space = "{http://www.w3.org/2000/svg}"
    panels = drawing.findall(f"{space}g")
    assert len(panels) == 2, "two diagrams for the trace whose peers are known"
    lines = [len([path for path in panel.findall(f"{space}path") if path.get("class") == "line"]) for panel in panels]
    assert lines == [5, 2], lines
    assert "| rc 1.20 | 0.7778 | 0.8750 |" in tables, tables
    assert "| rc 1.20, wanted-again | 0.8333 |" in tables, tables
    assert "| known | 20 % | 0.0350 | 0.0450 |" in tables, tables
    assert "other" not in tables
    print("the drawing is as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
