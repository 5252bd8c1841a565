"""A reader of dialplans of Asterisk that runs the one of docs/ as it is. CURL() and System() run real programs.

It knows the applications and functions that this dialplan uses, and fails on all others. Arguments are divided as
``main/app.c`` of Asterisk 20 divides them, variables are replaced as ``main/pbx_variables.c`` does.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from support import ROOT
from support.programs import program
from support.waiting import PATIENCE

FOLDER = ROOT / "docs" / "switches" / "asterisk"
DIALPLAN, REPORT = FOLDER / "extensions.conf", FOLDER / "identengine-report"


class Step(NamedTuple):
    """One priority of an extension."""

    label: str | None
    application: str
    data: str


class Dialplan:
    """The contexts of a file, each with one extension, and its global variables."""

    def __init__(self, path: Path = DIALPLAN) -> None:
        self.contexts: dict[str, list[Step]] = {}
        self.pattern = ""
        self.globals: dict[str, str] = {}
        context = ""
        for line in path.read_text().splitlines():
            text = line.partition(";")[0].strip()
            if match := re.fullmatch(r"\[([\w-]+)\]", text):
                context = match[1]
            elif match := re.fullmatch(r"(exten => ([^,]+),1|same => n(?:\((\w+)\))?),(\w+)\((.*)\)", text):
                self.pattern = match[2] if (match[2] or "s") != "s" else self.pattern
                self.contexts.setdefault(context, []).append(Step(match[3], match[4], match[5]))
            elif text:
                name, _, value = text.partition("=")
                assert context == "globals", line
                self.globals[name] = value

    def matches(self, number: str) -> bool:
        """True if the extension of customers matches a dialled number: ``_[CHARACTERS]!``."""
        match = re.fullmatch(r"_(\[[^]]+\])!", self.pattern)
        assert match
        return re.match(match[1], number) is not None


class HangUp(Exception):  # noqa: N818 - an event, not an error
    """The channel has ended, so the dialplan ends."""


class Channel:
    """A channel that runs the dialplan. ``events`` are what it does."""

    def __init__(self, dialplan: Dialplan, variables: Mapping[str, str], dials: Iterable[str] = ()) -> None:
        self._dialplan = dialplan
        self.variables = dict(variables)
        self._dials = list(dials)
        self._headers: list[str] = []
        self._options: dict[str, str] = {}
        self._handlers: list[str] = []
        self.events: list[tuple[str, ...]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, context: str = "identengine") -> Channel:
        """Run a call from its start to its end."""
        with contextlib.suppress(HangUp):
            self._run(context)
        for handler in reversed(self._handlers):
            self._run(handler.split(",")[0])
        return self

    def _run(self, context: str, arguments: Iterable[str] = ()) -> None:
        outer = {name: self.variables.get(name, "") for name in ("ARG1", "ARG2")}
        self.variables |= {f"ARG{number}": value for number, value in enumerate(arguments, 1)}
        steps = self._dialplan.contexts[context]
        at = 0
        while steps[at].application != "Return":
            run: Callable[[str], str | None] = getattr(self, f"_app_{steps[at].application.lower()}")
            label = run(self.replaced(steps[at].data))
            at = at + 1 if label is None else [step.label for step in steps].index(label)
        self.variables |= outer

    # ---- variables, functions and expressions

    def replaced(self, text: str) -> str:
        """Return a text with its variables, functions and expressions replaced."""
        found, at = "", 0
        while at < len(text):
            opening = text[at : at + 2]
            if opening not in ("${", "$["):
                found += text[at]
                at += 1
                continue
            end, depth, pair = at + 2, 1, "{}" if opening == "${" else "[]"
            while depth:
                depth += {pair[0]: 1, pair[1]: -1}.get(text[end], 0)
                end += 1
            inner = self.replaced(text[at + 2 : end - 1])
            found += self._value(inner) if opening == "${" else _expression(inner)
            at = end
        return found

    def _value(self, text: str) -> str:
        if match := re.fullmatch(r"(\w+)\((.*)\)", text, re.DOTALL):
            read: Callable[[str], str] = getattr(self, f"_read_{match[1].lower()}")
            return read(match[2])
        return self.variables.get(text, self._dialplan.globals.get(text, ""))

    def _read_len(self, text: str) -> str:
        return str(len(text))

    def _read_curl(self, text: str) -> str:
        url, body = text.split(",", 1)
        self.asked.append((url.rpartition("/")[2], json.loads(body)))
        command = [program("curl", "curl"), "-s", "-A", "asterisk-libcurl-agent/1.0", "--data-raw", body]
        for option, name in (("--connect-timeout", "conntimeout"), ("--max-time", "httptimeout")):
            command += [option, self._options[name]]
        for header in self._headers:
            command += ["-H", header]
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.stdout.rstrip()

    def _read_json_decode(self, text: str) -> str:
        name, key = text.split(",")
        found = self._value(name)
        value = json.loads(found).get(key) if found else None
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)

    def _read_cut(self, text: str) -> str:
        name, delimiter, field = text.split(",")
        parts = self._value(name).split(delimiter)
        return parts[int(field) - 1] if int(field) <= len(parts) else ""

    def _read_filter(self, text: str) -> str:
        allowed, value = text.split(",", 1)
        return re.sub(f"[^{allowed}]", "", value)

    def _read_strreplace(self, text: str) -> str:
        name, before, after = text.split(",")
        return self._value(name).replace(before, after)

    def _read_channel(self, text: str) -> str:
        assert text == "pjsip,remote_addr"
        return self.variables["remote_addr"]

    def _read_callerid(self, text: str) -> str:
        assert text == "num"
        return self.variables["callerid"]

    # ---- applications. Each returns the label that follows, or None.

    def _app_set(self, data: str) -> None:
        name, value = data.split("=", 1)
        if name == "CURLOPT(httpheader)":
            self._headers.append(value)
        elif name.startswith("CURLOPT("):
            self._options[name[8:-1]] = value
        elif name == "CHANNEL(hangup_handler_push)":
            self._handlers.append(value)
        elif name == "CHANNEL(hangup_handler_pop)":
            self._handlers.pop()
        elif name == "CALLERID(num)":
            self.variables["callerid"] = value
        elif name.startswith("PJSIP_HEADER(add,"):
            self.events.append(("header", name[17:-1], value))
        else:
            assert re.fullmatch(r"\w+", name), name
            self.variables[name] = value

    def _app_gotoif(self, data: str) -> str | None:
        condition, label = data.split("?")
        return label if condition not in ("", "0") else None

    def _app_goto(self, data: str) -> str:
        return data

    def _app_gosub(self, data: str) -> None:
        match = re.fullmatch(r"([\w-]+),s,1(?:\((.*)\))?", data)
        assert match, data
        self._run(match[1], (match[2] or "").split(","))

    def _app_log(self, data: str) -> None:
        self.events.append(("log", data))

    def _app_system(self, data: str) -> None:
        subprocess.run(["/bin/sh", "-c", data], check=True)

    def _app_pjsiphangup(self, data: str) -> None:
        self.events.append(("reject", data))
        raise HangUp

    def _app_hangup(self, data: str) -> None:
        self.events.append(("hangup", data))
        raise HangUp

    def _app_dial(self, data: str) -> None:
        target, _, options = data.split(",", 2) if data.count(",") > 1 else (*data.split(",", 1), "")
        self.events.append(("dial", target, self.variables["callerid"]))
        result = self._dials.pop(0)
        if before := re.search(r"b\(([\w-]+)\^s\^1\((.*?)\)\)", options):
            self._other(before[1], [before[2]])
        if result == "answer":
            if answered := re.search(r"U\(([^)]*)\)", options):
                context, *arguments = answered[1].split("^")
                self._other(context, arguments)
            raise HangUp
        if result == "cancel":
            raise HangUp
        self.variables["HANGUPCAUSE"] = result

    def _other(self, context: str, arguments: Iterable[str]) -> None:
        """Run a context on the channel of the vendor."""
        other = Channel(self._dialplan, {})
        other._run(context, arguments)
        self.events += other.events
        self.asked += other.asked


def _expression(text: str) -> str:
    """Return the value of an expression: comparisons, which ``|`` joins, or a sum."""
    if match := re.fullmatch(r"(\d+) \+ (\d+)", text):
        return str(int(match[1]) + int(match[2]))
    return "1" if any(_comparison(part.strip()) for part in text.split("|")) else "0"


def _comparison(text: str) -> bool:
    left, operator, right = shlex.split(text)
    return {"=": left == right, "!=": left != right}[operator] if operator != ">" else int(left) > int(right)
