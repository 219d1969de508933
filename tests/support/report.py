"""Runs the unittest cases of a script and reports them as GoogleTest does, so that all are counted alike.

Prints one line per case; with GTEST_OUTPUT=xml:<folder>/ also writes <folder>/<script>.xml.
"""

import os
import pathlib
import unittest
import xml.etree.ElementTree as ElementTree


class Report(unittest.TestResult):
    """One line per case, and its place in a report like GoogleTest's."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.prefix = name.removesuffix("_test").title().replace("_", "")
        self.root = ElementTree.Element("testsuites")
        self.suite = ElementTree.SubElement(self.root, "testsuite", name=name)
        self.counts = {"ok": 0, "FAILED": 0, "skipped": 0}

    def add(self, outcome, test, text=""):
        name = test.id().split(".")[-1].removeprefix("test_")
        self.counts[outcome] += 1
        print(f"  {outcome}  {type(test).__name__}: {name.replace('_', ' ')}", flush=True)
        case = ElementTree.SubElement(self.suite, "testcase", classname=self.prefix + type(test).__name__,
                                      name=name, status="run")
        if outcome == "FAILED":
            print(text, flush=True)
            ElementTree.SubElement(case, "failure", message=text)
        elif outcome == "skipped":
            ElementTree.SubElement(case, "skipped", message=f"{self.name}.py\n{text}")

    def addSuccess(self, test):
        self.add("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.add("FAILED", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.add("FAILED", test, self.errors[-1][1])

    def addSkip(self, test, reason):
        self.add("skipped", test, reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.add("FAILED", test, f"{subtest}\n{self._exc_info_to_string(err, test)}")

    def write(self):
        kind, _, folder = os.environ.get("GTEST_OUTPUT", "").partition(":")
        if kind == "xml" and folder.endswith("/"):
            os.makedirs(folder, exist_ok=True)
            ElementTree.ElementTree(self.root).write(f"{folder}{self.name}.xml")


def run(module, parts):
    """Runs the cases of the module, or those whose name contains one of the parts; the exit status."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{part.replace(' ', '_')}*" for part in parts] or None
    report = Report(pathlib.Path(module.__file__).stem)
    loader.loadTestsFromModule(module).run(report)
    report.write()
    counts = report.counts
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 0 if report.wasSuccessful() and sum(report.counts.values()) else 1
