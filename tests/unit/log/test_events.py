"""The events of the log: both formats, the remedies of errors and alarms, and their page in the docs."""

from __future__ import annotations

import re
import subprocess
import sys
from string import ascii_uppercase

import msgspec
import pytest
from support import ROOT

from identengine.log.event import Event
from identengine.log.events import (
    BOOK_UNUSABLE,
    CALLS_FULL,
    EVENTS,
    KEY_FILE_LOST,
    REJECTED,
    SUPERVISOR_GONE,
)
from identengine.log.handlers import RESERVED

ERRORS = [event for event in EVENTS if event.level in ("error", "alarm")]


def fields(event: Event) -> dict[str, str]:
    """Return the fields of an event with their format characters."""
    return dict(re.findall(r"%\((\w+)\)[-.\d]*([a-z])", event.text))


def plain(text: str) -> str:
    return " ".join(text.split())


def test_texts_of_others_stay_on_their_line() -> None:
    said = REJECTED.said(reason="no_did", source='a\n"b"\x1b[2J\x9b\u202e\udce9', switch="s\u00fc\n", count=1)
    assert said == (r'rejected no_did from "a\n\"b\"\u001b[2J\u009b\u202e\udce9" by s\u00fc\n: 1')
    assert REJECTED.said(reason="no_did", source="\u00fc 'x'", switch="s", count=1).count("\u00fc 'x'") == 1
    assert KEY_FILE_LOST.said(why="it is missing.").count("..") == 0


def test_every_event_can_be_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "identengine")
    for event in EVENTS:
        said: dict[str, str | int | float] = {
            name: "50 % of \u00e9" if kind in "sr" else 7 for name, kind in fields(event).items()
        }
        caplog.clear()
        event.tell(**said)
        (message,) = caplog.messages
        assert event.said(**said) == message.removeprefix("ALARM: ")
        assert "%(" not in message
        assert not RESERVED & said.keys(), event.name
        assert re.fullmatch("[a-z_]+", event.name)
        assert message.startswith("ALARM: ") is (event.level == "alarm")


def test_names_are_of_one_event() -> None:
    by_name: dict[str, set[str]] = {}
    for event in EVENTS:
        by_name.setdefault(event.name, set()).add(event.level)
    assert all(len(levels) == 1 for levels in by_name.values())
    assert len({event.name for event in ERRORS}) == len(ERRORS)


def test_every_error_says_what_to_do() -> None:
    for event in ERRORS:
        assert len(event.do.split()) >= 5, event.name
        assert event.do[0] in ascii_uppercase
        assert event.do.endswith((".", "?)."))
    assert not [event.name for event in EVENTS if event.do and event not in ERRORS]
    assert not [event.name for event in EVENTS if event.text.endswith(".")], "the remedy follows a full stop"


def test_docs_have_every_error_and_no_other() -> None:
    _, *sections = re.split(r"^## ", (ROOT / "docs" / "operate" / "alarms.md").read_text(), flags=re.M)
    found = {section.partition("\n")[0].strip("`"): section for section in sections}
    assert found.keys() == {event.name for event in ERRORS}
    for event in ERRORS:
        quoted, why, do = found[event.name].split("\n", 1)[1].strip().split("\n\n")
        says = re.sub(r"%\((\w+)\)[-.\d]*[a-z]", r"<\1>", event.text)
        quoted = quoted.strip("`").removeprefix("log")
        assert plain(quoted) == (f"ALARM: {says}" if event.level == "alarm" else says)
        assert plain(do).removeprefix("**Do:** ") == event.do
        assert len(why.split()) >= 8, event.name


def test_what_is_logged_is_an_event_of_the_one_place() -> None:
    """Only two modules have a logger. So the docs have each alarm, and no other line can show a secret."""
    for path in (ROOT / "identengine").rglob("*.py"):
        if path.parent.name == "log" and path.name in ("event.py", "handlers.py"):
            continue
        source = path.read_text()
        foreign = re.search(r"^\s*(import|from) (logging|warnings|structlog)\b", source, re.M)
        assert foreign is None, f"{path}: log an event of identengine.log.events"
        assert "ALARM:" not in source, path


PROGRAM = """
import logging
from identengine.log import handlers
from identengine.config.schema import LogConfig
from identengine.log.events import *


{set_up}(LogConfig(format="{form}", level="{level}"))
BOOK_IN_USE.tell(version=3, accounts=5, dids=7, seconds=1.5, pause_ms=0.25)
REJECTED.tell(reason="unknown_source", source="a\\nb\\x1b\\udce9", switch="sbc", count=12)
CALLS_FULL.tell(max_legs=100)
SUPERVISOR_GONE.tell()
try:
    1 / 0
except ZeroDivisionError as fault:
    BOOK_UNUSABLE.tell(fault, why="50 % of it", serving="version 3 serves")
logging.getLogger("asyncio").warning("slow: %s", "callback")
handlers.finish()
"""


def written(set_up: str, form: str, level: str = "info") -> list[str]:
    program = PROGRAM.format(set_up=f"handlers.{set_up}", form=form, level=level)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return result.stderr.splitlines()


@pytest.mark.parametrize("set_up", ["set_up", "set_up_direct"])
def test_json(set_up: str) -> None:
    lines = [msgspec.json.decode(line, type=dict[str, object]) for line in written(set_up, "json")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(line["time"])) for line in lines)
    book, rejected, full, gone, unusable, foreign = lines
    wanted = {
        "level": "info",
        "event": "book_in_use",
        "version": 3,
        "accounts": 5,
        "seconds": 1.5,
        "pause_ms": 0.25,
    }
    assert book.items() >= wanted.items()
    assert (
        rejected.items()
        >= {"event": "rejected", "source": "a\nb\x1b\\udce9", "switch": "sbc", "count": 12}.items()
    )
    assert full.items() >= {"level": "alarm", "event": "calls_full", "max_legs": 100, "do": CALLS_FULL.do}.items()
    assert gone.items() >= {"event": "supervisor_gone", "message": f"ALARM: {SUPERVISOR_GONE.said()}"}.items()
    assert unusable["why"] == "50 % of it"
    assert "ZeroDivisionError" in str(unusable["traceback"])
    assert foreign.items() >= {"level": "warning", "logger": "asyncio", "message": "slow: callback"}.items()
    assert "event" not in foreign


@pytest.mark.parametrize("set_up", ["set_up", "set_up_direct"])
def test_text(set_up: str) -> None:
    lines = written(set_up, "text")
    assert lines[0].endswith(
        "info    book version 3 is in use with 5 accounts and 7 active DIDs; loading took 1.50 s, and requests "
        "waited at most 0.2 ms for it"
    )
    assert lines[1].endswith(r'info    rejected unknown_source from "a\nb\u001b\udce9" by sbc: 12')
    assert lines[2].endswith(f"error   ALARM: {CALLS_FULL.said(max_legs=100)}")
    assert lines[4].endswith(f"error   ALARM: {BOOK_UNUSABLE.said(why='50 % of it', serving='version 3 serves')}")
    assert lines[-2].startswith("ZeroDivisionError")
    assert lines[-1].endswith("warning slow: callback")


def test_level() -> None:
    assert len([line for line in written("set_up", "text", "error") if " error " in line]) == 3
    assert not [line for line in written("set_up", "text", "error") if " info " in line or " warning " in line]
