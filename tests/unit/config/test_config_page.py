"""docs/config.md and the sample have every key of the code, with its default, and no other (interfaces.md 7)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from unit.config.parsing import KEY, SWITCH, problems

from identengine.config import load
from identengine.config.changes import FIXED, RELOADABLE
from identengine.config.readers import Table
from identengine.config.schema import Config
from identengine.config.sections import from_values

PAGE = (Path(__file__).parents[3] / "docs" / "config.md").read_text(encoding="utf-8")
SAMPLE = load.sample()
TOKEN = '[[token]]\nname = "noc"\nrole = "read"\ntoken = "x"\n'
EVERYTHING = f"{SWITCH}{TOKEN}[reasons.no_did]\nq850 = 1\n"
RADIUS = SWITCH + 'secret = "x"\n[switch.radius]\n'
NO_DEFAULT = {"none", "required", "by reason", "of `[identify]`", "the name"}
"""Defaults on the page that are not a value."""


class Row(NamedTuple):
    """A key on the page."""

    section: str
    table: str
    key: str
    type: str
    default: str


def rows() -> Iterator[Row]:
    section = table = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            section = table = line[3:]
        elif line == "### RADIUS of a switch":
            table = "switch.radius"
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 4:
            yield Row(section, table, cells[0].strip("`"), cells[1], cells[2])


ROWS = list(rows())


class Recorded:
    """The keys that the code reads, by section, and those that it does not serve."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.not_served: dict[str, set[str]] = defaultdict(set)
        take, not_served = Table.take, Table.not_served

        def recording_take(table: Table, key: str, *rest: object) -> object:
            self.keys[self._section(table)].add(key)
            return take(table, key, *rest)  # type: ignore[arg-type]

        def recording_not_served(table: Table, keys: tuple[str, ...], warnings: list[str]) -> None:
            self.not_served[self._section(table)].update(keys)
            not_served(table, keys, warnings)

        monkeypatch.setattr(Table, "take", recording_take)
        monkeypatch.setattr(Table, "not_served", recording_not_served)
        from_values(tomllib.loads(EVERYTHING), None)

    @staticmethod
    def _section(table: Table) -> str:
        found = re.match(r"\[+(\w+)", table.label)
        assert found, table.label
        return found[1]


def test_the_page_has_every_key_once_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    code = Recorded(monkeypatch)
    shown: dict[str, list[str]] = defaultdict(list)
    for row in ROWS:
        shown[row.section].append(row.key)
    not_built = {}
    for heading, keys in re.findall(r"^\| `\[+(\w+)\]+` \| (`[^|]*`) \|$", PAGE, re.MULTILINE):
        not_built[heading] = re.findall(r"`(\w+)`", keys)
    assert {section: sorted(keys) for section, keys in not_built.items()} == {
        section: sorted(keys) for section, keys in code.not_served.items()
    }
    for section, keys in not_built.items():
        shown[section] += keys
    assert {section: sorted(keys) for section, keys in shown.items()} == {
        section: sorted(keys) for section, keys in code.keys.items()
    }


def test_the_page_says_what_a_reload_changes() -> None:
    table = PAGE.partition("## What SIGHUP changes")[2].partition("\n## ")[0]
    found = dict(re.findall(r"^\| \[`(\[+\w+\]+)`\]\(#[\w-]+\) \| (\w+)", table, re.MULTILINE))
    assert {section for section, word in found.items() if word == "restart"} == set(FIXED.values())
    assert {section for section, word in found.items() if word == "changes"} == set(RELOADABLE.values())


def test_the_page_includes_the_sample() -> None:
    assert f"```toml\n{SAMPLE}```\n" in PAGE


def test_defaults_on_the_page_are_those_of_the_sample() -> None:
    defaults = dict(_lines(r"#"))
    for row in ROWS:
        if row.default in NO_DEFAULT:
            assert (row.section, row.key) not in defaults or row.section == "switch", row
        else:
            assert defaults[row.section, row.key] == row.default.strip("`"), row


def test_the_sample_with_all_defaults_set_is_the_default_config() -> None:
    text = re.sub(r"^#(?=[a-z\[])", "", SAMPLE, flags=re.MULTILINE)
    assert text.count("\n[[switch]]\n") == 1
    assert _without_source(from_values(tomllib.loads(text), None)) == _without_source(load.load(None))
    assert _without_source(from_values(tomllib.loads(SAMPLE), None)) == _without_source(load.load(None))


def test_the_sample_has_every_key_of_the_page_once() -> None:
    found = [(section, key) for section, key, _ in _keys(SAMPLE)]
    assert sorted(found) == sorted((*_of_page(), ("reasons", "sip_code")))  # for all accounts, and for one


def test_the_examples_of_the_sample_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r'env = "(\w+)"', SAMPLE):
        token = hashlib.sha256(variable.encode()).hexdigest()  # a weak one would be a warning
        monkeypatch.setenv(variable, KEY if variable == "IDENTENGINE_KEY" else token)
    text = re.sub(r"^# ?(?=[a-z0-9_]+ = |\[)", "", SAMPLE, flags=re.MULTILINE)
    text = text.replace('key_file = "/etc/identengine/key"\n', "")  # key is the other way
    text = text.replace("tls = []", 'tls = ["127.0.0.1:4871"]')  # certificate needs it
    text = text.replace("radius_auth = []", 'radius_auth = ["127.0.0.1:1812"]')  # secret needs it
    config = from_values(tomllib.loads(text), None)
    assert config.warnings == ()
    assert config.http.tls is False
    assert [token.name for token in config.tokens] == ["noc"]


@pytest.mark.parametrize("row", [row for row in ROWS if "integer, " in row.type], ids=lambda row: row.key)
def test_integers_on_the_page_are_those_that_are_accepted(row: Row) -> None:
    found = re.match(r"integer, ([\d,]+) to ([\d,]+)", row.type)
    assert found, row
    low, high = (int(number.replace(",", "")) for number in found.groups())
    table = "reasons.no_did" if row.section == "reasons" else row.section
    for value in (low - 1, high + 1):
        (problem,) = problems(f"[{table}]\n{row.key} = {value}")
        assert problem == f"[{table}] {row.key}: expected an integer from {low} to {high}, got {value}"


@pytest.mark.parametrize("row", [row for row in ROWS if '"' in row.type], ids=lambda row: row.key)
def test_words_on_the_page_are_those_that_are_accepted(row: Row) -> None:
    words = re.findall(r'`("\w+"|true|false)`', row.type)
    listed = row.type.startswith("list of ")
    starts = {"switch": SWITCH, "switch.radius": RADIUS, "token": TOKEN.replace('role = "read"\n', "")}
    start = starts.get(row.table, f"[{row.table}]\n")
    wrong = '["x"]' if listed else '"x"'
    (problem,) = problems(f"{start}{row.key} = {wrong}")
    *first, last = words
    assert problem.endswith(f'{row.key}: expected {", ".join(first)} or {last}, got "x"')


def _of_page() -> Iterator[tuple[str, str]]:
    yield from ((row.section, row.key) for row in ROWS if row.key != "h323")  # is sent nowhere yet


def _keys(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of each line, commented out or not."""
    section = ""
    for line in text.splitlines():
        if heading := re.match(r"(?:# ?)?\[+(\w+)[\w.]*\]+$", line):
            section = heading[1]
        elif assignment := re.match(r"(?:# ?)?([a-z0-9_]+) = (.*)$", line):
            yield section, assignment[1], assignment[2]


def _lines(mark: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield section and key, and value, of each default: a line that begins with the mark and no blank."""
    kept = "\n".join(line for line in SAMPLE.splitlines() if re.match(rf"{mark}[a-z]|(# ?)?\[", line))
    yield from (((section, key), value) for section, key, value in _keys(kept))


def _without_source(config: Config) -> Config:
    return msgspec.structs.replace(config, source=None)
