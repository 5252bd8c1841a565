"""The output of the log: it never delays its process, and bounds its lines."""

from __future__ import annotations

import select
import subprocess
import sys

import msgspec
import pytest

PROGRAM = """
import logging, sys
from identengine.log import handlers
from identengine.config.schema import LogConfig

handlers.set_up(LogConfig())
log = logging.getLogger("identengine.test")
for number in range(30_000):
    log.info("line %d %s", number, "x" * 100)
print("all is logged", flush=True)
sys.stdin.readline()
log.info("the last one")
handlers.finish()
"""


BROKEN = """
import logging
from identengine.log import handlers
from identengine.config.schema import LogConfig

log = logging.getLogger("identengine.test")
for form in ("text", "json"):
    handlers.set_up(LogConfig(format=form))
    log.error("a name of other bytes: %s", "caf\\udce9")
    log.error("%d is no number", "this")
    log.error("and on in %s", form)
    handlers.finish()
"""


def test_a_line_that_cannot_be_written_ends_nobody() -> None:
    said = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=True)
    assert "caf\\\\udce9" in said.stderr or "caf\\udce9" in said.stderr
    assert "and on in text" in said.stderr
    assert "and on in json" in said.stderr


def test_a_log_that_nobody_reads_is_cut_and_says_so() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "all is logged\n"  # although the pipe is full and not read
        process.stdin.write("\n")
        process.stdin.flush()
        _, log = process.communicate(timeout=20)
    lines = log.splitlines()
    assert "line 0 x" in lines[0]
    dropped = sum(int(line.partition("warning ")[2].split()[0]) for line in lines if "were dropped here" in line)
    written = sum("x" * 100 in line or "the last one" in line for line in lines)
    assert dropped > 0
    assert dropped + written == 30_001
    assert process.returncode == 0


LONG = """
import logging
from identengine.log import handlers as logsetup
from identengine.config.schema import LogConfig
from identengine.log.events import *

logsetup.set_up_direct(LogConfig(format="{form}"))
CONFIG_PROBLEM.tell(what="{character}" * 20_000)
CONFIG_REFUSED.tell()
"""


@pytest.mark.parametrize("character", ["x", "é", "😀", '\\"', "\\udce9"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_that_is_too_long_is_cut_and_stays_json(form: str, character: str) -> None:
    """The supervisor writes such a line directly, for example about many mistakes in one key of the config."""
    program = LONG.format(form=form, character=character)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    first, second = result.stderr.splitlines()
    assert len(first) < select.PIPE_BUF
    assert b"config: " in first
    assert b"SIGHUP: the config has mistakes" in second
    if form == "json":
        assert msgspec.json.decode(first)["event"] == "config_problem"
