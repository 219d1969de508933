#!/usr/bin/env python3
"""Guards that dashboards and alerts ask for what /metrics exports: dashboards_test.py <rawcache> <source> [part]...

Also `rawcache stats` of a server, which reads the same names.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import Serving

PROGRAM = ""
SOURCE = pathlib.Path()
NAME = re.compile(r"\brawcache_[a-z0-9_]+")
# Of the dashboard's own, of Prometheus itself, and given to every target.
OTHER_LABELS = {"job", "instance", "le"}


def exported(text):
    """What /metrics exports: the type of every family, and all names of labels."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    labels = {label for labels in re.findall(r"^\w+\{(.*)\} ", text, re.MULTILINE)
              for label in re.findall(r'(\w+)="', labels)}
    return types, labels


def problems_of(expression, types, labels):
    """What is wrong with a query."""
    for match in NAME.finditer(expression):
        name, before = match.group(), expression[:match.start()]
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        histogram = types.get(family) == "histogram"
        if not histogram and name not in types:
            yield f"{name} is not exported"
        if (histogram or types.get(name) == "counter") and not re.search(r"\b(rate|increase)\($", before):
            yield f"{name} only grows, so it means something in rate() or increase() only"
        if types.get(name) == "gauge" and re.search(r"\b(rate|increase)\($", before):
            yield f"{name} goes up and down, so its rate means nothing"
    asked = {label for labels in re.findall(r"\{([^}]*)\}", expression)
             for label in re.findall(r"(\w+)(?:=~|!=|=)\"", labels)}
    asked |= {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r"\W+", by) if label}
    for label in asked - labels - OTHER_LABELS:
        yield f"label {label} is not exported"
    if expression.count("(") != expression.count(")") or expression.count("{") != expression.count("}"):
        yield "brackets do not match"


class Dashboards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="rawcache-dashboards-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        server = Serving(PROGRAM, pathlib.Path(cls.folder.name))
        cls.addClassCleanup(server.kill)
        cls.metrics = server.page("/metrics")
        cls.types, cls.labels = exported(cls.metrics)
        cls.dashboard = json.loads((SOURCE / "dashboards" / "rawcache.json").read_text())
        cls.alerts = (SOURCE / "dashboards" / "alerts.yml").read_text()

    def panels(self):
        return [panel for panel in self.dashboard["panels"] if panel["type"] != "row"]

    def assert_asks_well(self, where, expression):
        problems = list(problems_of(expression, self.types, self.labels))
        self.assertEqual(problems, [], f"{where}: {expression}")

    def test_the_check_finds_what_is_misspelt_or_misused(self):
        good = 'sum by (instance) (rate(rawcache_hits_total{job="a"}[1m])) / rawcache_entries'
        self.assertEqual(list(problems_of(good, self.types, self.labels)), [])
        for bad in ("rate(rawcache_hit_total[1m])", "rawcache_hits_total", "rate(rawcache_entries[1m])",
                    "rate(rawcache_lookup_latency_bucket[1m])", 'rawcache_entries{windw="1"}',
                    "sum by (nobody) (rawcache_entries)", "(rawcache_entries", "rawcache_lookup_latency_seconds_bucket"):
            self.assertNotEqual(list(problems_of(bad, self.types, self.labels)), [], bad)

    def test_every_query_of_the_dashboard_asks_for_what_is_exported(self):
        queries = [(panel["title"], target["expr"]) for panel in self.panels() for target in panel["targets"]]
        self.assertGreater(len(queries), 50)
        for title, query in queries:
            self.assert_asks_well(title, query)
            self.assertIn("$instance", query, title)
        for variable in self.dashboard["templating"]["list"]:
            self.assert_asks_well(variable["name"], variable.get("definition", ""))

    def test_every_legend_names_a_label_that_is_exported(self):
        for panel in self.panels():
            for target in panel["targets"]:
                names = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                self.assertLessEqual(names, self.labels | OTHER_LABELS, panel["title"])

    def test_every_alert_asks_for_what_is_exported(self):
        rules = re.split(r"^ *- alert: ", self.alerts, flags=re.MULTILINE)[1:]
        self.assertGreater(len(rules), 10)
        for rule in rules:
            name = rule.split()[0]
            expression = re.search(r"expr: (?:>-)?(.*?)^ *(?:for|labels):", rule, re.DOTALL | re.MULTILINE).group(1)
            self.assert_asks_well(name, expression)
            self.assertIn("severity:", rule, name)
            self.assertIn("summary:", rule, name)
            used = set(re.findall(r"\$labels\.(\w+)", rule))
            self.assertLessEqual(used, self.labels | OTHER_LABELS, name)

    def test_the_terminal_asks_for_what_is_exported(self):
        text = (SOURCE / "cli" / "watch_view.cc").read_text() + (SOURCE / "cli" / "watch_command.cc").read_text()
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAME.findall(text)}
        self.assertGreater(len(names), 30)
        self.assertEqual(sorted(names - set(self.types)), [])

    def test_panels_have_titles_and_room_of_their_own(self):
        taken, ids = {}, set()
        for panel in self.dashboard["panels"]:
            place, title = panel["gridPos"], panel["title"]
            self.assertNotIn(panel["id"], ids, title)
            ids.add(panel["id"])
            self.assertLessEqual(place["x"] + place["w"], 24, title)
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertIsNone(taken.get((x, y)), f"{title} lies over {taken.get((x, y))}")
                    taken[x, y] = title
        for panel in self.panels():
            self.assertTrue(panel["description"], panel["title"])

    def test_the_dashboard_is_what_the_script_writes(self):
        sys.path.insert(0, str(SOURCE / "dashboards"))
        sys.dont_write_bytecode = True
        import make_dashboard
        written = (SOURCE / "dashboards" / "rawcache.json").read_text()
        self.assertEqual(make_dashboard.text(), written, "run dashboards/make_dashboard.py")

    def promtool(self, *arguments, **options):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed (Debian package prometheus)")
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_prometheus_accepts_what_is_exported(self):
        self.promtool("check", "metrics", input=self.metrics)

    def test_prometheus_accepts_the_alerts(self):
        self.promtool("check", "rules", str(SOURCE / "dashboards" / "alerts.yml"))

    def test_prometheus_accepts_the_queries_of_the_dashboard(self):
        rules = [{"record": f"query:{panel['id']}:{i}", "expr": re.sub(r"\$__rate_interval", "1m", target["expr"])}
                 for panel in self.panels() for i, target in enumerate(panel["targets"])]
        path = pathlib.Path(self.folder.name) / "queries.yml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
        self.promtool("check", "rules", str(path))


def main():
    global PROGRAM, SOURCE
    if len(sys.argv) < 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM, SOURCE = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    return report.run(sys.modules["__main__"], sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
