"""The blocks of the docs: parsed, run as printed, and compared with the output that the page shows.

A page is compiled into one bash script, in the order of its blocks. ``CONTRIBUTING.md`` has the conventions.
"""

from __future__ import annotations

import configparser
import csv
import errno
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from support import ROOT
from support.ports import free_port

KINDS = {
    *("sh", "python", "text", "toml", "json", "jsonl", "csv", "ini", "yaml"),
    *("log", "layers", "mermaid", "diagram"),
}
"""Languages of blocks. Unit tests compare ``log`` and ``layers``; ``mermaid`` and ``diagram`` are pictures."""
SHIMS = Path(__file__).with_name("docs_bin")
"""Stand-ins for programs that a page must not run."""
BOOK = Path(__file__).with_name("docs_book")
"""The book that ``serve_page`` serves: that of the tutorial."""
TIMEOUT_SECONDS = 100
PORTS = ("4870", "4871", "8470", "1812", "1813")
"""Ports of the pages. Each one becomes a free port while the page runs."""

_BLOCK = re.compile(
    r"(?P<comments>(?:^ *<!-- (?!setup)[^\n]* -->\n)*)"
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$"
    r"|^<!-- setup(?P<setup>.*?)-->$",
    re.MULTILINE | re.DOTALL,
)
_MARK = "\x1e"
"""The character that begins a line between the outputs of two blocks."""


class Block(NamedTuple):
    """A fenced block of a page, or a hidden ``<!-- setup … -->``."""

    kind: str
    text: str
    line: int
    marks: tuple[str, ...] = ()

    @property
    def not_run(self) -> str | None:
        """The reason why the block is not run; None if it is run."""
        for mark in self.marks:
            if mark.startswith("not run:"):
                return mark.removeprefix("not run:").strip()
        return None


class Step(NamedTuple):
    """Commands of a page, and the output that the page shows for them."""

    block: Block
    script: str
    expected: str | None


def pages() -> list[Path]:
    """Return README.md and the pages of docs/ whose blocks are run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if not {"spec", "decisions"} & set(page.relative_to(ROOT).parts)]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, from top to bottom."""
    source, found = page.read_text(), []
    for match in _BLOCK.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        if match["setup"] is not None:
            found.append(Block("setup", match["setup"].lstrip(": ").strip(), line))
            continue
        width = len(match["indent"])
        text = "".join(each[width:] if each.strip() else each for each in match["text"].splitlines(keepends=True))
        marks = tuple(re.findall(r"<!-- (.*?) -->", match["comments"]))
        found.append(Block(match["kind"], text, line + len(marks), marks))
    return found


def needs_namespace(page: Path) -> bool:
    """True if the page asks to run as root in namespaces of its own."""
    return "run: namespace" in _directives(page)


def needed_programs(page: Path) -> list[tuple[str, str]]:
    """Return the programs that a page runs, each with the packages that have it."""
    needs = [each.removeprefix("needs: ") for each in _directives(page) if each.startswith("needs: ")]
    return [(name, packages) for name, _, packages in (each.partition(" ") for each in needs)]


def _directives(page: Path) -> list[str]:
    """Return the comments that a page begins with, such as ``after: PAGE``. CONTRIBUTING.md has all."""
    comments = re.match(r"(?:<!-- .* -->\n)*", page.read_text())
    return re.findall(r"<!-- (.*) -->", comments[0] if comments else "")


def steps(page: Path) -> list[Step]:
    """Return what runs on a page, after the steps of the pages that it names.

    Raise ValueError if a block shows output and nothing before it was run.
    """
    found: list[Step] = []
    for directive in _directives(page):
        if directive.startswith("after: "):
            before = steps(page.parent / directive.removeprefix("after: "))
            found += [step._replace(expected=None) for step in before]
    waiting = False
    """True if the last step has no output yet."""
    rest = iter([*blocks(page), Block("end", "", 0)])
    block = next(rest)
    while block.kind != "end":
        following = next(rest)
        if block.kind == "text" and block.not_run is None:
            if not waiting:
                raise ValueError(f"{page.name}:{block.line}: output of nothing")
            found[-1] = found[-1]._replace(expected=block.text)
            waiting = False
        elif block.not_run is not None:
            if following.kind == "text":  # output of a block that is not run
                following = next(rest)
        elif block.kind in ("sh", "setup"):
            found.append(Step(block, _until(block) or block.text, None))
            waiting = True
        elif block.kind == "python":
            found.append(Step(block, f"python3 - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n", None))
            waiting = True
        elif block.kind == "json" and _is_request(block.text):
            request, *answer = documents(block.text)
            if not answer and following.kind == "json":
                answer = documents(following.text)
                following = next(rest)
            ask = f"ask_page <<'END_OF_BLOCK'\n{json.dumps(request)}\nEND_OF_BLOCK\n"
            found.append(Step(block, ask, json.dumps(answer[0]) if answer else None))
            waiting = False
        block = following
    return found


def _until(block: Block) -> str | None:
    """Return the script of commands that get Ctrl-C when they have printed the text of ``<!-- until: … -->``.

    Return None if the block has no such mark.
    """
    for mark in block.marks:
        if mark.startswith("until: "):
            text = shlex.quote(mark.removeprefix("until: "))
            return f"interrupt_page {text} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
    return None


def _is_request(text: str) -> bool:
    """True if a block begins with a JSON-RPC request, or a batch of them."""
    try:
        first, *_ = documents(text)
    except ValueError:
        return False  # reported by `problems`
    return "jsonrpc" in (first[0] if isinstance(first, list) and first else first)


def documents(text: str) -> list[Any]:
    """Return the JSON documents of a block. A bare ``…`` is read as a string, and as a member of that name."""
    text = re.sub(r"(?<=[{,])(\s*)…(\s*)(?=[},])", r'\1"…": "…"\2', text)
    text = re.sub(r"(?<=[\[,:])(\s*)…(\s*)(?=[\]},])", r'\1"…"\2', text).strip()
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


# ---- running


class Run(NamedTuple):
    """The outputs of a page's steps, and the exit status of its script."""

    status: int
    outputs: list[str]


@cache
def has_namespaces() -> bool:
    """True if this process may make namespaces of mounts, networks and processes."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_page(page: Path, folder: Path) -> Run:
    """Run all steps of a page in one bash, in a folder of its own."""
    isolated = needs_namespace(page)
    ports = {port: port if isolated else str(free_port()) for port in PORTS}
    script = _compile(steps(page))
    for printed, used in ports.items():
        script = re.sub(rf"\b{printed}\b", used, script)
    output, program = folder / "output", folder / "script"
    program.write_text(script)
    work = folder / "work"
    work.mkdir()
    env = {
        "PATH": os.pathsep.join([str(SHIMS), sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "HOME": str(work),
        "USER": "operator",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
        "PAGE_ROOT": str(ROOT),
        "PAGE_PYTHON": sys.executable,
        "PAGE_PACKAGES": sysconfig.get_path("purelib"),
        "PAGE_BOOK": str(BOOK),
        "PAGE_PORTS": " ".join(ports.values()),
    }
    command = [str(SHIMS / "in-namespace")] if isolated else ["bash"]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*command, str(program)], cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        finally:
            _end(process)
    printed = output.read_text(errors="replace")
    for before, used in ports.items():
        printed = re.sub(rf"\b{used}\b", before, printed)
    return Run(status, [part.partition("\n")[2] for part in printed.split(_MARK)[1:]])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a page's script; its own trap ends what it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _compile(found: list[Step]) -> str:
    """Return the bash script of a page's steps."""
    parts = [f"set -euo pipefail; set -m\n. {shlex.quote(str(SHIMS / 'prelude'))}\n"]
    for number, step in enumerate(found):
        parts.append(f"printf '{_MARK}%d\\n' {number}\n{step.script}")
        parts.append("\n")
    return "".join(parts)


# ---- comparing


def agrees(step: Step, output: str) -> bool:
    """True if the output is that which the page shows, or if the page shows none."""
    if step.expected is None:
        return True
    if step.block.kind == "json":
        return matches(json.loads(step.expected), json.loads(output))
    shown = "…".join(re.escape(part) for part in _lines(step.expected).split("…"))
    return re.fullmatch(shown.replace("…", ".*?"), _lines(output), re.DOTALL) is not None


def _lines(text: str) -> str:
    """Return a text without blanks at the ends of lines, and without empty lines at both ends."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def matches(shown: Any, found: Any) -> bool:
    """True if a JSON value is the one that is shown; ``…`` matches anything, and as a member any other members."""
    if isinstance(shown, str):
        if "…" not in shown:
            return bool(shown == found)
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        return shown == "…" or (isinstance(found, str) and re.fullmatch(pattern, found, re.DOTALL) is not None)
    if isinstance(shown, dict) and isinstance(found, dict):
        named = shown.keys() - {"…"}
        enough = named <= found.keys() if "…" in shown else named == found.keys()
        return enough and all(matches(shown[name], found[name]) for name in named)
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) == len(found) and all(map(matches, shown, found))
    return bool(shown == found) and isinstance(shown, bool) == isinstance(found, bool)


# ---- blocks that are not run


def problems(block: Block, folder: Path) -> list[str]:
    """Return what is wrong with a block of data; an empty list for other kinds."""
    try:
        if block.kind == "toml":
            return config_problems(block.text, folder)
        if block.kind == "json":
            documents(block.text)
        elif block.kind == "jsonl":
            for line in block.text.splitlines():
                documents(line)
        elif block.kind == "csv":
            widths = {len(row) for row in csv.reader(block.text.splitlines()) if row}
            return [] if len(widths) == 1 else ["rows have different numbers of cells"]
        elif block.kind == "ini":
            configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
        elif block.kind == "yaml":
            yaml.safe_load(block.text)
        elif block.kind not in KINDS | {"setup"}:
            return [f"language {block.kind!r}: expected one of {', '.join(sorted(KINDS))}"]
    except (ValueError, configparser.Error, yaml.YAMLError) as error:
        return [str(error)]
    return []


def config_problems(text: str, folder: Path) -> list[str]:
    """Return what ``serve --check`` finds in a config.

    Variables of ``{ env = "X" }`` get values and certificates are made. Addresses of other machines are accepted,
    and the calls are kept in ``folder``.
    """
    import msgspec

    from identengine.config.sections import from_values
    from identengine.server import preflight

    values = tomllib.loads(text)
    variables = re.findall(r'env = "(\w+)"', text)
    tls = values.get("tls", {})
    if {"certificate", "key"} <= tls.keys():
        _make_certificates(folder, tls)
    with mock.patch.dict(os.environ, {each: hashlib.sha256(each.encode()).hexdigest() for each in variables}):
        config = from_values(values, folder / "identengine.toml")
        calls = msgspec.structs.replace(config.calls, path=folder / "calls", max_legs=1000, lapsed_max=1000)
        found = preflight.problems(msgspec.structs.replace(config, calls=calls))
    foreign = os.strerror(errno.EADDRNOTAVAIL)
    return [*config.warnings, *(problem for problem in found if foreign not in problem)]


def _make_certificates(folder: Path, tls: dict[str, str]) -> None:
    from support.tls import Authority

    authority = Authority()
    authority.certify(folder)
    if "client_crl" in tls:
        (folder / tls["client_crl"]).write_bytes(authority.crl())
    for key, name in (("certificate", "server.pem"), ("key", "server.key"), ("client_ca", "ca.pem")):
        if tls.get(key, name) != name:
            (folder / name).rename(folder / tls[key])


# ---- links


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield file and anchor of each link of a page that leads into the repository."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            file, _, anchor = target.partition("#")
            yield file, anchor


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page: those that GitHub makes of its headings, and its own."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[name] = count = found.get(name, -1) + 1
        if count:
            found[f"{name}-{count}"] = 0
    return frozenset(found) | frozenset(re.findall(r'<a (?:id|name)="([^"]+)"', text))
