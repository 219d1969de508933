#!/usr/bin/env python3
"""Guards the report of the comparison: report_test.py <source folder>.

The results that are checked in are rendered: the tables must be the ones that are checked in beside them,
the page must be whole and need nothing from elsewhere, and a document gets its tables between the marks.
"""

import html.parser
import pathlib
import subprocess
import sys
import tempfile

VOID = {"meta", "rect", "br"}


class Page(html.parser.HTMLParser):
    """Counts elements and finds those that are not closed and those that load something."""

    def __init__(self, text):
        super().__init__()
        self.open, self.counts, self.problems = [], {}, []
        self.feed(text)
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.problems += [f"{tag} loads {value}" for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes what is not open")


def main():
    source = pathlib.Path(sys.argv[1])
    here = source / "tests/bench"
    with tempfile.TemporaryDirectory(prefix="rawcache-report-test-") as name:
        folder = pathlib.Path(name)
        (folder / "doc.md").write_text("before\n<!-- peer_bench: begin -->\n<!-- peer_bench: end -->\nafter\n")
        subprocess.run(
            [sys.executable, source / "bench/report.py", here / "results.json", "--html", folder / "page.html",
             "--markdown", folder / "tables.md", "--into", folder / "doc.md"],
            check=True,
        )
        tables = (folder / "tables.md").read_text()
        page = Page((folder / "page.html").read_text())
        document = (folder / "doc.md").read_text()
    assert tables == (here / "report.md").read_text(), f"other tables than in report.md:\n{tables}"
    assert not page.problems, page.problems
    assert page.counts["svg"] == 8, "a chart for each of 4 phases and 2 sizes"
    assert "script" not in page.counts
    assert tables in document and document.startswith("before") and document.endswith("after\n")
    print("the report is as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
