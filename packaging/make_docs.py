#!/usr/bin/env python3
"""Makes what a Debian package has beside the program: make_docs.py <rawcache> <source> <version> <target folder>

rawcache.1.gz from what the program says of itself by --help, so that they never differ; changelog.gz; NEWS.gz.
"""

import gzip
import pathlib
import re
import subprocess
import sys

FILES = """.SH FILES
.TP
.I /etc/default/rawcache
What the service serves: the cache, its size, further options of
.BR "rawcache serve" .
.TP
.I /var/lib/rawcache
Its cache, unless another is named there.
.SH SEE ALSO
.BR memcached (1),
.BR systemctl (1).
The documentation of the project says what is promised, what it costs and how it is tested.
"""


def escaped(text):
    """Text that roff takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def help_of(program, *command):
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def items(text, heading):
    """Pairs of what is on the left below a heading of --help, and what is on the right."""
    below = re.search(rf"^{heading}:\n((?:  .*\n?)+)", text, re.MULTILINE)
    found = []
    for line in below.group(1).splitlines() if below else []:
        if line.startswith(" " * 20):
            found[-1][1] += " " + line.strip()
        else:
            left, _, right = line.strip().partition("  ")
            found.append([left, right.strip()])
    return found


def section(program, *command):
    """A command with its options, or the commands below it."""
    text = help_of(program, *command)
    described = escaped(text.split("\n", 1)[0])
    usage = re.search(r"Usage: (.*)", text).group(1)
    roff = f'.SS "{escaped(usage)}"\n{described}\n'
    for heading in ("Positionals", "Options"):
        for left, right in items(text, heading):
            if "--help" not in left:
                roff += f'.TP\n.B "{escaped(left)}"\n{escaped(right)}\n'
    for name, _ in items(text, "Subcommands"):
        roff += section(program, *command, name)
    return roff


def manual(program, version):
    text = help_of(program)
    about, examples = text.split("Usage:")[0], re.search(r"Try it:\n((?:  .*\n)+)", text).group(1)
    status = re.search(r"Exit status: (.*)", text, re.DOTALL).group(1).replace("\n", " ").strip()
    roff = f'.TH RAWCACHE 1 "" "rawcache {version}" "User Commands"\n'
    roff += ".SH NAME\nrawcache \\- cache of keys and values on raw disks, served by memcached's protocol\n"
    roff += ".SH SYNOPSIS\n.B rawcache\n.I COMMAND\n[\\fIOPTIONS\\fR] ...\n"
    roff += f".SH DESCRIPTION\n{escaped(about.strip())}\n"
    roff += f".SH EXAMPLES\n.nf\n{escaped(examples)}.fi\n.SH COMMANDS\n"
    for name, _ in items(text, "Subcommands"):
        roff += section(program, name)
    roff += ".SH EXIT STATUS\n"
    for part in status.rstrip(".").split("; "):
        code, _, meaning = part.partition(" ")
        roff += f".TP\n.B {code}\n{escaped(meaning)}\n"
    return roff + FILES


def pack(path, text):
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def main():
    program, source, version, target = sys.argv[1:]
    source, target = pathlib.Path(source), pathlib.Path(target)
    pack(target / "rawcache.1.gz", manual(program, version))
    changelog = (source / "packaging" / "debian" / "changelog.in").read_text()
    pack(target / "changelog.gz", changelog.replace("@PROJECT_VERSION@", version))
    pack(target / "NEWS.gz", (source / "CHANGELOG.md").read_text())


if __name__ == "__main__":
    main()
