#!/usr/bin/env python3
"""Checks the style rules that clang-format does not know; CONTRIBUTING.md lists them.

`--self-test` shows that every rule finds a violation.
"""

import pathlib
import re
import sys

LINE_COLUMNS_MAX = 100
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# Ratchets: what may be longer, up to how many lines, and why. Numbers only go down.
LONG_FILES = {
    # "path": (lines, "reason"),
}
LONG_FUNCTIONS = {
    # "path:function": (lines, "reason"),
}

CODE = (".h", ".cc")
TEXT = CODE + (".py", ".md", ".txt", ".cmake", ".in", ".json", ".sh", ".map")
SCRIPTS = ("x", ".ci/run", ".clang-format", ".clang-tidy", ".gitignore", ".gitattributes")
SKIPPED = ("build/", ".git/", ".cache/")

# Paths of one machine. Put together here so that this file does not find itself.
MACHINE_PATH = re.compile("/(?:" + "|".join(("home/\\w", "root/", "work/", "Users/")) + ")")
OPEN_TASK = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b(?!\(\w+\))")


def without_comments_and_strings(text):
    """The text with comments, strings, characters and preprocessor lines blanked; lines are kept."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        re.DOTALL | re.MULTILINE,
    )
    return token.sub(lambda match: "\n" * match.group().count("\n"), text)


SCOPE = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")


def opens_scope(head):
    """Whether a `{` after this text opens a namespace or a class rather than a function."""
    declaration = re.sub(r"\b\w+\s*\([^()]*\)", "", re.sub(r"<[^<>]*>", "", head))  # attributes
    return bool(SCOPE.search(declaration)) and "(" not in declaration


def functions(text):
    """(name, first line, lines) of every function body at namespace or class level."""
    code = without_comments_and_strings(text)
    stack, head_start, line = [], 0, 1
    for position, char in enumerate(code):
        if char == "\n":
            line += 1
        elif char == "{":
            head = code[head_start:position]
            kind = "other"
            if all(k == "scope" for k, _, _ in stack):
                name = re.search(r"([\w:~]+|operator\W+)\s*\(", head)
                if opens_scope(head):
                    kind = "scope"
                elif name:
                    kind = name.group(1)
            stack.append((kind, line, head))
            head_start = position + 1
        elif char == "}":
            if stack:
                kind, first, _ = stack.pop()
                if kind not in ("scope", "other"):
                    yield kind, first, line - first + 1
            head_start = position + 1
        elif char == ";":
            head_start = position + 1


def check_lengths(path, text, long_files, long_functions):
    lines = text.count("\n")
    limit, _ = long_files.get(path, (FILE_LINES_MAX, ""))
    if lines > limit:
        yield f"{path}: {lines} lines, more than {limit}"
    for name, first, length in functions(text):
        limit, _ = long_functions.get(f"{path}:{name}", (FUNCTION_LINES_MAX, ""))
        if length > limit:
            yield f"{path}:{first}: {name}: {length} lines, more than {limit}"


def check_file(path, text, long_files=LONG_FILES, long_functions=LONG_FUNCTIONS):
    """All violations in one file, as lines of text."""
    is_code = path.endswith(CODE)
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        if is_code and len(line) > LINE_COLUMNS_MAX:
            yield f"{where}: {len(line)} columns, more than {LINE_COLUMNS_MAX}"
        if "\t" in line:
            yield f"{where}: tab"
        if line != line.rstrip():
            yield f"{where}: white space at the end"
        if MACHINE_PATH.search(line):
            yield f"{where}: a path of one machine"
        if OPEN_TASK.search(line):
            yield f"{where}: an open task without a (name)"
    if text and not text.endswith("\n"):
        yield f"{path}: no line end at the end"
    if path.endswith(".h") and "\n#pragma once\n" not in "\n" + text:
        yield f"{path}: no #pragma once"
    if is_code and not text.startswith("//") and not path.endswith(".cc"):
        yield f"{path}: does not begin with a comment that says what it is for"
    if is_code:
        yield from check_lengths(path, text, long_files, long_functions)


def check(root):
    problems = []
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        if path.startswith(SKIPPED) or "__pycache__" in path or not file.is_file():
            continue
        if not path.endswith(TEXT) and path not in SCRIPTS:
            continue
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            problems.append(f"{path}: not UTF-8")
            continue
        problems += check_file(path, text)
    return problems


def self_test():
    """Every rule finds its violation, and a clean file has none."""
    clean = (
        "// What it is for.\n#pragma once\n\n#define LONG(x) \\\n  {\n\nnamespace a {\n\n"
        "class CAPABILITY(\"mutex\") Mutex {\n public:\n  void lock() ACQUIRE() { m_.lock(); }\n\n"
        " private:\n  int m_{3};\n};\n\nint f(int x) {\n  const char* s = \"{ // }\";\n"
        "  return x + '{' + 1'000;  // {\n}\n\n}  // namespace a\n"
    )
    body = "  g();\n" * FUNCTION_LINES_MAX
    violations = {
        "columns": "// " + "x" * LINE_COLUMNS_MAX + "\n",
        "tab": "int a;\t// b\n",
        "white space": "int a; \n",
        "path": "// see " + "/wo" + "rk/x\n",
        "open task": "// TO" + "DO: more\n",
        "lines, more than 500": "int a;\n" * FILE_LINES_MAX,
        "long_one: 7": "void long_one(int a) {\n" + body + "}\n",
        "A::member: 7": "A::B A::member(int a) const {\n" + body + "}\n",
        "in_class: 7": "class C final : public D {\n  void in_class() {\n" + body + "  }\n};\n",
        "A::A: 7": "A::A(int b) : b_(b) {\n" + body + "}\n",
    }
    failures = [f"clean file: {p}" for p in check_file("src/a.h", clean)]
    for expected, text in violations.items():
        found = list(check_file("src/a.h", clean + text))
        if len(found) != 1 or expected not in found[0]:
            failures.append(f"{expected!r} expected, found: {found}")
    without = {"no #pragma once": "// a\nint a;\n", "no line end": "// a\n#pragma once"}
    without["comment"] = "#pragma once\n"
    for expected, text in without.items():
        found = list(check_file("src/a.h", text))
        if not any(expected in problem for problem in found):
            failures.append(f"{expected!r} expected, found: {found}")
    listed = {"src/a.h:f": (FUNCTION_LINES_MAX + 2, "test")}
    text = clean + "int f() {\n" + body + "}\n"
    failures += [f"allowed: {p}" for p in check_file("src/a.h", text, {}, listed)]
    print("\n".join(failures) or f"self-test: {len(violations) + len(without)} violations found")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    problems = check(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(problems) or "style: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
