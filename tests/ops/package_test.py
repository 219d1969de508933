#!/usr/bin/env python3
"""Guards the Debian package and its service: package_test.py <rawcache> <build folder> <cpack> [part]...

Builds the package, looks into it, unpacks it, and runs the service's command as systemd would. What Debian's
own checkers say counts where they are installed.
"""

import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import report
from serving import free_port

PROGRAM, BUILD, CPACK = "", pathlib.Path(), ""
EXPOSURE_MAX = 1.5  # of 10, by systemd-analyze security


def run(*command, status=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300, **options)
    assert status is None or done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool in ("dpkg-deb", "dpkg-shlibdeps"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"{tool} is not installed")
        folder = tempfile.TemporaryDirectory(prefix="rawcache-package-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.made = run(CPACK, "-G", "DEB", "--config", BUILD / "CPackConfig.cmake", "-B", cls.folder / "made").stdout
        cls.deb, = (cls.folder / "made").glob("*.deb")
        cls.root, cls.control = cls.folder / "root", cls.folder / "control"
        run("dpkg-deb", "-x", cls.deb, cls.root)
        run("dpkg-deb", "-e", cls.deb, cls.control)
        cls.unit = (cls.root / "lib/systemd/system/rawcache.service").read_text()

    def need(self, tool, package):
        if not shutil.which(tool):
            self.skipTest(f"{tool} is not installed (Debian package {package})")

    def test_it_says_what_it_is_and_needs(self):
        fields = run("dpkg-deb", "-I", self.deb).stdout
        version = run(PROGRAM, "version").stdout.split()[1]
        for expected in ("Package: rawcache\n", f"Version: {version}\n", "adduser", "libc6 (>=", "libstdc++6 (>="):
            self.assertIn(expected, fields)

    def test_it_holds_the_program_the_service_and_its_documents_and_nothing_for_developers(self):
        listed = {}
        for line in run("dpkg-deb", "-c", self.deb).stdout.splitlines():
            mode, owner, _, _, _, path = line.split(maxsplit=5)
            self.assertEqual(owner, "root/root", line)
            if not path.endswith("/"):
                listed[path.removeprefix(".")] = mode
        expected = {"/usr/bin/rawcache": "-rwxr-xr-x"}
        expected |= dict.fromkeys(["/etc/default/rawcache", "/lib/systemd/system/rawcache.service"], "-rw-r--r--")
        expected |= dict.fromkeys([f"/usr/share/doc/rawcache/{name}" for name in (
            "NEWS.gz", "README.md", "changelog.gz", "copyright", "dashboards/alerts.yml", "dashboards/rawcache.json",
            "operations.md")] + ["/usr/share/man/man1/rawcache.1.gz"], "-rw-r--r--")
        self.assertEqual(listed, expected)

    def test_what_an_administrator_changes_is_kept(self):
        self.assertEqual((self.control / "conffiles").read_text(), "/etc/default/rawcache\n")

    def test_its_scripts_make_a_user_who_cannot_log_in_and_start_nothing_unasked(self):
        for name in ("postinst", "prerm", "postrm"):
            script = self.control / name
            self.assertTrue(os.access(script, os.X_OK), name)
            run("sh", "-n", script)
            self.assertIn("set -e\n", script.read_text())
        postinst = (self.control / "postinst").read_text()
        self.assertIn("adduser --quiet --system --group", postinst)
        self.assertNotIn("enable", postinst)
        self.assertNotRegex(postinst, r"\bstart\b")

    def test_lintian_has_neither_errors_nor_warnings(self):
        self.need("lintian", "lintian")
        self.assertEqual(run("lintian", "--fail-on", "error,warning", self.deb).stdout, "")

    def test_systemd_understands_the_unit(self):
        self.need("systemd-analyze", "systemd")
        root = self.folder / "verify"
        shutil.copytree(self.root, root, symlinks=True)
        shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
        (root / "bin").mkdir()
        (root / "bin/kill").touch(0o755)
        done = run("systemd-analyze", "verify", f"--root={root}", "--man=no", "/lib/systemd/system/rawcache.service")
        self.assertEqual(done.stdout + done.stderr, "")

    def test_the_service_is_exposed_to_little(self):
        self.need("systemd-analyze", "systemd")
        text = run("systemd-analyze", "security", "--offline=true", f"--root={self.root}", "--no-pager",
                   "/lib/systemd/system/rawcache.service").stdout
        exposure = re.search(r"Overall exposure level for rawcache.service: ([\d.]+)", text).group(1)
        print(f"      exposure level {exposure} of 10", flush=True)
        self.assertLessEqual(float(exposure), EXPOSURE_MAX, text)

    def test_the_manual_page_has_every_command_and_no_mistakes(self):
        page = self.root / "usr/share/man/man1/rawcache.1.gz"
        text = run("gzip", "-dc", page).stdout
        commands = re.search(r"Subcommands:\n((?:  .*\n)+)", run(PROGRAM, "--help").stdout).group(1)
        names = re.findall(r"^  (\w+)", commands, re.MULTILINE)
        self.assertGreater(len(names), 8)
        for name in names:
            self.assertIn(f'.SS "rawcache {name} ', text)
        self.assertIn("\\-\\-durability", text)
        self.need("man", "man-db")
        done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page, env={**os.environ, "MANROFFSEQ": ""})
        self.assertEqual(done.stderr, "")

    def start_command(self, folder):
        """What systemd would run, with the files of the service in the folder."""
        settings = {}
        for line in (self.root / "etc/default/rawcache").read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                settings[name] = shlex.split(value)
        words = []
        for word in re.search(r"^ExecStart=(.*)$", self.unit, re.MULTILINE).group(1).split():
            name = re.fullmatch(r"\$\{?(\w+)\}?", word)
            if not name:
                words.append(word)
            elif word.startswith("${"):
                words += settings[name.group(1)]
            else:
                words += shlex.split(" ".join(settings[name.group(1)]))
        self.assertEqual(words[0], "/usr/bin/rawcache")
        words[0] = str(self.root / "usr/bin/rawcache")
        words[words.index("--capacity") + 1] = "16MiB"
        words = [word.replace("/var/lib/rawcache", str(folder)) for word in words]
        return [re.sub(r"^127\.0\.0\.1:\d+$", lambda _: f"127.0.0.1:{free_port()}", word) for word in words]

    def test_the_service_as_it_is_configured_starts_says_so_and_stops(self):
        self.assertIn("Type=notify\n", self.unit)
        state = self.folder / "state"
        state.mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.folder / "notify"))
            notify.settimeout(60)
            process = subprocess.Popen(self.start_command(state), stderr=subprocess.DEVNULL, umask=0o077,
                                       env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")})
            self.addCleanup(process.kill)
            self.assertEqual(notify.recv(100), b"READY=1")
            self.assertEqual((state / "cache").stat().st_mode & 0o777, 0o600)
            process.terminate()
            self.assertEqual(notify.recv(100), b"STOPPING=1")
            self.assertEqual(process.wait(timeout=60), 0)

    def test_an_installation_without_the_package_stays_below_its_prefix(self):
        target = self.folder / "installed"
        run("cmake", "--install", BUILD, "--prefix", "/opt/rawcache", env={**os.environ, "DESTDIR": str(target)})
        self.assertEqual(sorted(path.relative_to(target).as_posix() for path in target.glob("*/*")), ["opt/rawcache"])


def main():
    global PROGRAM, BUILD, CPACK
    if len(sys.argv) < 4:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    PROGRAM, BUILD, CPACK = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
    return report.run(sys.modules["__main__"], sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
