#!/usr/bin/env python3
"""Counts what `./x test` ran: summarise_tests.py <folder of reports>.

The folder holds checks.tsv (outcome, name, reason: one line per check) and per preset a folder with
ctest.junit (one entry per executable) and GoogleTest's own <executable>.xml. A case is counted once per
preset that it ran in. An executable that died has no complete report and counts as one failure.

The last line is `N passed, M failed[, K skipped]`. The exit status is 1 if anything failed or nothing
passed. `--self-test` checks the counting.
"""

import pathlib
import sys
import tempfile
import xml.etree.ElementTree as ElementTree


class Outcomes:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []  # (name, reason)


def skip_reason(case):
    """What GTEST_SKIP() was told; the message begins with file:line."""
    lines = (case.find("skipped").get("message") or "").splitlines()
    return " ".join(line.strip() for line in lines[1:] if line.strip()) or "no reason given"


def count_cases(report, preset, outcomes):
    """Adds every case of a GoogleTest report; returns whether one of them failed."""
    failed = False
    for case in report.iter("testcase"):
        name = f"{preset}: {case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None:
            failed = True
            outcomes.failed.append(name)
        elif case.find("skipped") is not None:
            outcomes.skipped.append((name, skip_reason(case)))
        elif case.get("status") == "notrun":
            outcomes.skipped.append((name, "disabled"))
        else:
            outcomes.passed += 1
    return failed


def count_executable(entry, folder, outcomes):
    """One entry of ctest. What ctest calls failed is failed, whatever the report says."""
    executable, status = entry.get("name"), entry.get("status")
    name = f"{folder.name}: {executable}"
    try:
        report = ElementTree.parse(folder / f"{executable}.xml").getroot()
        case_failed = count_cases(report, folder.name, outcomes)
    except (OSError, ElementTree.ParseError):
        report, case_failed = None, False
    if status == "run":
        if report is not None:
            return
        if "[==========]" in (entry.findtext("system-out") or ""):
            outcomes.failed.append(f"{name} (ended before its cases had, without a report)")
        else:
            outcomes.passed += 1  # not a GoogleTest program: one case
    elif status == "disabled":
        outcomes.skipped.append((name, "disabled"))
    elif not case_failed:
        outcomes.failed.append(f"{name} (did not start, died, ran too long or failed outside its cases)")


def count_preset(folder, outcomes):
    """One run of ctest."""
    try:
        entries = ElementTree.parse(folder / "ctest.junit").getroot().findall("testcase")
    except (OSError, ElementTree.ParseError):
        outcomes.failed.append(f"{folder.name}: ctest did not finish")
        return
    for entry in entries:
        count_executable(entry, folder, outcomes)


def count(folder):
    outcomes = Outcomes()
    checks = folder / "checks.tsv"
    for line in checks.read_text().splitlines() if checks.exists() else []:
        outcome, name, reason = (line.split("\t") + ["", ""])[:3]
        if name.endswith(": tests") and (folder / name.split(":")[0]).is_dir():
            continue  # counted case by case below
        if outcome == "passed":
            outcomes.passed += 1
        elif outcome == "skipped":
            outcomes.skipped.append((name, reason))
        else:
            outcomes.failed.append(name)
    for preset in sorted(path for path in folder.iterdir() if path.is_dir()):
        count_preset(preset, outcomes)
    return outcomes


def summarise(folder):
    outcomes = count(folder)
    if outcomes.skipped:
        print("\nSkipped:")
        for name, reason in outcomes.skipped:
            print(f"  {name}: {reason}")
    if outcomes.failed:
        print("\nFailed:")
        for name in outcomes.failed:
            print(f"  {name}")
    skipped = f", {len(outcomes.skipped)} skipped" if outcomes.skipped else ""
    print(f"\n{outcomes.passed} passed, {len(outcomes.failed)} failed{skipped}")
    return 1 if outcomes.failed or not outcomes.passed else 0


def self_test():
    def case(name, inner="", status="run"):
        return f'<testcase classname="S" name="{name}" status="{status}">{inner}</testcase>'

    mixed = (
        case("A")
        + case("B", '<failure message="no"/><failure message="no again"/>')
        + case("C", '<skipped message="a.cc:3&#x0A;no device"/>')
        + case("D", status="notrun")
    )
    # "leaks": every case passed, then the program failed.
    reports = {"good": case("A") + case("B"), "mixed": mixed, "leaks": case("A"), "cut": "<"}
    entries = {"good": "run", "mixed": "fail", "leaks": "fail", "cut": "fail", "died": "fail",
               "script": "run", "exits": "run", "missing": "notrun"}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "asan").mkdir()
        (folder / "tsan").mkdir()  # ctest never came to write its report
        for executable, cases in reports.items():
            text = f"<testsuites><testsuite>{cases}</testsuite></testsuites>"
            (folder / "asan" / f"{executable}.xml").write_text(text)
        out = {"exits": "<system-out>[==========] Running 2 tests</system-out>"}
        xml = "".join(
            f'<testcase name="{n}" status="{s}">{out.get(n, "")}</testcase>' for n, s in entries.items()
        )
        (folder / "asan" / "ctest.junit").write_text(f"<testsuite>{xml}</testsuite>")
        checks = "passed\tlayers\t\nfailed\tstyle\t\nskipped\tshell\tno tool\nfailed\tasan: tests\t\n"
        (folder / "checks.tsv").write_text(checks)
        outcomes = count(folder)
    found = (outcomes.passed, len(outcomes.failed), len(outcomes.skipped))
    # Passed: good 2, mixed.A, leaks.A, script, layers.
    # Failed: mixed.B, leaks, cut, died, exits, missing, tsan, style.
    reason = dict(outcomes.skipped).get("asan: S.C")
    ok = found == (6, 8, 3) and reason == "no device"
    print(f"self-test: {'ok' if ok else 'wrong'}: {found}, {outcomes.failed}, {outcomes.skipped}")
    return 0 if ok else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    sys.exit(summarise(pathlib.Path(sys.argv[1])))
