#!/usr/bin/env python3
"""Guards the live page in a real browser: live_page_test.py <rawcache> [part]...

Chromium without a window loads the page of a server that is being used; what it then shows must be what was asked of
the server. Skipped where there is no chromium (Debian package chromium, which `./x test` does not install, since it
and what it needs take 414 MB).
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import Serving

PROGRAM = ""
UPDATES = 3  # of the page, which asks once a second


class LivePage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = shutil.which("chromium") or shutil.which("chromium-browser")
        if not cls.browser:
            raise unittest.SkipTest("chromium is not installed (Debian package chromium)")
        folder = tempfile.TemporaryDirectory(prefix="rawcache-live-page-test-", ignore_cleanup_errors=True)
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.server = Serving(PROGRAM, cls.folder)
        cls.addClassCleanup(cls.server.kill)
        cls.done = threading.Event()
        user = threading.Thread(target=cls.use)
        user.start()
        cls.addClassCleanup(user.join)
        cls.addClassCleanup(cls.done.set)

    @classmethod
    def use(cls):
        """Three of four gets find something."""
        with cls.server.client() as client:
            client.set("there", "v" * 1000)
            while not cls.done.wait(0.01):
                for i in range(4):
                    client.get("there" if i else "nowhere")
                client.set("again", "v" * 1000)

    def browse(self, *arguments):
        done = subprocess.run(
            [self.browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={self.folder}/profile", "--window-size=1280,1000",
             f"--virtual-time-budget={UPDATES * 1000 + 500}", *arguments, f"http://{self.server.http}/"],
            capture_output=True, text=True, timeout=180, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_it_shows_what_the_server_does(self):
        page = self.browse("--dump-dom")
        shown = dict(re.findall(r'id="([\w-]+)"[^>]*>([^<]*)<', page))
        self.assertIn('class="dot good"', page)
        self.assertGreaterEqual(int(re.search(r'data-updates="(\d+)"', page).group(1)), 2)
        for window in ("hit10", "hit100", "hit1000"):
            self.assertRegex(shown[window], r"^7[3-7]\.\d %$", window)
        version = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
        self.assertTrue(shown["about"].startswith(version), shown["about"])
        for number in ("gets", "sets", "writes", "wa", "entries", "used", "index", "free", "connections"):
            self.assertRegex(shown[number], r"\d", number)
        self.assertRegex(shown["entries"], r"^2 of ")
        rows = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td>", page)
        self.assertIn("batch lookup", [name for name, _ in rows])
        self.assertRegex(dict(rows)["batch lookup"], r"^\d[\d.]* (µs|ms|s)$")

    def test_it_draws(self):
        picture = self.folder / "page.png"
        self.browse(f"--screenshot={picture}")
        self.assertGreater(picture.stat().st_size, 20_000)

    def test_it_loads_nothing_from_elsewhere_and_breaks_no_rule_of_its_own(self):
        log = self.folder / "log"
        self.browse("--dump-dom", "--enable-logging", f"--log-file={log}")
        console = [line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line]
        self.assertEqual(console, [])


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM = os.path.abspath(sys.argv[1])
    return report.run(sys.modules["__main__"], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
