#!/usr/bin/env python3
"""Checks the arrows of docs/architecture.md, "The house": who includes whom.

Also that every source file is built: listed in CMakeLists.txt, server/server.cmake or
tests/CMakeLists.txt.
`--self-test` shows that the violations it is there for are found.
"""

import pathlib
import re
import sys
import tempfile

# Folder: the private folders that it may include beside itself. Public headers may be included by all.
ALLOWED = {
    "include": set(),
    "include/rawcache/asio.h": set(),  # header only, for those who have Asio
    "src/base": set(),
    "src/format": {"base"},
    "src/disk": {"base"},
    "src/batch": {"base"},
    "src/cache": {"batch", "format", "base"},
    "src/async": {"cache", "base"},
    "metrics": {"base"},
    "server": {"base", "metrics"},
    "cli": {"base", "metrics", "server"},
    "examples": set(),
    "tests/consumer": set(),
}
# These may include anything.
UNRESTRICTED = ("bench", "fuzz", "tests")

# Foreign headers: the only folders that know them. UNRESTRICTED folders may use them too.
FOREIGN = {
    "liburing.h": {"src/disk"},
    "xxhash.h": {"src/base"},
    "lz4": {"src/format"},
    "zstd.h": {"src/format", "cli"},
    "zdict.h": {"src/format"},
    "CLI/": {"cli"},
    "openssl/": {"server"},
    "asio": {"server", "examples", "include/rawcache/asio.h"},
    "boost/asio": {"include/rawcache/asio.h"},
    "linux/": {"src/base", "src/disk"},
    "sys/ioctl.h": {"src/disk"},
    "fcntl.h": {"src/disk"},
    "sys/eventfd.h": {"src/async"},
    "unistd.h": {"src/async", "src/base", "src/disk", "cli", "server", "examples"},
}
PRIVATE = ("base", "format", "disk", "batch", "cache", "async", "metrics", "server")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    """The longest folder of the tables that contains the path, or None."""
    known = [f for f in (*ALLOWED, *UNRESTRICTED) if (path + "/").startswith(f + "/")]
    return max(known, key=len, default=None)


def problem_of_include(folder, quote, target):
    """What is wrong with this include in this folder, or None."""
    if folder in UNRESTRICTED:
        return None
    top = target.split("/")[0]
    own = folder.split("/")[-1]
    if target.startswith("rawcache/"):
        return None
    if quote == "<":
        if folder == "include" and not re.fullmatch(r"[a-z_]+", target):
            return "public headers include the standard library and rawcache/ only"
        if top in PRIVATE:
            return 'private headers are included with ""'
        for prefix, folders in FOREIGN.items():
            if target.startswith(prefix) and folder not in folders:
                return "only " + ", ".join(sorted(folders)) + " may include it"
        return None
    if folder.startswith("include"):
        return "public headers include the standard library and rawcache/ only"
    if top not in PRIVATE:
        return None if top == own else "write the path from src/ or from rawcache/"
    if top != own and top not in ALLOWED[folder]:
        return f"{folder} may include {', '.join(sorted(ALLOWED[folder])) or 'nothing'} beside itself"
    return None


def check(root):
    """All violations below the root, as lines of text."""
    problems = []
    lists = ""
    for name in ("CMakeLists.txt", "server/server.cmake", "tests/CMakeLists.txt"):
        if (root / name).exists():
            lists += re.sub(r"#.*", "", (root / name).read_text())
    listed = set(re.findall(r"[\w./-]+\.(?:cc|h)\b", lists))
    files = sorted(p for ext in ("*.h", "*.cc") for p in root.rglob(ext))
    for file in files:
        path = file.relative_to(root).as_posix()
        folder = folder_of(path)
        if path.startswith(("build/", ".")):
            continue
        if folder is None:
            problems.append(f"{path}: in no known folder; see {pathlib.Path(__file__).name}")
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            problem = match and problem_of_include(folder, *match.groups())
            if problem:
                problems.append(f"{path}:{number}: includes {match.group(2)}: {problem}")
        in_lists = path in listed or path.removeprefix("tests/") in listed
        must_be_listed = path.startswith(("src/", "include/")) or path.endswith(".cc")
        if must_be_listed and folder not in ("tests/consumer", "bench", "fuzz") and not in_lists:
            problems.append(f"{path}: in no CMakeLists.txt, so it is not built")
    return problems


def self_test():
    """Makes a small tree with one violation at a time; each must be found, the clean tree passes."""
    clean = {
        "include/rawcache/a.h": "#include <vector>\n",
        "include/rawcache/asio.h": '#include <asio/post.hpp>\n#include "rawcache/a.h"\n',
        "src/cache/a.cc": '#include "rawcache/a.h"\n#include "batch/b.h"\n#include "cache/c.h"\n',
        "src/batch/b.cc": '#include "base/b.h"\n#include <mutex>\n',
        "src/disk/d.cc": "#include <liburing.h>\n",
        "src/async/a.cc": '#include "cache/c.h"\n#include <sys/eventfd.h>\n',
        "metrics/m.cc": '#include "rawcache/a.h"\n#include "base/b.h"\n',
        "cli/main.cc": '#include "rawcache/a.h"\n#include "cli/options.h"\n#include "metrics/m.h"\n',
        "server/s.cc": '#include <asio/post.hpp>\n#include "rawcache/a.h"\n#include "server/s.h"\n',
        "tests/cache/a_test.cc": '#include "cache/a.h"\n#include "disk/d.h"\n',
    }
    violations = {
        "include/rawcache/asio.h": ['#include "base/b.h"\n'],
        "include/rawcache/b.h": ["#include <asio/post.hpp>\n", '#include "base/b.h"\n', "#include <liburing.h>\n"],
        "src/base/b.cc": ['#include "format/f.h"\n'],
        "src/format/f.cc": ['#include "cache/c.h"\n', '#include "batch/b.h"\n'],
        "src/disk/d.cc": ['#include "batch/b.h"\n', '#include "format/f.h"\n'],
        "src/batch/b.cc": ['#include "format/f.h"\n', '#include "disk/d.h"\n', "#include <liburing.h>\n"],
        "src/async/a.cc": ['#include "batch/b.h"\n', '#include "format/f.h"\n'],
        "src/cache/c.cc": ['#include "disk/d.h"\n', '#include "async/a.h"\n', "#include <base/b.h>\n", '#include "c.h"\n'],
        "cli/main.cc": ['#include "cache/c.h"\n', '#include "batch/b.h"\n', "#include <asio.hpp>\n"],
        "server/s.cc": ['#include "cache/c.h"\n', '#include "cli/options.h"\n'],
        "examples/e.cc": ['#include "base/b.h"\n'],
        "elsewhere/e.cc": ["\n"],
    }
    cases = [(path, text) for path, texts in violations.items() for text in texts]
    for path, text in [(None, None), ("src/cache/unlisted.cc", None), *cases]:
        tree = dict(clean)
        if path and text:
            tree[path] = text
        tree["CMakeLists.txt"] = "\n".join(tree)
        if path and not text:
            tree[path] = ""
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            for file, content in tree.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(content)
            problems = check(root)
        expected = 1 if path else 0
        if len(problems) != expected or (path and not problems[0].startswith(path)):
            print(f"self-test: {path}: {text!r}: {expected} problem(s) expected, found: {problems}")
            return 1
    print(f"self-test: {len(cases) + 1} violations found, none in the clean tree")
    return 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    problems = check(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(problems) or "layers: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
